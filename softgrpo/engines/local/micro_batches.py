"""What one forward and backward pass reads: branches with their prompts, as many as fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from softgrpo.grpo.training_group import Row, RowsByPrompt
from softgrpo.grpo.tree import Packed, pack_padded, pack_trees
from softgrpo.models.local.capabilities import Capabilities

Branches = tuple[Sequence[int], list[Row]]
"""a prompt's tokens, and completions of it"""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """One pass: what the model reads, and whose tokens they are."""

    packed: Packed
    rows: list[Row]


def micro_batches(rows: RowsByPrompt, tokens: int, capabilities: Capabilities, pad_id: int) -> Iterator[MicroBatch]:
    """Branches with their prompts, as many as `tokens` allow and at least one; prompts together where the model reads
    them as trees that do not see each other."""
    trees: list[Branches] = []
    size = 0
    for prompt_ids, waiting in rows.items():
        if trees and not capabilities.tree_attention:
            yield _packed(trees, capabilities, pad_id)
            trees = []
        for k, row in enumerate(waiting):
            length = len(row.completion.token_ids)
            more = length + (len(prompt_ids) if not k else 0)
            if trees and size + more > tokens:
                yield _packed(trees, capabilities, pad_id)
                trees = []
            if not trees:
                size, more = 0, length + len(prompt_ids)
            if not trees or trees[-1][0] != prompt_ids:
                trees.append((prompt_ids, []))
            trees[-1][1].append(row)
            size += more
    if trees:
        yield _packed(trees, capabilities, pad_id)


def _packed(trees: Sequence[Branches], capabilities: Capabilities, pad_id: int) -> MicroBatch:
    of_prompt = [(prompt_ids, [row.completion.token_ids for row in rows]) for prompt_ids, rows in trees]
    every = [row for _, rows in trees for row in rows]
    masks = [row.completion.loss_mask for row in every]
    if capabilities.trees:
        return MicroBatch(pack_trees(of_prompt, masks), every)
    ((prompt_ids, completions),) = of_prompt
    return MicroBatch(pack_padded(prompt_ids, completions, pad_id, masks), every)
