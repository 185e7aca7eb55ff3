"""From the rewards of a group to advantages. Pure."""

from __future__ import annotations

import numpy as np

EPS = 1e-4


def advantages(rewards_G: np.ndarray, *, scale: bool = True) -> np.ndarray:
    """[G] reward less the group's mean, by default over its standard deviation + 1e-4 (Shao et al., 2024).

    Completions without a reward (NaN) have no advantage (NaN) and do not count in the mean. Fewer than two rewards,
    or all equal: zeros, nothing can be learned from such a group.

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
    return out


def is_flat(rewards_G: np.ndarray) -> bool:
    """Nothing to compare: fewer than two rewards, or all equal within rounding."""
    rewards = rewards_G[np.isfinite(rewards_G)]
    return len(rewards) < 2 or bool(np.ptp(rewards) < 1e-9)
