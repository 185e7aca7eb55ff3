"""Attention of rows to what they share and to what is their own, joined by the normalisers of both.

`X` prompts or rows, `K` heads of keys and values, `N` queries that read the same keys, `S` keys, `D` width of a head.
"""

from __future__ import annotations

import torch

flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def attend(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """[X, K, N, D] and its log-normaliser [X, K, N] in float32, from query [X, K, N, D], keys and values [X, K, S, D],
    and what is added to the scores, [X, 1, 1, S]. Scores are float32: rounded to bfloat16 they are off by percents."""
    if query.device.type == "cpu":
        return flash(query, keys, values, 0.0, False, attn_mask=mask, scale=scale)
    return plainly(query, keys, values, mask, scale)


def plainly(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same in products and sums that every device has."""
    scores = torch.matmul(query.float().mul(scale), keys.float().mT)
    if mask is not None:
        scores = scores + mask
    normaliser = scores.logsumexp(-1)
    weights = scores.sub(normaliser[..., None]).exp_().to(values.dtype)
    return torch.matmul(weights, values), normaliser


def joined(
    one: torch.Tensor, one_normaliser: torch.Tensor, other: torch.Tensor, other_normaliser: torch.Tensor
) -> torch.Tensor:
    """Attention over both sets of keys, [..., D], from that over each.

    >>> both = joined(torch.tensor([[1.0]]), torch.tensor([0.0]), torch.tensor([[5.0]]), torch.tensor([0.0]))
    >>> both.item()
    3.0
    """
    share = (one_normaliser - other_normaliser).sigmoid_().to(one.dtype)
    return torch.lerp(other, one, share[..., None])
