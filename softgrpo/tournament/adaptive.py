"""The next matches by what they would tell. Pure."""

from __future__ import annotations

import numpy as np

from softgrpo.tournament.bias import fitted
from softgrpo.tournament.fit import games, win_probabilities, win_slopes
from softgrpo.tournament.pairs import Seats, regular
from softgrpo.tournament.schedule import Schedule, SoFar

SETTLED = 0.02
"""share of the scores' variance that is uncertainty, below which no further match is asked for"""
HARD_CURVE = 0.15
"""information of a named winner about its log-odds, p (1 - p), where the texts are not far apart"""


class Adaptive(Schedule):
    """A cycle through all players first; then rounds in which nobody plays twice, until the scores have settled.

    Greedy Bayesian design: of all matches the one that takes most off the summed variance of the scores, with the
    normal approximation to what is known (Lindley, 1956; Glickman and Jensen, 2005, for tournaments).
    """

    @property
    def own(self) -> int:
        return 4 * self.n

    def next_pairs(self, so_far: SoFar) -> list[Seats]:
        n, left = self.n, so_far.left
        if not so_far.verdicts:
            return regular(n, min(left, n if n > 2 else 2), so_far.seed)
        # sums are then rounded alike whatever the order in which verdicts came
        played = games(sorted(so_far.verdicts, key=lambda v: (v.match.first, v.match.second)))
        found = fitted(n, played, so_far.bias)
        p_GG = win_probabilities(found.strengths)
        slope_GG = 3 * win_slopes(found.strengths) / max(n - 1, 1)
        np.fill_diagonal(slope_GG, 0)
        jacobian = np.diag(slope_GG.sum(1)) - slope_GG  # [G, G] of the scores in the strengths
        covariance = found.covariance
        scores = 3 * (p_GG.sum(1) - 0.5) / max(n - 1, 1) - 1.5
        uncertain = np.trace(jacobian @ covariance[:n, :n] @ jacobian.T)
        if uncertain < SETTLED * max(float(((scores - scores.mean()) ** 2).sum()), 1e-12):
            return []
        error = found.noise if not len(played.first) or played.soft.mean() > 0.5 else 1 / HARD_CURVE
        return _greedy(n, jacobian, covariance, error, set(so_far.met), min(left, max(n // 2, 1)))


def _greedy(
    n: int, jacobian: np.ndarray, covariance: np.ndarray, error: float, met: set[Seats], most: int
) -> list[Seats]:
    """Disjoint pairs, each the best after those before it; a pair that has met in an order is not asked again in it."""
    chosen: list[Seats] = []
    free = np.ones(n, bool)
    barred = np.eye(n, dtype=bool)
    for a, b in met:
        barred[a, b] = True
    moves = jacobian @ covariance[:n]  # [G, G + 1] how the scores move with strengths and bias
    for _ in range(most):
        gain = _of_matches(moves.T @ moves) / (error + _of_matches(covariance))
        gain[barred | ~free[:, None] | ~free[None, :]] = -np.inf
        a, b = divmod(int(gain.argmax()), n)
        if not np.isfinite(gain[a, b]):
            break
        chosen.append((a, b))
        free[[a, b]] = False
        told = covariance[a] - covariance[b] + covariance[n]
        known = error + told[a] - told[b] + told[n]
        moves = moves - np.outer(moves[:, a] - moves[:, b] + moves[:, n], told) / known
        covariance = covariance - np.outer(told, told) / known
    return chosen


def _of_matches(form: np.ndarray) -> np.ndarray:
    """[G, G] the quadratic form [G + 1, G + 1] along u = e_a - e_b + e_bias of each match (a first, b second)."""
    own, with_bias = np.diag(form)[:-1], form[:-1, -1]
    return (own + 2 * with_bias)[:, None] + (own - 2 * with_bias)[None, :] - 2 * form[:-1, :-1] + form[-1, -1]
