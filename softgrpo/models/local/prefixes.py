"""Which beginnings sequences of tokens share: the forest in which each beginning stands once. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from softgrpo.models.local.forest import Forest

SHORTEST = 8
"""tokens that sequences must share to share a node; shorter ones are cheaper to repeat"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """Sequences as a forest."""

    ids: list[int]
    """tokens of the row"""
    forest: Forest
    ends: list[int]
    """of each sequence: where its last token lies in the row"""


def plant(sequences: Sequence[Sequence[int]]) -> Planted:
    """The forest of some sequences, none of them empty.

    >>> system = list(range(10))
    >>> planted = plant([[*system, 20, 21], [*system, 30], [40]])
    >>> planted.forest.lengths, planted.forest.ancestors, planted.ends
    ((10, 1, 2, 1), ((), (), (0,), (0,)), [12, 13, 10])
    """
    ids: list[int] = []
    lengths: list[int] = []
    ancestors: list[tuple[int, ...]] = []
    ends = [0] * len(sequences)
    waiting: list[tuple[Sequence[int], int, tuple[int, ...]]] = [
        (range(len(sequences)), 0, ())
    ]  # rows, how many of their tokens are planted, and in which nodes
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
    return Planted(ids=ids, forest=Forest(lengths=tuple(lengths), ancestors=tuple(ancestors)), ends=ends)


def forests(sequences: Sequence[Sequence[int]], tokens_at_once: int) -> Iterator[tuple[list[int], Planted]]:
    """Sequences that share most together, in forests of a bounded size; each with the numbers of its sequences."""
    order = sorted(range(len(sequences)), key=lambda i: tuple(sequences[i]))
    rows: list[int] = []
    size = 0
    for i in order:
        more = len(sequences[i]) - (_shared([sequences[rows[-1]], sequences[i]]) if rows else 0)
        if rows and size + more > tokens_at_once:
            yield rows, plant([sequences[r] for r in rows])
            rows, size, more = [], 0, len(sequences[i])
        rows.append(i)
        size += more
    if rows:
        yield rows, plant([sequences[r] for r in rows])


def _shared(sequences: Sequence[Sequence[int]]) -> int:
    """How many tokens all of them begin with."""
    first, last = min(sequences, key=tuple), max(sequences, key=tuple)
    n = 0
    while n < min(len(first), len(last)) and first[n] == last[n]:
        n += 1
    return n
