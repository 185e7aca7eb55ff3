"""What earlier groups taught about a judge: its preference for a place, and how noisy it is. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from softgrpo.records import Verdict
from softgrpo.tournament.fit import BIAS_PRECISION, Fit, Games, fit, games

FLAT = 1e-6
"""precision of a bias of which nothing is assumed"""
KEEP = 0.98
"""share of what was known that a further group leaves: a judge that drifts is followed over some fifty groups"""
SUREST = 100.0
"""most precision that earlier groups may claim: a prompt has a bias of its own, a tenth of a log-odds or so"""
FIRST_NOISE, FIRST_FREEDOM = 1.0, 4.0
"""what stands in for the noise until verdicts are there, and for how many verdicts it counts"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bias:
    """A judge's order term as far as it is known, and its noise.

    >>> Bias().prior
    (0.0, 0.01)
    """

    mean: float = 0.0
    """log-odds for the text read first"""
    precision: float = 0.0
    """of that mean, one over its variance; 0 where nothing is known"""
    squares: float = 0.0
    """squared residuals of soft verdicts"""
    freedom: float = 0.0
    """for how many independent verdicts they stand"""

    @property
    def prior(self) -> tuple[float, float]:
        """Mean and precision from which a group's fit starts."""
        precision = min(self.precision, SUREST)
        return self.mean * precision / (precision + BIAS_PRECISION), precision + BIAS_PRECISION

    @property
    def noise(self) -> float:
        """Variance of a soft verdict's log-odds."""
        return self.noise_with(0.0, 0.0)

    def noise_with(self, squares: float, freedom: float) -> float:
        """The same with further residuals."""
        return (self.squares + squares + FIRST_NOISE * FIRST_FREEDOM) / (self.freedom + freedom + FIRST_FREEDOM)


def fitted(n_players: int, played: Games, bias: Bias, *, ties: bool = False) -> Fit:
    """A group's fit that starts from what is known of the judge; its own residuals count in the noise.

    Without them the standard errors of a first group would believe a judge that is guessing.
    """
    noise = bias.noise
    if played.soft.any():
        alone = fit(n_players, played, bias_precision=FLAT)
        noise = bias.noise_with(alone.residual, alone.freedom)
    mean, precision = bias.prior
    return fit(n_players, played, bias_mean=mean, bias_precision=precision, noise=noise, ties=ties)


def learned(bias: Bias, groups: Sequence[tuple[int, Sequence[Verdict]]]) -> Bias:
    """What is known after these groups, each its number of players and its verdicts.

    A group tells of the bias what its own verdicts determine, whatever was known before: the same groups one by one
    and together teach the same. The older a group, the less it counts.

    >>> from softgrpo.records import Match
    >>> first = lambda i, j: Verdict(match=Match(first=i, second=j), p_first=0.9, how="log_odds")
    >>> round(learned(Bias(), [(2, [first(0, 1), first(1, 0)])]).mean, 2)
    2.2
    """
    for n_players, verdicts in groups:
        played = games(verdicts)
        if not len(played.first):
            continue
        found = fit(n_players, played, bias_precision=FLAT)
        scale = bias.noise_with(found.residual, found.freedom) if played.soft.any() else 1.0
        precision = max(1 / max(float(found.covariance[-1, -1]), 1e-9) - FLAT, 0.0) / scale
        before = KEEP * bias.precision
        total = before + precision
        mean = (before * bias.mean + precision * found.bias) / total if total > 0 else bias.mean
        bias = Bias(
            mean=float(np.clip(mean, -20, 20)),
            precision=total,
            squares=KEEP * bias.squares + found.residual,
            freedom=KEEP * bias.freedom + found.freedom,
        )
    return bias
