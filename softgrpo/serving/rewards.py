"""From a scored group to what is answered: numbers, or None where there is none. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from softgrpo.integrations.groups import neutral_rewards
from softgrpo.records import FAILED, NOTHING, ScoredGroup

UNDELIVERED = "undelivered"
"""how a verdict on a completion that is not there came about"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """What one member of a group is told."""

    reward: float | None
    """None where there is none"""
    neutral_reward: float = 0.0
    """the reward, or where there is none the mean of its group's: a host that knows no missing reward gives it no
    advantage by that"""
    stderr: float | None = None
    reward_parts: Mapping[str, float | None] = field(default_factory=lambda: NOTHING)
    failure: str = ""
    """why there is no reward, in words that repeat nothing of a text"""
    said: str = ""
    """what the judge said to that, who may repeat one"""
    n_judged: int = 0
    """members of the group that have one"""
    again: bool = False
    """nobody of the group has one, and it is kept nowhere: whoever asks again lets it be judged again"""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        told = self.to_keep() | {"failure": f"{self.failure}: {self.said}" if self.said else self.failure}
        return told | {"again": self.again}

    def to_keep(self) -> dict[str, Any]:
        """What a file may hold of it: numbers, and our own words."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("said", "again")}
        return given | {"reward_parts": dict(self.reward_parts)}


def rewards_of(scored: ScoredGroup) -> list[Reward]:
    """One for each completion, in their order."""
    neutral, stderrs = neutral_rewards(scored), numbers(scored.stderrs)
    parts = {name: numbers(part) for name, part in scored.reward_parts.items()}
    given, again = numbers(scored.rewards), is_unjudged(scored)
    whys = [why_none(scored, i) if reward is None else ("", "") for i, reward in enumerate(given)]
    return [
        Reward(
            reward=reward,
            neutral_reward=neutral[i],
            stderr=stderrs[i] if stderrs else None,
            reward_parts={name: part[i] for name, part in parts.items()},
            failure=whys[i][0],
            said=whys[i][1],
            n_judged=sum(r is not None for r in given),
            again=again,
        )
        for i, reward in enumerate(given)
    ]


def is_unjudged(scored: ScoredGroup) -> bool:
    """Nobody has a reward because the judge failed, who may be there the next time.

    A completion that was not delivered, or a reward of the task's own that gives no number, is the same next time.
    """
    has_failed = any(v.p_first is None and v.how != UNDELIVERED for v in scored.verdicts)
    return has_failed and not np.isfinite(scored.rewards).any()


def why_none(scored: ScoredGroup, i: int) -> tuple[str, str]:
    """Why completion i has no reward, and what the judge said to that."""
    if scored.group.completions[i].finish_reason == FAILED:
        return "the completion was not delivered", ""
    met = [v for v in scored.verdicts if i in (v.match.first, v.match.second)]
    failed = Counter(v.failure for v in met if v.p_first is None)
    if not failed:
        return "a reward from the task's own code gave no number", ""
    ((first, _),) = failed.most_common(1)
    return f"{failed.total()} of its {len(met)} judgements failed", first


def whole_group(scored: ScoredGroup, main: str) -> dict[str, Any]:
    """All that is answered about a group; `main` is the objective whose forfeits and bias are told."""
    standing = scored.standings.get(main)
    return {
        "rewards": numbers(scored.rewards),
        "neutral_rewards": neutral_rewards(scored),
        "stderrs": numbers(scored.stderrs) or [None] * len(scored.rewards),
        "reward_parts": {name: numbers(part) for name, part in scored.reward_parts.items()},
        "failures": list(scored.failures),
        "n_unjudged": sum(s.n_unjudged for s in scored.standings.values()),
        "n_forfeits": standing.n_forfeits if standing else 0,
        "position_bias": number(standing.position_bias) if standing else None,
    }


def number(value: float) -> float | None:
    """As JSON knows numbers: None for NaN and the infinities."""
    return float(value) if math.isfinite(value) else None


def numbers(values: np.ndarray) -> list[float | None]:
    """The same of an array.

    >>> numbers(np.array([1.5, np.nan]))
    [1.5, None]
    """
    return [number(value) for value in values]
