"""Sequences that share their beginnings as one row of tokens: every shared token stands once, and none is padding.

A group of completions is a tree, the matches of a tournament are trees with shared tasks and first texts, prompts side
by side are roots. A node sees its ancestors and, causally, itself. Pure. `T` tokens of the row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

SHORTEST = 8
"""tokens that sequences must share to share a node; shorter ones are cheaper to repeat"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixTree:
    """Where the nodes of a row lie and what they see; there may be several roots."""

    lengths: tuple[int, ...]
    """tokens of each node, in the order of the row; at least 1"""
    ancestors: tuple[tuple[int, ...], ...]
    """of each node: the nodes before it on its way from the root"""

    @classmethod
    def trees(cls, *trees: Sequence[int]) -> PrefixTree:
        """Roots and their branches, from the lengths of each.

        >>> tree = PrefixTree.trees([2, 2, 1], [1, 2])
        >>> tree.positions(), tree.ancestors
        ([0, 1, 2, 3, 2, 0, 1, 2], ((), (0,), (0,), (), (3,)))
        """
        ancestors: list[tuple[int, ...]] = []
        for tree in trees:
            ancestors += [(), *((len(ancestors),) for _ in tree[1:])]
        return cls(lengths=tuple(n for tree in trees for n in tree), ancestors=tuple(ancestors))

    @classmethod
    def roots(cls, lengths: Sequence[int]) -> PrefixTree:
        """Sequences that share nothing."""
        return cls(lengths=tuple(lengths), ancestors=tuple(() for _ in lengths))

    def mask(self) -> torch.Tensor:
        """[T, T] True where a token sees another.

        >>> PrefixTree.trees([2, 2, 1]).mask()[4].tolist()
        [True, True, False, False, True]
        """
        node_T = torch.arange(len(self.lengths)).repeat_interleave(torch.tensor(self.lengths))
        sees_NN = torch.eye(len(self.lengths), dtype=torch.bool)
        for node, ancestors in enumerate(self.ancestors):
            sees_NN[node, list(ancestors)] = True
        return sees_NN[node_T][:, node_T].tril()

    def positions(self) -> list[int]:
        """[T] how many tokens each token has before it on its way from the root."""
        starts = [sum(self.lengths[a] for a in ancestors) for ancestors in self.ancestors]
        return [start + k for start, length in zip(starts, self.lengths, strict=True) for k in range(length)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedSequences:
    """Sequences as a prefix tree."""

    ids: list[int]
    """[T]"""
    tree: PrefixTree
    ends: list[int]
    """of each sequence: where its last token lies in the row"""


def build_prefix_tree(sequences: Sequence[Sequence[int]]) -> PackedSequences:
    """The tree of some sequences, none of them empty.

    >>> system = list(range(10))
    >>> packed = build_prefix_tree([[*system, 20, 21], [*system, 30], [40]])
    >>> packed.tree.lengths, packed.tree.ancestors, packed.ends
    ((10, 1, 2, 1), ((), (), (0,), (0,)), [12, 13, 10])
    """
    ids: list[int] = []
    lengths: list[int] = []
    ancestors: list[tuple[int, ...]] = []
    ends = [0] * len(sequences)
    waiting: list[tuple[Sequence[int], int, tuple[int, ...]]] = [
        (range(len(sequences)), 0, ())
    ]  # rows, how many of their tokens are in the tree, and in which nodes
    while waiting:
        rows, depth, path = waiting.pop()
        alike: dict[tuple[int, ...], list[int]] = {}
        for i in rows:
            alike.setdefault(tuple(sequences[i][depth : depth + SHORTEST]), []).append(i)
        for beginning, group in alike.items():
            if not beginning:  # they end where their parent ends
                continue
            stop = depth + _shared([sequences[i][depth:] for i in group])
            node = len(lengths)
            ids += sequences[group[0]][depth:stop]
            lengths.append(stop - depth)
            ancestors.append(path)
            for i in group:
                ends[i] = len(ids) - 1  # a longer one says so again further on
            longer = [i for i in group if len(sequences[i]) > stop]
            if longer:
                waiting.append((longer, stop, (*path, node)))
    return PackedSequences(ids=ids, tree=PrefixTree(lengths=tuple(lengths), ancestors=tuple(ancestors)), ends=ends)


def prefix_trees(
    sequences: Sequence[Sequence[int]], tokens_at_once: int
) -> Iterator[tuple[list[int], PackedSequences]]:
    """Sequences that share most together, in trees of a bounded size; each with the numbers of its sequences."""
    order = sorted(range(len(sequences)), key=lambda i: tuple(sequences[i]))
    rows: list[int] = []
    size = 0
    for i in order:
        more = len(sequences[i]) - (_shared([sequences[rows[-1]], sequences[i]]) if rows else 0)
        if rows and size + more > tokens_at_once:
            yield rows, build_prefix_tree([sequences[r] for r in rows])
            rows, size, more = [], 0, len(sequences[i])
        rows.append(i)
        size += more
    if rows:
        yield rows, build_prefix_tree([sequences[r] for r in rows])


def _shared(sequences: Sequence[Sequence[int]]) -> int:
    """How many tokens all of them begin with."""
    first, last = min(sequences, key=tuple), max(sequences, key=tuple)
    n = 0
    while n < min(len(first), len(last)) and first[n] == last[n]:
        n += 1
    return n
