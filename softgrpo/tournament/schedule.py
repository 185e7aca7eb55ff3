"""Who meets whom, and who is read first. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from softgrpo.records import Match

ORDERS = ("both", "balanced")


def round_robin(players: Sequence[int], *, orders: str = "both", objective: str = "answer") -> tuple[Match, ...]:
    """Every pair once in each order (`both`), or once with each player first about as often as second (`balanced`).

    >>> [(m.first, m.second) for m in round_robin([0, 1, 2], orders="balanced")]
    [(0, 1), (2, 0), (1, 2)]
    """
    matches = []
    for a, b in combinations(range(len(players)), 2):
        # neighbours at odd distance keep their order: over a whole row the two directions alternate
        first, second = (a, b) if (b - a) % 2 else (b, a)
        if orders == "both":
            first, second = a, b
        matches.append(Match(first=players[first], second=players[second], objective=objective))
        if orders == "both":
            matches.append(Match(first=players[second], second=players[first], objective=objective))
    return tuple(matches)
