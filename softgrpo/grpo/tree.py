"""A prompt and its completions as one row: the prompt once, then the branches, each of which sees the prompt and
itself. Pure.

`T` tokens of the row, `N` trained tokens, `K` positions at which logits are wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Inputs of one forward pass, and where to find each trained token's prediction in what it returns."""

    input_ids: torch.Tensor
    """[B, T]"""
    position_ids: torch.Tensor
    """[B, T]"""
    lengths: tuple[int, ...] = ()
    """of the prompt and of each branch, in the order of the row (tree); empty for padded rows"""
    tokens: torch.Tensor | None = None
    """[B, T] True on tokens (padded)"""
    kept: torch.Tensor
    """[K] positions of the row at which logits are computed"""
    predictor: torch.Tensor
    """[N] index into the B * K kept predictions"""
    target: torch.Tensor
    """[N] the token that was drawn there"""
    row: torch.Tensor
    """[N] which completion it belongs to"""

    @property
    def attention_mask(self) -> torch.Tensor:
        """[1, 1, T, T] True where a token sees another (tree), or [B, T] True on tokens (padded)."""
        if self.tokens is not None:
            return self.tokens
        branch_T = torch.arange(len(self.lengths)).repeat_interleave(torch.tensor(self.lengths))
        sees = (branch_T[None, :] == branch_T[:, None]) | (branch_T[None, :] == 0)
        return sees.tril()[None, None]


def pack_tree(prompt_ids: Sequence[int], completions: Sequence[Sequence[int]]) -> Packed:
    """One row of len(prompt) + sum of lengths tokens.

    >>> packed = pack_tree([7, 8], [[1, 2], [3]])
    >>> packed.input_ids.tolist(), packed.position_ids.tolist()
    ([[7, 8, 1, 2, 3]], [[0, 1, 2, 3, 2]])
    >>> packed.attention_mask[0, 0, 4].tolist()
    [True, True, False, False, True]
    >>> packed.kept[packed.predictor].tolist(), packed.target.tolist()
    ([1, 2, 1], [1, 2, 3])
    """
    p = len(prompt_ids)
    positions = torch.tensor([*range(p), *(p + k for c in completions for k in range(len(c)))])
    predictor_position, start = [], p
    for c in completions:
        predictor_position += [p - 1, *range(start, start + len(c) - 1)]
        start += len(c)
    kept, predictor = torch.tensor(predictor_position).unique(return_inverse=True)
    return Packed(
        input_ids=torch.tensor([[*prompt_ids, *(t for c in completions for t in c)]]),
        position_ids=positions[None],
        lengths=(p, *(len(c) for c in completions)),
        kept=kept,
        predictor=predictor,
        target=torch.tensor([t for c in completions for t in c]),
        row=torch.tensor([i for i, c in enumerate(completions) for _ in c]),
    )


def pack_padded(prompt_ids: Sequence[int], completions: Sequence[Sequence[int]], pad_id: int) -> Packed:
    """The plain way: one row per completion, padded on the right, for models that do not read a tree."""
    p, width = len(prompt_ids), max(len(c) for c in completions)
    rows = [[*prompt_ids, *c, *[pad_id] * (width - len(c))] for c in completions]
    lengths = torch.tensor([p + len(c) for c in completions])
    mask = torch.arange(p + width)[None] < lengths[:, None]
    return Packed(
        input_ids=torch.tensor(rows),
        position_ids=torch.arange(p + width).expand(len(rows), -1),
        tokens=mask,
        kept=torch.arange(p - 1, p + width - 1),
        predictor=torch.tensor([i * width + k for i, c in enumerate(completions) for k in range(len(c))]),
        target=torch.tensor([t for c in completions for t in c]),
        row=torch.tensor([i for i, c in enumerate(completions) for _ in c]),
    )
