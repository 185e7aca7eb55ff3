"""From parts kept apart by name to one reward per completion. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from softgrpo.records import Standing
from softgrpo.rewards.format import soft_format, strict_format, tag_count

FORMAT_PARTS = {"strict_format": strict_format, "soft_format": soft_format, "tag_count": tag_count}


def format_parts(texts: Sequence[str]) -> dict[str, np.ndarray]:
    """[G] of each format reward, unweighted."""
    return {name: np.array([rule(text) for text in texts]) for name, rule in FORMAT_PARTS.items()}


def compose(parts: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """[G] the weighted sum; NaN where a part that counts has no value.

    >>> compose({"answer": np.array([1.5, -1.5]), "tag_count": np.array([0.5, 0.0])}, {"answer": 1.0, "tag_count": 1.0})
    array([ 2. , -1.5])
    """
    used = [weights[name] * part for name, part in parts.items() if weights[name] != 0]
    n = len(next(iter(parts.values())))
    return np.sum(used, axis=0) if used else np.zeros(n)


def reward_stderrs(standings: Mapping[str, Standing], weights: Mapping[str, float]) -> np.ndarray:
    """[G] standard error of the composed rewards: the tournaments' errors, taken as independent; NaN where unknown.

    Format and the like are counted, not judged, and add none.
    """
    used = [(weights[name] * standing.stderrs) ** 2 for name, standing in standings.items() if weights[name] != 0]
    return np.sqrt(np.sum(used, axis=0)) if used else np.zeros(0)
