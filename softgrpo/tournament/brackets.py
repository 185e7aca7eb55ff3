"""Tournaments by standing, as comparable systems hold them: Swiss rounds, and elimination after a seeding. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

import numpy as np

from softgrpo.records import Verdict
from softgrpo.tournament.pairs import Pair, joined
from softgrpo.tournament.rating import pair_outcomes


def swiss(
    n: int, verdicts: Sequence[Verdict], met: Sequence[Pair], place: Mapping[int, int], left: int, *, seed: int
) -> list[Pair]:
    """Neighbours in the standing that have not met, in both orders; the first round by lot.

    Pairs that join two parts of the field come before others, so that everybody is joined in the end.
    """
    rng = random.Random(f"{seed}/{len(met)}")
    lots = rng.sample(range(n), n)
    shares = _shares(n, verdicts, place)
    label, before = joined(n, met), {tuple(sorted(pair)) for pair in met}
    free, pairs = sorted(range(n), key=lambda k: (-shares[k], lots[k])), []
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
    return pairs[: left - left % 2]  # a meeting in one order has no outcome in the standing


def elimination(
    n: int, verdicts: Sequence[Verdict], met: Sequence[Pair], place: Mapping[int, int], left: int, *, seed: int
) -> list[Pair]:
    """One player of random choice meets all others and seeds them; then the best meets the worst, winners go on.

    Every meeting is in both orders.
    """
    seats = random.Random(seed).sample(range(n), n)
    if not met:
        once = [(seats[0], b) if k % 2 else (b, seats[0]) for k, b in enumerate(seats[1:])]
        return (once + [(b, a) for a, b in once])[:left]
    if len(met) < 2 * (n - 1):
        return []
    seeding, knockout = verdicts[: 2 * (n - 1)], list(verdicts[2 * (n - 1) :])
    shares = _shares(n, seeding, place)
    field = sorted(range(n), key=lambda k: (-shares[k], seats[k]))
    while len(field) > 1:
        size = 1 << (len(field) - 1).bit_length()
        byes, playing = field[: size - len(field)], field[size - len(field) :]
        pairs = [(playing[k], playing[-1 - k]) for k in range(len(playing) // 2)]
        if len(knockout) < 2 * len(pairs):
            return [pair for a, b in pairs for pair in ((a, b), (b, a))][:left] if not knockout else []
        told, knockout = knockout[: 2 * len(pairs)], knockout[2 * len(pairs) :]
        outcomes = _by_place(told, place)
        # an unjudged meeting is won by the better seed
        winners = [a if outcomes.get((a, b), 0.5) >= 0.5 else b for a, b in pairs]
        field = [*byes, *winners]
    return []


def _by_place(verdicts: Sequence[Verdict], place: Mapping[int, int]) -> dict[Pair, float]:
    found = {}
    for (i, j), p in pair_outcomes(verdicts).items():
        found[place[i], place[j]] = p
        found[place[j], place[i]] = 1 - p
    return found


def _shares(n: int, verdicts: Sequence[Verdict], place: Mapping[int, int]) -> np.ndarray:
    """[n] mean outcome so far, one half where there is none."""
    found: list[list[float]] = [[] for _ in range(n)]
    for (a, _), p in _by_place(verdicts, place).items():
        found[a].append(p)
    return np.array([math.fsum(ps) / len(ps) if ps else 0.5 for ps in found])
