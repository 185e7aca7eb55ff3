"""From hidden states to log-probabilities of tokens, a slice of the vocabulary at a time.

The logits of a batch are its largest array by far and are never needed at once: the normaliser is a running sum over
slices, and the backward pass computes each slice again. `P` positions, `N` targets, `H` hidden size, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch


def chunked_logprobs(
    hidden_PH: torch.Tensor,
    weight_VH: torch.Tensor,
    predictor_N: torch.Tensor,
    target_N: torch.Tensor,
    *,
    temperature: float = 1.0,
) -> torch.Tensor:
    """[N] float32 log-softmax(hidden @ weight^T / temperature) at (predictor, target).

    >>> hidden, weight = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    >>> [round(x, 4) for x in chunked_logprobs(hidden, weight, torch.tensor([0]), torch.tensor([1])).tolist()]
    [-0.6931]
    """
    return _Sliced.apply(hidden_PH, weight_VH, predictor_N, target_N, temperature)


class _Sliced(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, predictor: Any, target: Any, temperature: float) -> torch.Tensor:
        normaliser_P = torch.full(hidden.shape[:1], float("-inf"), device=hidden.device)
        chosen_N = torch.zeros(target.shape, device=hidden.device)
        for start, rows in _slices(hidden, weight):
            logits = torch.nn.functional.linear(hidden, rows)
            inside_N, column_N = _inside(target, start, len(rows))
            chosen_N = torch.where(inside_N, logits[predictor, column_N].float() / temperature, chosen_N)
            top = logits.amax(1, keepdim=True).float() / temperature
            here = _less(logits, top, temperature).exp_().sum(1).log_() + top[:, 0]
            normaliser_P = torch.logaddexp(normaliser_P, here)
        ctx.save_for_backward(hidden, weight, predictor, target, normaliser_P)
        ctx.temperature = temperature
        return chosen_N - normaliser_P[predictor]

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        hidden, weight, predictor, target, normaliser = ctx.saved_tensors
        grad_N = grads[0] / ctx.temperature
        grad_P = torch.zeros_like(normaliser).index_add_(0, predictor, grad_N)
        d_hidden = torch.zeros(hidden.shape, dtype=torch.float32, device=hidden.device)
        d_weight = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        for start, rows in _slices(hidden, weight):
            logits = torch.nn.functional.linear(hidden, rows)
            d_logits = _less(logits, normaliser[:, None], ctx.temperature).exp_().mul_(-grad_P[:, None])
            inside_N, column_N = _inside(target, start, len(rows))
            d_logits.index_put_((predictor, column_N), grad_N * inside_N, accumulate=True)
            d_logits = d_logits.to(hidden.dtype)
            d_hidden.add_(d_logits @ rows)
            if d_weight is not None:
                torch.mm(d_logits.T, hidden, out=d_weight[start : start + len(rows)])
        return d_hidden.to(hidden.dtype), d_weight, None, None, None


def _slices(hidden: torch.Tensor, weight: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """Rows of the weight, as many as give a few megabytes of logits, and the number of the first."""
    at_once = 1 << 20 if hidden.device.type == "cpu" else 1 << 25  # what a cache holds; what fills a GPU
    size = max(256, at_once // max(len(hidden), 1))
    return ((start, weight[start : start + size]) for start in range(0, len(weight), size))


def _inside(target_N: torch.Tensor, start: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Which targets lie in a slice, and in which of its columns; the others in any. The host waits for nothing."""
    column_N = target_N - start
    return (column_N >= 0) & (column_N < size), column_N.clamp(0, size - 1)


def _less(logits_PV: torch.Tensor, term_P1: torch.Tensor, temperature: float) -> torch.Tensor:
    """[P, V] float32 logits over the temperature less a term for each row, in one pass."""
    return torch.add(-term_P1, logits_PV, alpha=1 / temperature)
