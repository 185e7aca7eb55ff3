"""The policy losses, over the tokens of several completions laid end to end. Pure.

`T` trained tokens, `N` completions; `row_T` names the completion of each token. Every loss is a sum over tokens with
weights that already hold the mean over the whole update, so that micro-batches add up to it exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

LOSSES = ("grpo", "dr_grpo", "dapo", "gspo")


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTerms:
    """What a micro-batch adds to the update."""

    loss: torch.Tensor
    """scalar, to be differentiated and summed over micro-batches"""
    kl: torch.Tensor
    """scalar, sum over tokens of the k3 estimate of the KL divergence to the reference"""
    clipped: torch.Tensor
    """scalar, number of tokens whose ratio was clipped"""


def token_weights(loss: str, lengths_N: Sequence[int], *, max_completion_length: int) -> list[float]:
    """[N] the weight of each token of completion i when the update holds these N completions.

    `grpo`, `gspo`: mean over tokens, then over completions. `dapo`: mean over all tokens (Yu et al., 2025).
    `dr_grpo`: sum over tokens by a constant length, mean over completions (Liu et al., 2025).

    >>> token_weights("grpo", [1, 4], max_completion_length=8), token_weights("dapo", [1, 4], max_completion_length=8)
    ([0.5, 0.125], [0.2, 0.2])
    """
    n = len(lengths_N)
    if loss == "dapo":
        return [1 / sum(lengths_N)] * n
    if loss == "dr_grpo":
        return [1 / (n * max_completion_length)] * n
    return [1 / (n * length) for length in lengths_N]


def policy_loss(
    logprobs_T: torch.Tensor,
    old_logprobs_T: torch.Tensor,
    ref_logprobs_T: torch.Tensor | None,
    advantages_T: torch.Tensor,
    weights_T: torch.Tensor,
    row_T: torch.Tensor,
    *,
    loss: str = "grpo",
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    kl_weight_beta: float = 0.0,
) -> LossTerms:
    """Clipped surrogate and k3 KL penalty (Schulman, 2020; Shao et al., 2024); all inputs [T].

    `gspo` takes one ratio per completion, the exponential of its mean log-ratio (Zheng et al., 2025); then all tokens
    of a completion must be in the same call.
    """
    log_ratio_T = logprobs_T - old_logprobs_T.detach()
    if loss == "gspo":
        n = int(row_T.max()) + 1
        sums_N = log_ratio_T.new_zeros(n).index_add(0, row_T, log_ratio_T)
        counts_N = log_ratio_T.new_zeros(n).index_add(0, row_T, torch.ones_like(log_ratio_T))
        log_ratio_T = (sums_N / counts_N.clamp(min=1))[row_T]
    ratio_T = log_ratio_T.exp()
    clipped_T = ratio_T.clamp(1 - clip_low, 1 + clip_high)
    surrogate_T = torch.minimum(ratio_T * advantages_T, clipped_T * advantages_T)
    is_clipped_T = (clipped_T * advantages_T < ratio_T * advantages_T).float()
    kl_T = torch.zeros_like(logprobs_T) if ref_logprobs_T is None else k3(logprobs_T, ref_logprobs_T)
    return LossTerms(
        loss=(weights_T * (kl_weight_beta * kl_T - surrogate_T)).sum(),
        kl=kl_T.sum().detach(),
        clipped=is_clipped_T.sum().detach(),
    )


def k3(logprobs_T: torch.Tensor, ref_logprobs_T: torch.Tensor) -> torch.Tensor:
    """[T] exp(d) - d - 1 with d = reference - policy: unbiased for KL(policy, reference), never negative."""
    d_T = ref_logprobs_T - logprobs_T
    return d_T.exp() - d_T - 1
