"""A win rate and its interval. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from softgrpo.records import WinRate

Z = 1.959963984540054
RESAMPLES = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One meeting of the two players on one prompt."""

    prompt_id: str
    subject: str
    p_win: float | None
    """probability that our text wins, orders combined; None when it was not judged"""
    forfeit: bool
    """decided because a text had nothing to show"""


def win_rate(pairs: Sequence[Pair]) -> WinRate:
    """Share of pairs won with a 95% interval over subjects; a tie counts half, what was not judged is left out."""
    judged = [p for p in pairs if p.p_win is not None]
    formed = [p for p in judged if not p.forfeit]
    mean, low, high = _interval(judged)
    formed_mean, formed_low, formed_high = _interval(formed)
    return WinRate(
        win_rate=mean,
        low=low,
        high=high,
        win_rate_both_formed=formed_mean,
        both_formed_low=formed_low,
        both_formed_high=formed_high,
        mean_p_win=float(np.mean([p.p_win for p in judged])) if judged else float("nan"),
        n_prompts=len({p.prompt_id for p in pairs}),
        n_subjects=len({p.subject for p in judged}),
        n_pairs=len(judged),
        n_forfeits=len(judged) - len(formed),
        n_unjudged=len(pairs) - len(judged),
    )


def won(p_win: float) -> float:
    """1, 1/2 or 0; a tie is a tie within rounding."""
    return 0.5 if abs(p_win - 0.5) < 1e-9 else float(p_win > 0.5)


def _interval(pairs: Sequence[Pair]) -> tuple[float, float, float]:
    """Mean over pairs; percentile bootstrap over subjects (Efron, 1979), Wilson (1927) where all subjects agree."""
    if not pairs:
        return (float("nan"),) * 3
    by_subject: dict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        if pair.p_win is not None:
            by_subject[pair.subject].append(won(pair.p_win))
    sums = np.array([sum(w) for w in by_subject.values()])
    counts = np.array([len(w) for w in by_subject.values()])
    mean = float(sums.sum() / counts.sum())
    shares = sums / counts
    if np.ptp(shares) < 1e-12:
        return (mean, *wilson(mean, len(shares)))
    draws = np.random.default_rng(0).integers(0, len(sums), (RESAMPLES, len(sums)))
    means = sums[draws].sum(1) / counts[draws].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return mean, float(low), float(high)


def wilson(share: float, n: int) -> tuple[float, float]:
    """The 95% score interval of a share of n.

    >>> [round(x, 3) for x in wilson(1.0, 20)]
    [0.839, 1.0]
    """
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return float(max(middle - half, 0.0)), float(min(middle + half, 1.0))
