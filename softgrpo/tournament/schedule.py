"""Who meets whom, and who is read first. Pure: the same arguments, the same matches."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from softgrpo.records import Match, Verdict
from softgrpo.tournament import adaptive, brackets
from softgrpo.tournament.bias import Bias
from softgrpo.tournament.pairs import Pair, regular

KINDS = ("round_robin", "random_regular", "adaptive", "swiss", "elimination", "chunks", "anchor")
ORDERS = ("both", "balanced")
CHUNK = 4
"""players of a chunk"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a tournament is held."""

    kind: str = "round_robin"
    orders: str = "both"
    """of a round robin, chunks and an anchor: each pair in both orders, or once"""
    calls: int | None = None
    """judge calls it may take; None is the kind's own size"""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown schedule {self.kind!r}; choose from {', '.join(KINDS)}")
        _check_orders(self.orders)


def next_round(
    plan: Plan,
    players: Sequence[int],
    verdicts: Sequence[Verdict],
    *,
    seed: int,
    objective: str = "answer",
    bias: Bias = Bias(),
) -> tuple[Match, ...]:
    """The next matches, given every verdict so far; none when the tournament is over.

    Verdicts come round after round; in what order those of a round arrived makes no difference.
    Plans that do not look at verdicts ask for everything at once. Raises `ValueError` where `calls` cannot join all
    players.

    >>> next_round(Plan(kind="random_regular", calls=2), [4, 7, 9], (), seed=1)
    (Match(first=4, second=9, objective='answer'), Match(first=9, second=7, objective='answer'))
    """
    n = len(players)
    if n < 2:
        return ()
    most = size(plan, n)
    least = n * math.ceil(math.log2(n)) if plan.kind == "swiss" else n - 1
    if most < min(least, n * (n - 1)) and plan.kind != "chunks":
        raise ValueError(
            f"{plan.calls} calls cannot join {n} texts in one {plan.kind} tournament; give {least} or more"
        )
    if plan.kind in ("adaptive", "swiss", "elimination"):
        pairs = _looking(plan, players, verdicts, most, seed, bias)
    else:
        pairs = [] if verdicts else _at_once(plan, n, most, seed)
    return tuple(Match(first=players[a], second=players[b], objective=objective) for a, b in pairs)


def size(plan: Plan, n_players: int) -> int:
    """The judge calls that a tournament of so many players takes, at most.

    >>> [size(Plan(kind=kind), 16) for kind in KINDS]
    [240, 64, 64, 64, 60, 48, 30]
    """
    n = n_players
    if n < 2:
        return 0
    every = n * (n - 1)
    sides = 2 if plan.orders == "both" else 1
    own = {
        "round_robin": every * sides // 2,
        "random_regular": 4 * n,
        "adaptive": 4 * n,
        "swiss": n * math.ceil(math.log2(n)),
        "elimination": 4 * (n - 1),
        "chunks": sum(k * (k - 1) * sides // 2 for k in _chunk_sizes(n)),
        "anchor": (n - 1) * sides,
    }[plan.kind]
    return min(own if plan.calls is None else plan.calls, every, own if plan.kind in ("chunks", "anchor") else every)


def round_robin(players: Sequence[int], *, orders: str = "both", objective: str = "answer") -> tuple[Match, ...]:
    """Every pair once in each order (`both`), or once with each player first about as often as second (`balanced`).

    >>> [(m.first, m.second) for m in round_robin([0, 1, 2], orders="balanced")]
    [(0, 1), (2, 0), (1, 2)]
    """
    _check_orders(orders)
    return tuple(
        Match(first=players[a], second=players[b], objective=objective) for a, b in _every(len(players), orders)
    )


def _check_orders(orders: str) -> None:
    if orders not in ORDERS:
        raise ValueError(f"unknown orders {orders!r}; choose from {', '.join(ORDERS)}")


def _every(n: int, orders: str) -> list[Pair]:
    pairs = []
    for a, b in combinations(range(n), 2):
        if orders == "both":
            pairs += [(a, b), (b, a)]
        else:  # neighbours at odd distance keep their order: over a whole row the two directions alternate
            pairs.append((a, b) if (b - a) % 2 else (b, a))
    return pairs


def _at_once(plan: Plan, n: int, most: int, seed: int) -> list[Pair]:
    if plan.kind == "random_regular":
        return regular(n, most, seed)
    if plan.kind == "round_robin":
        pairs = _every(n, plan.orders)
        if most == len(pairs):
            return pairs
        return regular(n, most, seed)  # a part of all pairs that joins everybody
    seats = random.Random(seed).sample(range(n), n)
    if plan.kind == "anchor":
        sides = [[(seats[0], b), (b, seats[0])] for b in seats[1:]]
        if plan.orders == "both" and most == 2 * (n - 1):
            return [pair for both in sides for pair in both]
        once = [both[k % 2] for k, both in enumerate(sides)]
        return (once + [both[1 - k % 2] for k, both in enumerate(sides)])[:most]
    pairs, start = [], 0
    for k in _chunk_sizes(n):
        pairs += [(seats[start + a], seats[start + b]) for a, b in _every(k, plan.orders)]
        start += k
    return pairs[:most]


def _looking(
    plan: Plan, players: Sequence[int], verdicts: Sequence[Verdict], most: int, seed: int, bias: Bias
) -> list[Pair]:
    place = {player: k for k, player in enumerate(players)}
    if plan.kind != "elimination":  # sums of them are rounded alike whatever the order in which they came
        verdicts = sorted(verdicts, key=lambda v: (v.match.first, v.match.second))
    met = [(place[v.match.first], place[v.match.second]) for v in verdicts]
    left = most - len(met)
    if left <= 0:
        return []
    if plan.kind == "adaptive":
        return adaptive.next_pairs(len(players), verdicts, met, place, left, seed=seed, bias=bias)
    find = brackets.swiss if plan.kind == "swiss" else brackets.elimination
    return find(len(players), verdicts, met, place, left, seed=seed)


def _chunk_sizes(n: int) -> list[int]:
    """Chunks of four; what is left over makes the first ones larger.

    >>> _chunk_sizes(16), _chunk_sizes(6), _chunk_sizes(3)
    ([4, 4, 4, 4], [6], [3])
    """
    count = max(n // CHUNK, 1)
    return [n // count + (k < n % count) for k in range(count)]
