"""How much of each score is the judge's noise: what would change if the judge were asked again. Pure.

Two verdicts on one pair, read in both orders, are two measurements of one thing once the judge's preference for a place
is taken out. What is left between them is noise; how the opponents differ is not. `G` players, `P` pairs, `Z` points of
a quadrature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from softgrpo.records import Verdict
from softgrpo.tournament.bias import FLAT
from softgrpo.tournament.fit import STRENGTH_PRECISION, fit, games
from softgrpo.tournament.log_odds import log_odds
from softgrpo.tournament.outcomes import HARD

EXACT = frozenset({"forfeit", "scores"})
"""outcomes that would be the same again: nobody was asked, or each text has a score of its own"""
FEW_BY_PLACE = 6
"""so many pairs that all go to the same place are no chance: one in 32 of a judge without a preference"""
FEW_PLAYERS = 6
"""a judge that tosses coins ranks so many players without a circle once in 46 times"""
_MOST = log_odds(1.0) - 1e-9
"""log-odds of a verdict at the clip, within rounding"""
_POINTS_Z, _WEIGHTS_Z = np.polynomial.hermite_e.hermegauss(15)
_WEIGHTS_Z = _WEIGHTS_Z / _WEIGHTS_Z.sum()


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pairs with an outcome that a judge might give otherwise, i < j."""

    i: np.ndarray
    """[P]"""
    j: np.ndarray
    """[P]"""
    p_when_first: np.ndarray
    """[P] probability that i wins, read with i first; NaN where that was not asked"""
    p_when_second: np.ndarray
    """[P] the same with j first"""
    hard: bool
    """every verdict names a winner"""


def score_stderrs(n_players: int, verdicts: Sequence[Verdict], n_opponents: np.ndarray) -> np.ndarray:
    """[G] standard error of the win-share score 1.5 * (2 * mean p - 1) over `n_opponents` [G]: the judge's noise alone.

    NaN where it cannot be told: for players without opponents, or where fewer than two pairs were judged.

    >>> from softgrpo.records import Match
    >>> said = lambda i, j, p: Verdict(match=Match(first=i, second=j), p_first=p, how="text")
    >>> sure = [said(i, j, float(i < j)) for i in range(3) for j in range(3) if i != j]
    >>> score_stderrs(3, sure, np.full(3, 2))
    array([0., 0., 0.])
    >>> torn = [*sure[:-1], said(2, 1, 1.0)]  # of the last pair, either wins where it is read first
    >>> score_stderrs(3, torn, np.full(3, 2)).round(2)
    array([0.61, 0.61, 0.61])
    """
    pairs = _pairs(verdicts)
    variances = _variances(pairs, n_players, verdicts) if len(pairs.i) else np.zeros(0)
    sums = np.zeros(n_players)
    np.add.at(sums, pairs.i, variances)
    np.add.at(sums, pairs.j, variances)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(n_opponents > 0, 3 * np.sqrt(sums) / n_opponents, np.nan)


def _pairs(verdicts: Sequence[Verdict]) -> _Pairs:
    said: dict[tuple[int, int], list[Verdict]] = {}
    for v in verdicts:
        if v.how not in EXACT:
            said.setdefault((min(v.match.first, v.match.second), max(v.match.first, v.match.second)), []).append(v)
    known = {pair: found for pair, found in said.items() if all(v.p_first is not None for v in found)}
    forward = [[v.p_first or 0.0 for v in found if v.match.first == i] for (i, _), found in known.items()]
    backward = [[1 - (v.p_first or 0.0) for v in found if v.match.first != i] for (i, _), found in known.items()]
    return _Pairs(
        i=np.array([i for i, _ in known], int),
        j=np.array([j for _, j in known], int),
        p_when_first=np.array([np.mean(ps) if ps else np.nan for ps in forward]),
        p_when_second=np.array([np.mean(ps) if ps else np.nan for ps in backward]),
        hard=all(v.how in HARD for found in known.values() for v in found),
    )


def _variances(pairs: _Pairs, n_players: int, verdicts: Sequence[Verdict]) -> np.ndarray:
    """[P] variance of each pair's outcome over repetitions of the judge; NaN where it cannot be told."""
    twice = np.isfinite(pairs.p_when_first) & np.isfinite(pairs.p_when_second)
    if not twice.all():
        return _of_a_fit(pairs, n_players, verdicts)
    if len(twice) < 2:
        return np.full(len(twice), np.nan)
    if follows_a_scale(pairs.p_when_first, pairs.p_when_second, pairs.i, pairs.j, n_players):
        return np.zeros(len(twice))
    if pairs.hard:
        return np.full(len(twice), (pairs.p_when_first - pairs.p_when_second).var(ddof=1) / 4)
    first, second = (np.array([log_odds(p) for p in ps]) for ps in (pairs.p_when_first, pairs.p_when_second))
    open_ = (np.abs(first) < _MOST) & (np.abs(second) < _MOST)
    if open_.sum() < max(2, len(open_) / 2):  # a judge that is always sure names winners
        place = (first - second).mean() / 2
        apart = _sigmoid(first - place) - _sigmoid(second + place)
        return np.full(len(apart), (apart**2).sum() / (len(apart) - 1) / 4)
    noise = ((first - second)[open_] / 2).var(ddof=1)
    means = (first + second) / 2
    return _of_sigmoid(means * max(0.0, 1 - noise / max((means**2).mean(), 1e-12)), noise)


def follows_a_scale(first_P: np.ndarray, second_P: np.ndarray, i_P: np.ndarray, j_P: np.ndarray, n: int) -> bool:
    """A scale with a preference for one place explains every verdict, where chance hardly would: so there is no noise.

    The texts that win in both orders are then in a semiorder (Scott and Suppes, 1958): no pair is undecided that
    others put two steps apart. `first_P`, `second_P`: probability that i wins, read first and read second.
    """
    ahead, behind = (first_P > 0.5) & (second_P > 0.5), (first_P < 0.5) & (second_P < 0.5)
    to_first = (first_P > 0.5) & (second_P < 0.5)
    by_place = ~ahead & ~behind
    if by_place.sum() < FEW_BY_PLACE or 0 < to_first.sum() < by_place.sum():
        return False
    beats, equal = np.zeros((n, n)), np.eye(n)
    beats[i_P[ahead], j_P[ahead]] = beats[j_P[behind], i_P[behind]] = 1
    equal[i_P[by_place], j_P[by_place]] = equal[j_P[by_place], i_P[by_place]] = 1
    implied = (beats @ equal @ beats > 0) | (beats @ beats @ equal > 0)
    return not (implied & (beats == 0)).any()


def _of_a_fit(pairs: _Pairs, n_players: int, verdicts: Sequence[Verdict]) -> np.ndarray:
    """[P] of pairs judged once: what a scale with an order term (Bradley and Terry, 1952) leaves unexplained."""
    played = games(verdicts)
    # log-odds are fitted as they are; winners need the prior, without which a sure judge's strengths have no end
    found = fit(n_players, played, bias_precision=FLAT, strength_precision=STRENGTH_PRECISION if pairs.hard else FLAT)
    gaps = found.strengths[pairs.i] - found.strengths[pairs.j]
    if not pairs.hard:
        return _of_sigmoid(gaps, found.residual / found.freedom if found.freedom >= 1 else np.nan)
    read_first = np.isfinite(pairs.p_when_first)
    won = np.where(read_first, pairs.p_when_first, pairs.p_when_second)
    if n_players >= FEW_PLAYERS and _is_an_order(won, pairs.i, pairs.j, n_players):
        return np.zeros(len(gaps))
    p = _sigmoid(gaps + np.where(read_first, found.bias, -found.bias))
    return p * (1 - p)


def _is_an_order(won_P: np.ndarray, i_P: np.ndarray, j_P: np.ndarray, n: int) -> bool:
    """All met all, and the winners stand in one line: the wins are 0, 1, 2, ..."""
    wins = np.zeros(n)
    np.add.at(wins, i_P, won_P > 0.5)
    np.add.at(wins, j_P, won_P < 0.5)
    return len(won_P) == n * (n - 1) // 2 and sorted(wins.tolist()) == list(range(n))


def _of_sigmoid(means_P: np.ndarray, noise: float) -> np.ndarray:
    """[P] variance of sigmoid(mean + normal noise), by Gauss-Hermite quadrature."""
    p_PZ = _sigmoid(means_P[:, None] + math.sqrt(noise) * _POINTS_Z)
    return np.maximum(p_PZ**2 @ _WEIGHTS_Z - (p_PZ @ _WEIGHTS_Z) ** 2, 0)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
