"""Prompts and their completions as one row of trees: a prompt once, then its branches, each of which sees the prompt
and itself. Pure.

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
    trees: tuple[tuple[int, ...], ...] = ()
    """lengths of each tree's prompt and branches, in the order of the row; empty for padded rows"""
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
        lengths = torch.tensor([n for tree in self.trees for n in tree])
        prompts = torch.tensor([k == 0 for tree in self.trees for k in range(len(tree))])
        node_T = torch.arange(len(lengths)).repeat_interleave(lengths)
        tree_T = (prompts.cumsum(0) - 1)[node_T]
        to_prompt = (tree_T[None, :] == tree_T[:, None]) & prompts[node_T][None, :]
        return ((node_T[None, :] == node_T[:, None]) | to_prompt).tril()[None, None]


def pack_trees(trees: Sequence[tuple[Sequence[int], Sequence[Sequence[int]]]]) -> Packed:
    """One row of all prompts and their completions, tree by tree; `row` counts completions over all of them.

    >>> packed = pack_trees([([7, 8], [[1, 2], [3]]), ([9], [[4]])])
    >>> packed.input_ids.tolist(), packed.position_ids.tolist()
    ([[7, 8, 1, 2, 3, 9, 4]], [[0, 1, 2, 3, 2, 0, 1]])
    >>> packed.attention_mask[0, 0, 4].tolist()
    [True, True, False, False, True, False, False]
    >>> packed.kept[packed.predictor].tolist(), packed.target.tolist(), packed.row.tolist()
    ([1, 2, 1, 5], [1, 2, 3, 4], [0, 0, 1, 2])
    """
    ids: list[int] = []
    positions: list[int] = []
    predictors: list[int] = []
    for prompt_ids, completions in trees:
        p, start = len(prompt_ids), len(ids)
        ids += prompt_ids
        positions += range(p)
        for c in completions:
            predictors += [start + p - 1, *range(len(ids), len(ids) + len(c) - 1)]
            ids += c
            positions += range(p, p + len(c))
    kept, predictor = torch.tensor(predictors).unique(return_inverse=True)
    every = [c for _, completions in trees for c in completions]
    return Packed(
        input_ids=torch.tensor([ids]),
        position_ids=torch.tensor([positions]),
        trees=tuple((len(prompt_ids), *(len(c) for c in completions)) for prompt_ids, completions in trees),
        kept=kept,
        predictor=predictor,
        target=torch.tensor([t for c in every for t in c]),
        row=torch.tensor([i for i, c in enumerate(every) for _ in c]),
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
