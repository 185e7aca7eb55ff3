"""Attention of our own inside any model of `transformers` that lets its attention be named, and its parts put together.

`X` prompts or rows, `K` heads of keys and values, `N` queries that read the same keys, `S` keys, `D` width of a head.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


@contextlib.contextmanager
def attending(module: Any, name: str) -> Iterator[None]:
    """The model attends by the function that `transformers.AttentionInterface` knows under `name`."""
    config = module.get_decoder().config
    before = config._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before


def refuse_unknown(other: dict[str, Any]) -> None:
    """Raise TypeError for what changes attention and is not built in here; the caller falls back to the plain way."""
    for name in ("softcap", "s_aux", "sliding_window", "position_bias"):
        if other.get(name) is not None:
            raise TypeError(f"attention with {name} is not built in")


def attention_with_lse(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """[X, K, N, D] and its log-normaliser (log-sum-exp) [X, K, N] in float32, from query [X, K, N, D], keys and values
    [X, K, S, D], and what is added to the scores, [X, 1, 1, S]. On processors."""
    return _flash(query, keys, values, 0.0, False, attn_mask=mask, scale=scale)


def merge_attention_states(
    one: torch.Tensor, one_lse: torch.Tensor, other: torch.Tensor, other_lse: torch.Tensor
) -> torch.Tensor:
    """Attention over both sets of keys, [..., D], from that over each.

    >>> one, other, zero = torch.tensor([[1.0]]), torch.tensor([[5.0]]), torch.tensor([0.0])
    >>> merge_attention_states(one, zero, other, zero).item()
    3.0
    """
    share = (one_lse - other_lse).sigmoid_().to(one.dtype)
    return torch.lerp(other, one, share[..., None])
