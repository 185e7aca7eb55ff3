"""Who meets whom, and who is read first. Pure: the same arguments, the same matches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

from softgrpo.records import Match, Verdict
from softgrpo.tournament import SCHEDULES
from softgrpo.tournament.bias import Bias
from softgrpo.tournament.pairs import Seats, every

ORDERS = ("both", "balanced")


@dataclass(frozen=True, slots=True, kw_only=True)
class SoFar:
    """A tournament as it stands. Players are named by their places, 0 to n - 1."""

    verdicts: Sequence[Verdict] = ()
    """round after round; in what order those of a round came must make no difference"""
    calls: int
    """judge calls that the whole tournament may take"""
    seed: int = 0
    bias: Bias = Bias()

    @property
    def met(self) -> list[Seats]:
        """Who has been asked about, judged or not."""
        return [(v.match.first, v.match.second) for v in self.verdicts]

    @property
    def left(self) -> int:
        """Judge calls that are left."""
        return self.calls - len(self.verdicts)


@dataclass(frozen=True, slots=True)
class Schedule(ABC):
    """A way to hold a tournament of `n` players, two or more."""

    n: int
    orders: str = "both"
    """each pair in both orders or, balanced, once: for those that give a choice"""

    @property
    @abstractmethod
    def own(self) -> int:
        """Judge calls it takes where nobody says how many."""

    @property
    def least(self) -> int:
        """Fewest calls that join all players, at which they can be compared at all."""
        return self.n - 1

    @property
    def most(self) -> int:
        """Calls beyond which it has no use for any."""
        return self.n * (self.n - 1)

    @abstractmethod
    def next_pairs(self, so_far: SoFar) -> list[Seats]:
        """The next round, `so_far.left` pairs at most (one at least is left); none when the tournament is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a tournament is held."""

    kind: str = "round_robin"
    orders: str = "both"
    """of a round robin, chunks and an anchor: each pair in both orders, or once"""
    calls: int | None = None
    """judge calls it may take; None is the kind's own size"""

    def __post_init__(self) -> None:
        SCHEDULES.check(self.kind)
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
    schedule, calls = _schedule(plan, n), size(plan, n)
    if calls < min(schedule.least, n * (n - 1)):
        raise ValueError(
            f"{plan.calls} calls cannot join {n} texts in one {plan.kind} tournament; give {schedule.least} or more"
        )
    so_far = SoFar(verdicts=_by_place(verdicts, players), calls=calls, seed=seed, bias=bias)
    pairs = schedule.next_pairs(so_far) if so_far.left > 0 else []
    return tuple(Match(first=players[a], second=players[b], objective=objective) for a, b in pairs)


def size(plan: Plan, n_players: int) -> int:
    """The judge calls that a tournament of so many players takes, at most.

    >>> [size(Plan(kind=kind), 16) for kind in SCHEDULES]
    [240, 64, 64, 64, 60, 48, 30]
    """
    if n_players < 2:
        return 0
    schedule = _schedule(plan, n_players)
    return min(schedule.own if plan.calls is None else plan.calls, schedule.most)


def round_robin(players: Sequence[int], *, orders: str = "both", objective: str = "answer") -> tuple[Match, ...]:
    """Every pair once in each order (`both`), or once with each player first about as often as second (`balanced`).

    >>> [(m.first, m.second) for m in round_robin([0, 1, 2], orders="balanced")]
    [(0, 1), (2, 0), (1, 2)]
    """
    _check_orders(orders)
    pairs = every(len(players), both=orders == "both")
    return tuple(Match(first=players[a], second=players[b], objective=objective) for a, b in pairs)


def _schedule(plan: Plan, n: int) -> Schedule:
    return SCHEDULES[plan.kind](n, plan.orders)


def _check_orders(orders: str) -> None:
    if orders not in ORDERS:
        raise ValueError(f"unknown orders {orders!r}; choose from {', '.join(ORDERS)}")


def _by_place(verdicts: Sequence[Verdict], players: Sequence[int]) -> list[Verdict]:
    """The verdicts with players named by their places."""
    place = {player: k for k, player in enumerate(players)}
    return [
        replace(v, match=replace(v.match, first=place[v.match.first], second=place[v.match.second])) for v in verdicts
    ]
