"""The reward function of TRL's `GRPOTrainer`: groups are put together again, judged once, and each process has its own.

TRL calls a reward function in every process with that process's slice of the batch, and a group may lie on two of them.
It adds up what several functions give, a missing one as zero, so there must be no other function beside this one:
rewards for the form and from code are the scorer's own parts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from softgrpo.errors import UserError
from softgrpo.integrations.groups import ScoresGroups, in_groups, judge_health, met, rewards_or_none
from softgrpo.integrations.one_judge import judged_once
from softgrpo.integrations.trl_rows import Row, check_version, common, group_size, rows_of


class TournamentReward:
    """`reward_funcs=scorer.for_trl()`. A completion without a reward is None, which TRL leaves out of the baseline.

    >>> from softgrpo import Scorer
    >>> longer = lambda prompt, first, second: 0.9 if len(first) > len(second) else 0.1
    >>> reward = Scorer(criteria="Longer is better.", judge=longer).for_trl()
    >>> [round(r, 2) for r in reward(["Why?", "Why?", "How?", "How?"], ["ab", "a", "c", "cd"])]
    [1.2, -1.2, -1.2, 1.2]
    """

    __name__ = "softgrpo"
    """what TRL calls it in its metrics"""

    def __init__(self, scorer: ScoresGroups, *, num_generations: int | None = None) -> None:
        """`num_generations` is for a trainer that is not TRL's own and does not show its number."""
        if num_generations is not None and num_generations < 2:
            raise UserError(f"num_generations {num_generations}: a group has two completions or more")
        check_version()
        self.scorer, self.num_generations = scorer, num_generations

    def __call__(
        self,
        /,  # a column may have any name
        prompts: Sequence[Any],
        completions: Sequence[Any],
        *,
        log_metric: Callable[[str, float], None] | None = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """One reward for each row of this process; the data set's columns come by name.

        Raises `UserError` in every process for a prompt or a completion that is none, or a budget that is reached.
        """
        size = group_size(log_metric) or self.num_generations
        rows = rows_of(prompts, completions, columns)
        (rewards, fared, health), mine = judged_once(rows, lambda every: self._judged(every, size))
        if log_metric is not None:
            for name, value in health.items():
                log_metric(f"judge/{name}", value)
        if log_extra is not None:
            log_extra("verdicts", fared[mine])
        return rewards[mine]

    def _judged(self, rows: Sequence[Row], size: int | None) -> tuple[list[float | None], list[str], dict[str, float]]:
        """[N] rewards and how each text fared, of all processes' rows, and what is logged of the judge."""
        keys = [json.dumps(row["messages"], sort_keys=True, default=lambda x: type(x).__name__) for row, _ in rows]
        groups = [g for g in in_groups(keys, size) if len(g) > 1]
        scored = self.scorer.score_groups([(common([rows[i][0] for i in g]), [rows[i][1] for i in g]) for g in groups])
        rewards: list[float | None] = [None] * len(rows)  # also of a row that has nobody to meet
        fared = [""] * len(rows)
        for group, one in zip(groups, scored, strict=True):
            rewards[group.start : group.stop] = rewards_or_none(one)
            fared[group.start : group.stop] = [met(one.verdicts, i) for i in range(len(group))]
        return rewards, fared, judge_health(scored) | _spent(self.scorer)


class AsyncTournamentReward(TournamentReward):
    """The same for TRL's asynchronous trainer, which hands over one whole group, in a process of its own."""

    async def __call__(  # type: ignore[override]
        self, /, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any
    ) -> list[float | None]:
        """One reward for each completion of the group. Several groups may be under way (`trl_async`)."""
        rows = rows_of(prompts, completions, columns)
        if len(rows) < 2:
            return [None] * len(rows)
        asked = common([row for row, _ in rows])
        return rewards_or_none(await self.scorer.score_async(asked, [completion for _, completion in rows]))


def _spent(scorer: Any) -> dict[str, float]:
    spent = getattr(scorer, "spent", None)
    if not spent or not spent.calls:
        return {}
    return {"calls": float(spent.calls), **({} if spent.unpriced else {"usd": float(spent.usd)})}
