"""The reward function of TRL's `GRPOTrainer`: groups are put together again, judged once, and each process has its own.

TRL calls a reward function in every process with that process's slice of the batch, and a group may lie on two of them.
It adds up what several functions give, a missing one as zero, so there must be no other function beside this one:
rewards for the form and from code are the scorer's own parts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from softgrpo.errors import UserError
from softgrpo.integrations.groups import ScoresGroups, in_groups, judge_health, met, plain, rewards_or_none
from softgrpo.integrations.one_judge import judged_once

Row = tuple[dict[str, Any], Any]
"""a prompt with the other columns of its row, and a completion"""
NO_COLUMNS = ("completion_ids", "trainer_state", "environments")
"""what TRL gives beside the data set's own"""


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
        """`num_generations` is the trainer's; without it the batch shows how many completions share a prompt."""
        if num_generations is not None and num_generations < 2:
            raise UserError(f"num_generations {num_generations}: a group has two completions or more")
        check_version()
        self.scorer, self.num_generations = scorer, num_generations

    def __call__(
        self,
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
        (rewards, fared, health), mine = judged_once(rows_of(prompts, completions, columns), self._judged)
        if log_metric is not None:
            for name, value in health.items():
                log_metric(f"judge/{name}", value)
        if log_extra is not None:
            log_extra("verdicts", fared[mine])
        return rewards[mine]

    def _judged(self, rows: Sequence[Row]) -> tuple[list[float | None], list[str], dict[str, float]]:
        """[N] rewards and how each text fared, of all processes' rows, and what is logged of the judge."""
        keys = [json.dumps(prompt, sort_keys=True, default=lambda other: type(other).__name__) for prompt, _ in rows]
        groups = [g for g in in_groups(keys, self.num_generations) if len(g) > 1]
        scored = self.scorer.score_groups([(rows[g[0]][0], [rows[i][1] for i in g]) for g in groups])
        rewards: list[float | None] = [None] * len(rows)  # also of a row that has nobody to meet
        fared = [""] * len(rows)
        for group, one in zip(groups, scored, strict=True):
            rewards[group.start : group.stop] = rewards_or_none(one)
            fared[group.start : group.stop] = [met(one.verdicts, i) for i in range(len(group))]
        return rewards, fared, judge_health(scored) | _spent(self.scorer)


class AsyncTournamentReward(TournamentReward):
    """The same for TRL's asynchronous trainer, which hands over one whole group, in a process of its own."""

    async def __call__(  # type: ignore[override]
        self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any
    ) -> list[float | None]:
        """One reward for each completion of the group. Several groups may be under way (`trl_async`)."""
        rows = rows_of(prompts, completions, columns)
        if len(rows) < 2:
            return [None] * len(rows)
        return rewards_or_none(await self.scorer.score_async(rows[0][0], [completion for _, completion in rows]))


def check_version(oldest: tuple[int, int] = (1, 6)) -> None:
    """An older TRL takes a completion whose only reward is None for one of zero. Raises `UserError` for that."""
    try:
        found = version("trl")
    except PackageNotFoundError:
        return
    if tuple(map(int, re.findall(r"\d+", found)[:2])) < oldest:
        needed = ".".join(map(str, oldest))
        raise UserError(f"trl {found}: it takes a missing reward for zero; install trl>={needed}")


def rows_of(prompts: Sequence[Any], completions: Sequence[Any], columns: Mapping[str, Any]) -> list[Row]:
    """This process's rows: each prompt, as a chat, with its row's other columns as far as they are text and numbers."""
    chats = [[{"role": "user", "content": p}] if isinstance(p, str) else p for p in prompts]
    beside = {
        name: values
        for name, values in columns.items()
        if name not in NO_COLUMNS and isinstance(values, list | tuple) and len(values) == len(prompts)
    }
    return [
        ({**plain({name: values[i] for name, values in beside.items()}), "messages": chat}, completion)
        for i, (chat, completion) in enumerate(zip(chats, completions, strict=True))
    ]


def _spent(scorer: Any) -> dict[str, float]:
    spent = getattr(scorer, "spent", None)
    return {"calls": float(spent.calls), "usd": float(spent.usd)} if spent and spent.calls else {}
