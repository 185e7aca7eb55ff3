"""Prompts and their completions as one row of trees: a prompt once, then its branches, each of which sees the prompt
and itself. Pure.

Of a completion those tokens are trained that its loss mask names: the policy chose them. The others (an opponent's
turn, what a template puts between turns) are read and never trained. `T` tokens of the row, `N` trained tokens, `K`
positions at which logits are wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import torch

Masks = Sequence[Sequence[bool]]
"""[completions, T] True on trained tokens, over all prompts"""


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


def pack_trees(trees: Sequence[tuple[Sequence[int], Sequence[Sequence[int]]]], masks: Masks | None = None) -> Packed:
    """One row of all prompts and their completions, tree by tree; `row` counts completions over all of them.

    Without `masks` every token of a completion is trained.

    >>> packed = pack_trees([([7, 8], [[1, 2], [3]]), ([9], [[4]])])
    >>> packed.input_ids.tolist(), packed.position_ids.tolist()
    ([[7, 8, 1, 2, 3, 9, 4]], [[0, 1, 2, 3, 2, 0, 1]])
    >>> packed.trees
    ((2, 2, 1), (1, 1))
    >>> packed.kept[packed.predictor].tolist(), packed.target.tolist(), packed.row.tolist()
    ([1, 2, 1, 5], [1, 2, 3, 4], [0, 0, 1, 2])
    >>> pack_trees([([7, 8], [[1, 2], [3]])], [[False, True], [True]]).target.tolist()
    [2, 3]
    """
    ids: list[int] = []
    positions: list[int] = []
    predictors: list[list[int]] = []
    for prompt_ids, completions in trees:
        p, start = len(prompt_ids), len(ids)
        ids += prompt_ids
        positions += range(p)
        for c in completions:
            predictors.append([start + p - 1, *range(len(ids), len(ids) + len(c) - 1)][: len(c)])
            ids += c
            positions += range(p, p + len(c))
    every = [c for _, completions in trees for c in completions]
    kept, predictor = torch.tensor(_trained(predictors, masks), dtype=torch.long).unique(return_inverse=True)
    return Packed(
        input_ids=torch.tensor([ids]),
        position_ids=torch.tensor([positions]),
        trees=tuple((len(prompt_ids), *(len(c) for c in completions)) for prompt_ids, completions in trees),
        kept=kept,
        predictor=predictor,
        target=torch.tensor(_trained(every, masks), dtype=torch.long),
        row=torch.tensor(_trained([[i] * len(c) for i, c in enumerate(every)], masks), dtype=torch.long),
    )


def pack_padded(
    prompt_ids: Sequence[int], completions: Sequence[Sequence[int]], pad_id: int, masks: Masks | None = None
) -> Packed:
    """The plain way: one row per completion, padded on the right, for models that do not read a tree."""
    p, width = len(prompt_ids), max(len(c) for c in completions)
    rows = [[*prompt_ids, *c, *[pad_id] * (width - len(c))] for c in completions]
    lengths = torch.tensor([p + len(c) for c in completions])
    mask = torch.arange(p + width)[None] < lengths[:, None]
    places = [[i * width + k for k in range(len(c))] for i, c in enumerate(completions)]
    return Packed(
        input_ids=torch.tensor(rows),
        position_ids=torch.arange(p + width).expand(len(rows), -1),
        tokens=mask,
        kept=torch.arange(p - 1, p + width - 1),
        predictor=torch.tensor(_trained(places, masks)),
        target=torch.tensor(_trained(completions, masks)),
        row=torch.tensor(_trained([[i] * len(c) for i, c in enumerate(completions)], masks)),
    )


def _trained(of_tokens: Sequence[Sequence[int]], masks: Masks | None) -> list[int]:
    """What belongs to trained tokens, of all completions, end to end.

    Raises `ValueError` where a mask is not as long as its completion.
    """
    if masks is None:
        return [x for values in of_tokens for x in values]
    for values, mask in zip(of_tokens, masks, strict=True):
        if len(values) != len(mask):
            raise ValueError(f"a loss mask of {len(mask)} tokens for a completion of {len(values)}")
    return [x for values, mask in zip(of_tokens, masks, strict=True) for x in compress(values, mask)]
