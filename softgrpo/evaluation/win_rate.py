"""A win rate and its interval. Pure.

Pairs on one subject are alike, so that the interval is over subjects: `[S]` is a number for each of them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from softgrpo.tournament.outcomes import won

Z = 1.959963984540054
AGREE = 1e-9
"""shares of subjects that differ by less are equal"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WinRate:
    """How often the policy beats its opponent on held-out prompts."""

    win_rate: float
    """share of pairs won, a tie counting half, forfeits included"""
    low: float
    high: float
    """95% interval over subjects"""
    win_rate_both_formed: float
    """the same without the pairs decided by a forfeit"""
    both_formed_low: float
    both_formed_high: float
    mean_p_win: float
    """mean probability that the policy's text wins"""
    mean_p_low: float
    mean_p_high: float
    n_prompts: int
    n_subjects: int
    n_pairs: int
    """pairs with an outcome"""
    n_forfeits: int
    """pairs decided because a text had nothing to show"""
    n_unjudged: int
    """pairs without an outcome"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairOutcome:
    """One meeting of the two players on one prompt."""

    prompt_id: str
    subject: str
    p_win: float | None
    """probability that our text wins, orders combined; None when it was not judged"""
    forfeit: bool
    """decided because a text had nothing to show"""


def win_rate(pairs: Sequence[PairOutcome]) -> WinRate:
    """Share of pairs won and mean probability, with 95% intervals over subjects.

    A tie counts half, what was not judged is left out.
    """
    judged = [p for p in pairs if p.p_win is not None]
    formed = [p for p in judged if not p.forfeit]
    mean, low, high = _interval(judged, won)
    formed_mean, formed_low, formed_high = _interval(formed, won)
    mean_p, mean_p_low, mean_p_high = _interval(judged, float)
    return WinRate(
        win_rate=mean,
        low=low,
        high=high,
        win_rate_both_formed=formed_mean,
        both_formed_low=formed_low,
        both_formed_high=formed_high,
        mean_p_win=mean_p,
        mean_p_low=mean_p_low,
        mean_p_high=mean_p_high,
        n_prompts=len({p.prompt_id for p in pairs}),
        n_subjects=len({p.subject for p in judged}),
        n_pairs=len(judged),
        n_forfeits=len(judged) - len(formed),
        n_unjudged=len(pairs) - len(judged),
    )


def _interval(pairs: Sequence[PairOutcome], outcome: Callable[[float], float]) -> tuple[float, float, float]:
    by_subject: dict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        if pair.p_win is not None:
            by_subject[pair.subject].append(outcome(pair.p_win))
    if not by_subject:
        return (float("nan"),) * 3
    sums = np.array([math.fsum(outcomes) for outcomes in by_subject.values()])
    return share_interval(sums, np.array([len(outcomes) for outcomes in by_subject.values()]))


def share_interval(sums: np.ndarray, counts: np.ndarray) -> tuple[float, float, float]:
    """Mean outcome of pairs, and its 95% interval in the population that the subjects were drawn from.

    `sums` [S] are the subjects' outcomes, each in [0, 1], added up; `counts` [S] their pairs, at least one each.

    Wilson's score interval (1927) for as many independent pairs as tell as much, with Student's t for a variance that
    is estimated; where all subjects agree, for as many pairs as there are subjects. `benchmarks/interval_coverage.py`
    tells how often it holds the truth.

    >>> [round(x, 3) for x in share_interval(np.array([2, 1, 2, 0, 2, 1, 2, 2]), np.full(8, 2))]
    [0.75, 0.389, 0.934]
    >>> [round(x, 3) for x in share_interval(np.full(20, 2), np.full(20, 2))]
    [1.0, 0.839, 1.0]
    """
    part, shares = counts / counts.sum(), sums / counts
    mean = float(sums.sum() / counts.sum())
    # Kish's effective number (1965): fewer than there are where some have most of the pairs
    subjects = 1 / float(part @ part)
    if np.ptp(shares) < AGREE:
        return (mean, *wilson(mean, subjects))
    n = _independent(mean, shares, part, subjects)
    return (mean, *wilson(mean, n, t_critical(_degrees_of_freedom(mean, shares, part, subjects))))


def _independent(mean: float, shares: np.ndarray, part: np.ndarray, subjects: float) -> float:
    """How many independent pairs tell as much: variance of one pair by the variance of the mean (Kish, 1965).

    The latter is that of linearised residuals over subjects, none of which sees itself in the mean (CR2: Bell and
    McCaffrey, 2002). It is blind to what no subject has shown: where nearly all is won, one that loses everything.
    None of `subjects` is such a one with a chance of mean ** subjects; in the measure of that chance the number moves,
    on the log scale, to what it is where each subject wins or loses all its pairs: that of the subjects.
    """
    variance = float(np.sum(part**2 * (shares - mean) ** 2 / (1 - part)))
    unseen = mean**subjects + (1 - mean) ** subjects
    return float((mean * (1 - mean) / variance) ** (1 - unseen) * subjects**unseen)


def _degrees_of_freedom(mean: float, shares: np.ndarray, part: np.ndarray, subjects: float) -> int:
    """2 / squared relative error of the estimated variance (Satterthwaite, 1946), at most subjects - 1.

    The error is that of the variance beside mean * (1 - mean), which moves with the mean and which the score interval
    knows about: none for single pairs won or lost, much where a few subjects differ from many that agree.
    """
    deviation = len(part) * part * (shares - mean)
    influence = deviation**2 / np.mean(deviation**2) - 1 - (1 - 2 * mean) / (mean * (1 - mean)) * deviation
    squared_error = float(np.mean(influence**2)) / len(part)
    most = max(subjects - 1, 1.0)
    return max(1, round(2 / max(squared_error, 2 / most)))


def wilson(share: float, n: float, critical: float = Z) -> tuple[float, float]:
    """The 95% score interval of a share of n (Wilson, 1927).

    >>> [round(x, 3) for x in wilson(1.0, 20)]
    [0.839, 1.0]
    """
    middle = (share + critical**2 / (2 * n)) / (1 + critical**2 / n)
    half = critical / (1 + critical**2 / n) * math.sqrt(share * (1 - share) / n + critical**2 / (4 * n**2))
    # rounding may leave the share itself outside
    return min(max(middle - half, 0.0), share), max(min(middle + half, 1.0), share)


@lru_cache(maxsize=1024)
def t_critical(df: int) -> float:
    """Where 95% of Student's t lies within: bisection on the finite series for whole degrees of freedom.

    >>> [round(t_critical(df), 4) for df in (1, 2, 19, 199)]
    [12.7062, 4.3027, 2.093, 1.972]
    """
    low, high = Z, 13.0
    for _ in range(45):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, df) < 0.95 else (low, middle)
    return (low + high) / 2


def _within(t: float, df: int) -> float:
    """P(|T| < t) of Student's t (Abramowitz and Stegun, 1964, 26.7.3 and 26.7.4)."""
    odd = df % 2
    angle = math.atan(t / math.sqrt(df))
    term, total = math.cos(angle) if odd else 1.0, 0.0
    for k in range(1, df // 2 + 1):
        total += term
        term *= math.cos(angle) ** 2 * (2 * k - 1 + odd) / (2 * k + odd)
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
