"""What nobody can beat on given matches: the posterior mean of the scores under the model that drew the world.

The log-odds that a beats b are f = skill_a - skill_b + cycle_ab, skills N(0, 1), cycles N(0, cycles^2); a match tells
f + bias + noise (soft) or only its sign (hard). All spreads and the bias are known. A soft world is normal and linear,
so its posterior is exact. A hard one is a probit regression, whose posterior is approached by expectation propagation
(Minka, 2001): every sign is replaced by the normal reading of f that has the same two moments. Either way the score of
a text is the mean of E[sigmoid(f)] over the others, by Gauss-Hermite quadrature.

Shapes: `N` groups, `G` texts, `K` matches of all groups together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr

SWEEPS, SETTLED, STEP = 40, 2e-3, 0.9
"""of expectation propagation: at most so many, until no log-odds moves by more, damped"""
AT_ONCE = 100
"""groups in memory"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The matches of many groups, [K] each."""

    group: np.ndarray
    first: np.ndarray
    second: np.ndarray
    log_odds: np.ndarray
    """what the judge read, bias and noise included; a hard verdict tells its sign"""


def expected_scores(
    told: Told, n_groups: int, n_players: int, *, noise: float, bias: float, cycles: float, hard: bool
) -> np.ndarray:
    """[N, G] posterior mean of each text's mean probability over the others.

    >>> told = Told(group=np.array([0]), first=np.array([1]), second=np.array([0]), log_odds=np.array([3.0]))
    >>> expected_scores(told, 1, 2, noise=1e-6, bias=1.0, cycles=0.0, hard=False).round(4)
    array([[0.1192, 0.8808]])
    >>> expected_scores(told, 1, 2, noise=1.0, bias=0.0, cycles=0.0, hard=True).round(2)
    array([[0.32, 0.68]])
    """
    parts = []
    for start in range(0, n_groups, AT_ONCE):
        inside = (told.group >= start) & (told.group < start + AT_ONCE)
        part = Told(
            group=told.group[inside] - start,
            first=told.first[inside],
            second=told.second[inside],
            log_odds=told.log_odds[inside],
        )
        shape = (min(AT_ONCE, n_groups - start), n_players, n_players)
        find = _from_signs if hard else _from_readings
        parts.append(_mean_probabilities(*find(part, shape, noise, bias, cycles)))
    return np.concatenate(parts)


def _from_readings(
    told: Told, shape: tuple[int, int, int], noise: float, bias: float, cycles: float
) -> tuple[np.ndarray, np.ndarray]:
    """[N, G, G] posterior mean and variance of every pair's log-odds."""
    precision_K = np.full(len(told.group), noise**-2)
    return _marginals(told, shape, precision_K, (told.log_odds - bias) * precision_K, cycles)


def _from_signs(
    told: Told, shape: tuple[int, int, int], noise: float, bias: float, cycles: float
) -> tuple[np.ndarray, np.ndarray]:
    """The same from who was ahead."""
    at = told.group, told.first, told.second
    sign = np.where(told.log_odds > 0, 1.0, -1.0)
    precision, natural = np.zeros(len(sign)), np.zeros(len(sign))
    mean, variance = _marginals(told, shape, precision, natural, cycles)
    for _ in range(SWEEPS):
        without = 1 / variance[at] - precision  # what all other matches say
        centre, spread = (mean[at] / variance[at] - natural) / without, 1 / without
        width = np.sqrt(noise**2 + spread)
        z = sign * (centre + bias) / width
        ratio = np.exp(-(z**2) / 2 - np.log(2 * np.pi) / 2 - log_ndtr(z))
        tilted_mean = centre + sign * spread * ratio / width
        tilted_variance = spread - spread**2 * ratio * (z + ratio) / width**2
        precision = precision + STEP * (1 / tilted_variance - without - precision)
        natural = natural + STEP * (tilted_mean / tilted_variance - centre * without - natural)
        before = mean
        mean, variance = _marginals(told, shape, precision, natural, cycles)
        if np.abs(mean - before).max() < SETTLED:
            break
    return mean, variance


def _marginals(
    told: Told, shape: tuple[int, int, int], precision_K: np.ndarray, natural_K: np.ndarray, cycles: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of f for all pairs after normal readings of some, given as precision and precision x value."""
    place = np.ravel_multi_index((told.group, told.first, told.second), shape)
    size = int(np.prod(shape))
    precision = np.bincount(place, precision_K, size).reshape(shape)
    natural = np.bincount(place, natural_K, size).reshape(shape)
    precision, natural = precision + precision.transpose(0, 2, 1), natural - natural.transpose(0, 2, 1)
    # a reading of f is one of the skills' difference with the cycle as further noise
    kept = 1 / (1 + cycles**2 * precision)
    on_skills = -precision * kept
    diagonal = np.arange(shape[1])
    on_skills[:, diagonal, diagonal] = 1 + (precision * kept).sum(2)
    covariance = np.linalg.inv(on_skills)
    skills = (covariance @ (natural * kept).sum(2)[:, :, None])[:, :, 0]
    own = covariance[:, diagonal, diagonal]
    mean = kept * (skills[:, :, None] - skills[:, None, :]) + cycles**2 * kept * natural
    variance = kept**2 * (own[:, :, None] + own[:, None, :] - 2 * covariance) + cycles**2 * kept
    return mean, variance


def _mean_probabilities(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    nodes, weights = np.polynomial.hermite_e.hermegauss(7)
    spread = np.sqrt(np.maximum(variance, 0))
    p = sum(w / (1 + np.exp(-(mean + x * spread))) for x, w in zip(nodes, weights / weights.sum(), strict=True))
    diagonal = np.arange(mean.shape[1])
    p[:, diagonal, diagonal] = 0
    return p.sum(2) / (mean.shape[1] - 1)
