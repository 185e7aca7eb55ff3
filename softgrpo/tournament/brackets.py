"""Tournaments by standing, as comparable systems hold them: Swiss rounds, and elimination after a seeding. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np

from softgrpo.records import Verdict
from softgrpo.tournament.outcomes import pair_outcomes
from softgrpo.tournament.pairs import Seats, joined
from softgrpo.tournament.schedule import Schedule, SoFar


class Swiss(Schedule):
    """Neighbours in the standing that have not met, in both orders; the first round by lot.

    Pairs that join two parts of the field come before others, so that everybody is joined in the end.
    """

    @property
    def own(self) -> int:
        return self.n * math.ceil(math.log2(self.n))

    @property
    def least(self) -> int:
        return self.own

    def next_pairs(self, so_far: SoFar) -> list[Seats]:
        n, met = self.n, so_far.met
        rng = random.Random(f"{so_far.seed}/{len(met)}")
        lots = rng.sample(range(n), n)
        shares = _shares(n, so_far.verdicts)
        label, before = joined(n, met), {tuple(sorted(pair)) for pair in met}
        free = sorted(range(n), key=lambda k: (-shares[k], lots[k]))
        pairs: list[Seats] = []
        while len(free) > 1:
            a = free.pop(0)
            by_need = sorted(
                free, key=lambda b: (tuple(sorted((a, b))) in before, label[a] == label[b] and bool(met), free.index(b))
            )
            b = by_need[0]
            if tuple(sorted((a, b))) in before:
                continue
            free.remove(b)
            pairs += [(a, b), (b, a)]
        return pairs[: so_far.left - so_far.left % 2]  # a meeting in one order has no outcome in the standing


class Elimination(Schedule):
    """One player of random choice meets all others and seeds them; then the best meets the worst, winners go on.

    Every meeting is in both orders.
    """

    @property
    def own(self) -> int:
        return 4 * (self.n - 1)

    def next_pairs(self, so_far: SoFar) -> list[Seats]:
        n_seeding = 2 * (self.n - 1)
        seats = random.Random(so_far.seed).sample(range(self.n), self.n)
        if not so_far.verdicts:
            once = [(seats[0], b) if k % 2 else (b, seats[0]) for k, b in enumerate(seats[1:])]
            return (once + [(b, a) for a, b in once])[: so_far.left]
        if len(so_far.verdicts) < n_seeding:
            return []
        shares = _shares(self.n, so_far.verdicts[:n_seeding])
        field = sorted(range(self.n), key=lambda k: (-shares[k], seats[k]))
        return _knockout(field, list(so_far.verdicts[n_seeding:]))[: so_far.left]


def _knockout(field: Sequence[int], told: list[Verdict]) -> list[Seats]:
    """The round that comes after what was told of those before it; none in the middle of one, or after the last."""
    field = list(field)
    while len(field) > 1:
        size = 1 << (len(field) - 1).bit_length()
        byes, playing = field[: size - len(field)], field[size - len(field) :]
        pairs = [(playing[k], playing[-1 - k]) for k in range(len(playing) // 2)]
        if len(told) < 2 * len(pairs):
            return [] if told else [pair for a, b in pairs for pair in ((a, b), (b, a))]
        outcomes, told = _outcomes(told[: 2 * len(pairs)]), told[2 * len(pairs) :]
        # an unjudged meeting is won by the better seed
        field = [*byes, *(a if outcomes.get((a, b), 0.5) >= 0.5 else b for a, b in pairs)]
    return []


def _outcomes(verdicts: Sequence[Verdict]) -> dict[Seats, float]:
    """Probability that either of two that met beats the other."""
    found = pair_outcomes(verdicts)
    return found | {(b, a): 1 - p for (a, b), p in found.items()}


def _shares(n: int, verdicts: Sequence[Verdict]) -> np.ndarray:
    """[n] mean outcome so far, one half where there is none."""
    found: list[list[float]] = [[] for _ in range(n)]
    for (a, _), p in _outcomes(verdicts).items():
        found[a].append(p)
    return np.array([math.fsum(ps) / len(ps) if ps else 0.5 for ps in found])
