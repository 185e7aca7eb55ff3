"""What the adapters have in common: which rows are one group, and what a host is told of a scored one. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from itertools import groupby
from typing import Any, Protocol

import numpy as np

from softgrpo.records import ScoredGroup, Verdict


class ScoresGroups(Protocol):
    """What an adapter needs of a `Scorer`."""

    def score(self, prompt: Any, completions: Sequence[Any]) -> ScoredGroup:
        """One group."""
        ...

    async def score_async(self, prompt: Any, completions: Sequence[Any]) -> ScoredGroup:
        """The same for a running event loop."""
        ...

    def score_groups(self, groups: Sequence[tuple[Any, Sequence[Any]]]) -> list[ScoredGroup]:
        """Several at once."""
        ...


def in_groups(keys: Sequence[Hashable], size: int | None = None) -> list[range]:
    """Which rows of a batch are one group. A group's rows are neighbours; the key is what they have in common, mostly.

    With a `size` groups are slices of it, as trainers cut them, whatever their keys: a prompt may have something of
    each rollout in it. Only where the batch does not come out even, or its keys show another size (an evaluation with
    other groups), is it cut as without one: rows with one key are taken together, in parts of the size that all runs of
    keys share, or else the most frequent; the last part of a run may be smaller.

    >>> in_groups("aaaabbbb", 2)
    [range(0, 2), range(2, 4), range(4, 6), range(6, 8)]
    >>> in_groups("abcd", 4), in_groups("aabb", 4)
    ([range(0, 4)], [range(0, 2), range(2, 4)])
    >>> in_groups("aaaabbbbbbbb"), in_groups("aaabbbc")
    ([range(0, 4), range(4, 8), range(8, 12)], [range(0, 3), range(3, 6), range(6, 7)])
    """
    runs, start = [], 0
    for _, rows in groupby(keys):
        end = start + sum(1 for _ in rows)
        runs.append(range(start, end))
        start = end
    shared = math.gcd(*map(len, runs))
    slices = [range(i, i + size) for i in range(0, start, size)] if size and start % size == 0 else []
    if slices and (shared == 1 or all(len({keys[i] for i in rows}) == 1 for rows in slices)):
        return slices
    common = shared if shared > 1 or not runs else Counter(map(len, runs)).most_common(1)[0][0]
    part = size if size and all(len(run) % size == 0 for run in runs) else common
    return [run[i : i + part] for run in runs for i in range(0, len(run), part)]


def rewards_or_none(scored: ScoredGroup) -> list[float | None]:
    """[G] the composed rewards, for a host that knows what a missing one is.

    The whole of it is missing, not the judge's part: a host that adds up what is left would count the judge as zero.
    """
    return [float(r) if math.isfinite(r) else None for r in scored.rewards]


def neutral_rewards(scored: ScoredGroup) -> list[float]:
    """[G] the rewards for a host that knows no missing ones: one that is missing is the mean of the others.

    So the mean is what it is without it, and its own advantage, the reward less the mean, is zero. (A host that divides
    by the standard deviation finds that a little smaller.) Without any reward all are zero: nobody has an advantage.

    >>> from types import SimpleNamespace
    >>> neutral_rewards(SimpleNamespace(rewards=np.array([1.0, np.nan, 2.0])))
    [1.0, 1.5, 2.0]
    >>> neutral_rewards(SimpleNamespace(rewards=np.array([np.nan, np.nan])))
    [0.0, 0.0]
    """
    known = np.isfinite(scored.rewards)
    neutral = float(scored.rewards[known].mean()) if known.any() else 0.0
    return [float(r) if is_known else neutral for r, is_known in zip(scored.rewards, known, strict=True)]


def measures(scored: ScoredGroup) -> list[dict[str, float]]:
    """[G] what a host may log of each completion: its reward's parts as far as they are numbers, and `judged`, 1 where
    it has a reward and 0 where it has none."""
    return [
        {
            "judged": float(math.isfinite(reward)),
            **{name: float(part[i]) for name, part in scored.reward_parts.items() if math.isfinite(part[i])},
        }
        for i, reward in enumerate(scored.rewards)
    ]


def judge_health(scored: Sequence[ScoredGroup]) -> dict[str, float]:
    """What a host may log of the judge, over some groups: counts, and means of what is known."""
    standings = [standing for one in scored for standing in one.standings.values()]
    known: dict[str, list[float]] = {"position_bias": [s.position_bias for s in standings]}
    for one in scored:
        known.setdefault("stderr", []).extend(one.stderrs)
        for name, part in one.reward_parts.items():
            known.setdefault(name, []).extend(part)
    means = {name: [float(v) for v in values if math.isfinite(v)] for name, values in known.items()}
    return {
        "groups": float(len(scored)),
        "unjudged": float(sum(v.p_first is None and v.how != "undelivered" for one in scored for v in one.verdicts)),
        "forfeits": float(sum(s.n_forfeits for s in standings)),
        "without_reward": float(sum(int(np.isnan(one.rewards).sum()) for one in scored)),
        **{name: sum(values) / len(values) for name, values in means.items() if values},
    }


def met(verdicts: Sequence[Verdict], player: int) -> str:
    """How one text fared, in a line: each opponent with the probabilities that the judge gave for this text.

    >>> from softgrpo.records import Match
    >>> first, second = Match(first=0, second=1), Match(first=1, second=0)
    >>> heard = Verdict(match=first, p_first=0.9, how="text"), Verdict(match=second, p_first=None, how="text")
    >>> met(heard, 0), met(heard, 1)
    ('1: 0.90 failed', '0: 0.10 failed')
    """
    said: dict[int, list[str]] = {}
    for verdict in verdicts:
        match = verdict.match
        if player in (match.first, match.second):
            p = verdict.p_first if player == match.first else None if verdict.p_first is None else 1 - verdict.p_first
            other = match.second if player == match.first else match.first
            said.setdefault(other, []).append("failed" if p is None else f"{p:.2f}")
    return "; ".join(f"{other}: {' '.join(heard)}" for other, heard in sorted(said.items()))


def plain(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Of a row's columns those that are text, numbers, or lists and mappings of such; arrays become lists and numbers.

    >>> plain({"side": "PRO", "n": np.int64(1), "image": object(), "tags": ["a", None]})
    {'side': 'PRO', 'n': 1, 'tags': ['a', None]}
    """
    lists = {str(name): value.tolist() if hasattr(value, "tolist") else value for name, value in columns.items()}
    return {name: value for name, value in lists.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(name, str) and _is_plain(v) for name, v in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float | bool)
