"""Which answers of two players meet on each prompt. Pure.

Shapes: `P` prompts, in the order in which they are asked.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

Pairs = tuple[tuple[int, int], ...]
"""places of our answer and of theirs, each once"""


def pairings(ours: int, theirs: int, *, crossed: bool) -> Pairs:
    """Our first answer against their first, and so on; `crossed`: every one of ours against every one of theirs.

    Two samples of one model then differ by chance alone: of k answers each, k * k pairs say more than k, and a judge
    that scores each text once says it for nothing. The early pairs have each answer once.

    >>> pairings(2, 2, crossed=False)
    ((0, 0), (1, 1))
    >>> pairings(2, 2, crossed=True)
    ((0, 0), (1, 1), (0, 1), (1, 0))
    """
    if not crossed:
        return tuple(zip(range(ours), range(theirs), strict=True))
    return tuple((i, (i + turn) % theirs) for turn in range(theirs) for i in range(ours))


def at_most(n: int, pairs_P: Sequence[Pairs], subjects_P: Sequence[str]) -> list[Pairs]:
    """[P] n of the pairs, spread evenly: one of each subject before a second of any, the prompts of a subject in turn.

    The subjects are taken in an order that is drawn once and for all, so that no order of the prompts favours a side.

    >>> at_most(2, [((0, 0), (1, 1))] * 4, ["cars", "cars", "rivers", "rivers"])
    [((0, 0),), (), (), ((0, 0),)]
    """
    by_subject: dict[str, list[tuple[int, int]]] = {}
    for turn in range(max(map(len, pairs_P), default=0)):
        for place, pairs in enumerate(pairs_P):
            if turn < len(pairs):
                by_subject.setdefault(subjects_P[place], []).append((place, turn))
    rows = list(by_subject.values())
    random.Random(0).shuffle(rows)
    turns = range(max(map(len, rows), default=0))
    order = [row[(rank + turn) % len(row)] for turn in turns for rank, row in enumerate(rows) if turn < len(row)]
    taken = set(order[:n])
    return [
        tuple(pair for turn, pair in enumerate(pairs) if (place, turn) in taken) for place, pairs in enumerate(pairs_P)
    ]
