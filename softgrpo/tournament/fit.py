"""Bradley-Terry with an order term: strengths from the verdicts of any schedule. Pure; `G` players, `M` verdicts.

log-odds(the first wins) = strength_first - strength_second + bias (Bradley and Terry, 1952; the order term: Davidson
and Beaver, 1977). Named winners have the logistic likelihood, with ties by wish (Davidson, 1970); sampled votes weigh
as many as they are. A probability is a reading of the log-odds with normal noise: least squares there uses all that a
judge says, and an additive bias leaves it untouched. The likelihood of winners, fed with probabilities as shares of
games, flattens where a verdict is sure; `benchmarks/tournament_fidelity.py` holds both against the truth, and least
squares come nearer to it the more, the stronger the bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from softgrpo.records import Verdict
from softgrpo.tournament.log_odds import log_odds
from softgrpo.tournament.outcomes import n_votes

NAMED = frozenset({"text", "json"})
"""verdicts that name a winner; `votes` are counts of such"""
STRENGTH_PRECISION = 0.25
"""of the normal prior on strengths: a standard deviation of two log-odds"""
BIAS_PRECISION = 0.01
"""of the bias where nothing is known of it"""
TIE_PRECISION = 0.25
"""of the logarithm of Davidson's tie parameter"""
NEWTON_STEPS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Games:
    """Verdicts as arrays, [M] each; those without a probability are not among them."""

    first: np.ndarray
    second: np.ndarray
    outcome: np.ndarray
    """log-odds that the first wins where `soft`, else the share of wins in [0, 1]"""
    soft: np.ndarray
    weight: np.ndarray
    """votes behind an outcome; 1 for a single verdict"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Strengths and what is uncertain of them."""

    strengths: np.ndarray
    """[G] log-odds, mean near 0"""
    bias: float
    log_tie: float
    """logarithm of Davidson's tie parameter; -inf without ties"""
    covariance: np.ndarray
    """[G + 1, G + 1] of the strengths and, last, the bias: the inverse Hessian"""
    residual: float
    """sum of squared residuals of the soft verdicts"""
    freedom: float
    """soft verdicts less the parameters that they determine"""
    noise: float
    """variance of a soft verdict's log-odds that the fit took for granted"""


def games(verdicts: Sequence[Verdict]) -> Games:
    """The judged matches among verdicts, forfeits aside."""
    rows = [_row(v) for v in verdicts if v.p_first is not None and v.how != "forfeit"]
    first, second, outcome, soft, weight = zip(*rows, strict=True) if rows else ((),) * 5
    return Games(
        first=np.array(first, int),
        second=np.array(second, int),
        outcome=np.array(outcome, float),
        soft=np.array(soft, bool),
        weight=np.array(weight, float),
    )


def fit(
    n_players: int,
    played: Games,
    *,
    bias_mean: float = 0.0,
    bias_precision: float = BIAS_PRECISION,
    noise: float = 1.0,
    strength_precision: float = STRENGTH_PRECISION,
    ties: bool = False,
) -> Fit:
    """The posterior mode, by Newton's method; `noise` is the variance of a soft verdict's log-odds.

    >>> told = Games(first=np.array([0, 1]), second=np.array([1, 0]), outcome=np.array([2.5, -0.5]),
    ...              soft=np.array([True, True]), weight=np.ones(2))
    >>> found = fit(2, told, strength_precision=1e-9, bias_precision=1e-9)
    >>> round(float(found.strengths[0] - found.strengths[1]), 6), round(found.bias, 6)
    (1.5, 1.0)
    """
    n, g, hard = n_players, played, ~played.soft
    tied = ties and bool((hard & (g.outcome == 0.5)).any())
    design_MB = _design(n, g)
    beta = np.zeros(n + 1 + tied)  # strengths, the bias and, with ties, the logarithm of their parameter
    beta[n] = bias_mean
    centre = beta.copy()
    prior = np.r_[np.full(n, strength_precision), bias_precision, [TIE_PRECISION] * tied]
    for _ in range(NEWTON_STEPS):
        eta = design_MB @ beta[: n + 1]
        nu = np.exp(beta[-1]) if tied else 0.0
        slope, curve, cross, tie_slope, tie_curve = _hard_terms(eta, g.outcome, nu, tied)
        slope = np.where(g.soft, (g.outcome - eta) / noise, slope * g.weight)
        curve = np.where(g.soft, 1 / noise, curve * g.weight)
        gradient, hessian = -prior * (beta - centre), np.diag(prior)
        gradient[: n + 1] += design_MB.T @ slope
        hessian[: n + 1, : n + 1] += design_MB.T @ (curve[:, None] * design_MB)
        if tied:
            gradient[-1] += (tie_slope * g.weight)[hard].sum()
            hessian[-1, :-1] = hessian[:-1, -1] = design_MB.T @ np.where(hard, cross * g.weight, 0.0)
            hessian[-1, -1] += (tie_curve * g.weight)[hard].sum()
        step = np.linalg.solve(hessian, gradient)
        longest = np.abs(step).max()
        if g.soft.all():  # a quadratic: one step is exact
            beta = beta + step
            break
        # a long step of the logistic part is cut: its curve is flat far out
        beta = beta + step * min(1.0, 2.0 / max(longest, 1e-300))
        if longest < 1e-7:  # the next one would be its square
            break
    covariance = np.linalg.inv(hessian)[: n + 1, : n + 1]
    residuals = (g.outcome - design_MB @ beta[: n + 1])[g.soft]
    # a design's effective parameters: what the data, not the prior, determine
    determined = (n + 1) - float((prior[: n + 1] * np.diag(covariance)).sum()) if g.soft.any() else 0.0
    return Fit(
        strengths=beta[:n],
        bias=float(beta[n]),
        log_tie=float(beta[-1]) if tied else -np.inf,
        covariance=covariance,
        residual=float((residuals**2).sum()),
        freedom=max(float(g.soft.sum()) - determined, 0.0),
        noise=noise,
    )


def win_probabilities(strengths: np.ndarray, log_tie: float = -np.inf) -> np.ndarray:
    """[G, G] probability that i beats j without a bias, a tie counting half.

    >>> win_probabilities(np.array([0.0, np.log(3.0)])).round(2).tolist()
    [[0.5, 0.25], [0.75, 0.5]]
    """
    eta_GG = strengths[:, None] - strengths[None, :]
    return 0.5 - _hard_terms(eta_GG, np.full_like(eta_GG, 0.5), np.exp(log_tie), False)[0]


def win_slopes(strengths: np.ndarray, log_tie: float = -np.inf) -> np.ndarray:
    """[G, G] how fast those probabilities change with strength_i - strength_j: p (1 - p) where there are no ties."""
    eta_GG = strengths[:, None] - strengths[None, :]
    return _hard_terms(eta_GG, np.full_like(eta_GG, 0.5), np.exp(log_tie), False)[1]


def _row(verdict: Verdict) -> tuple[int, int, float, bool, float]:
    i, j, p = verdict.match.first, verdict.match.second, float(verdict.p_first or 0.0)
    if verdict.how == "votes":
        votes = n_votes(verdict)
        return i, j, (p * votes + 0.5) / (votes + 1), False, votes
    if verdict.how in NAMED:
        return i, j, p, False, 1.0
    return i, j, log_odds(p), True, 1.0


def _hard_terms(eta: np.ndarray, y: np.ndarray, nu: float, tied: bool) -> tuple[np.ndarray, ...]:
    """Derivatives of the log-likelihood (y - 1/2) eta + [tie] log nu - log(e^(eta/2) + e^(-eta/2) + nu)."""
    half = np.clip(eta, -60, 60) / 2
    up, down = np.exp(half), np.exp(-half)
    z = up + down + nu
    middle = (up - down) / (2 * z)
    slope = (y - 0.5) - middle
    curve = (up + down) / (4 * z) - middle**2
    if not tied:
        return slope, curve, np.zeros(0), np.zeros(0), np.zeros(0)
    share = nu / z
    return slope, curve, -middle * share, (y == 0.5) - share, share * (1 - share)


def _design(n: int, g: Games) -> np.ndarray:
    """[M, G + 1] one row a match: 1 for the first, -1 for the second, 1 for the bias."""
    design_MB = np.zeros((len(g.first), n + 1))
    rows = np.arange(len(g.first))
    design_MB[rows, g.first] = 1
    design_MB[rows, g.second] = -1
    design_MB[:, n] = 1
    return design_MB
