"""From the rewards of a group to advantages. Pure."""

from __future__ import annotations

import numpy as np

EPS = 1e-4


def advantages(rewards_G: np.ndarray, *, scale: bool = True, stderrs_G: np.ndarray | None = None) -> np.ndarray:
    """[G] reward less the group's mean, by default over its standard deviation + 1e-4 (Shao et al., 2024).

    With the rewards' standard errors, all are shrunk by their reliability: a group on which the judge is guessing
    moves nothing. Completions without a reward (NaN) have no advantage (NaN) and do not count in the mean. Fewer than
    two rewards, or all equal: zeros, nothing can be learned from such a group.

    >>> advantages(np.array([2.0, 0.0, np.nan]), scale=False)
    array([ 1., -1., nan])
    >>> advantages(np.array([0.3, 0.3]))
    array([0., 0.])
    """
    known = np.isfinite(rewards_G)
    out = np.where(known, 0.0, np.nan)
    if is_flat(rewards_G):
        return out
    rewards = rewards_G[known]
    centred = rewards - rewards.mean()
    out[known] = centred / (rewards.std(ddof=1) + EPS) if scale else centred
    return out if stderrs_G is None else out * reliability(rewards_G, stderrs_G)


def reliability(rewards_G: np.ndarray, stderrs_G: np.ndarray) -> float:
    """Share of the rewards' variance that is not noise, in [0, 1] (Kelley, 1927: true over observed variance).

    Where no error is known it is 1: nothing is known against the rewards.

    >>> reliability(np.array([1.0, 0.0, -1.0]), np.array([0.5, 0.5, 0.5]))
    0.625
    >>> reliability(np.array([0.1, 0.0, -0.1]), np.array([0.5, 0.5, 0.5]))
    0.0
    """
    share = estimated_reliability(rewards_G, stderrs_G)
    return 1.0 if np.isnan(share) else float(np.clip(share, 0.0, 1.0))


def estimated_reliability(rewards_G: np.ndarray, stderrs_G: np.ndarray) -> float:
    """The same without bounds, so that its mean over groups is right: of a judge that guesses it is 0 on average, and
    as often below as above. NaN where no error is known.

    What one text gains in a tournament the others lose: the errors of a group add up to zero, and their squares stand
    for one less than there are. Rewards without a known error are left out; rewards that are all equal have none.
    """
    known = np.isfinite(rewards_G) & np.isfinite(stderrs_G)
    if known.sum() < 2:
        return float("nan")
    variance = float(rewards_G[known].var(ddof=1))
    if variance <= 0:
        return 0.0
    return 1 - float((stderrs_G[known] ** 2).sum()) / (int(known.sum()) - 1) / variance


def is_flat(rewards_G: np.ndarray) -> bool:
    """Nothing to compare: fewer than two rewards, or all equal within rounding."""
    rewards = rewards_G[np.isfinite(rewards_G)]
    return len(rewards) < 2 or bool(np.ptp(rewards) < 1e-9)
