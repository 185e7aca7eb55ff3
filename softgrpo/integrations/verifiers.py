"""verifiers: an environment whose task is attempted n times, and whose attempts meet in a tournament.

verifiers finds an environment by the name of a module that can be imported, which has no dots and exports one in
`__all__`. So write a file of two lines, `tournament.py`, where `vf-eval` is run or installed beside your taskset,

    from softgrpo.integrations.verifiers import TournamentEnv
    __all__ = ["TournamentEnv"]

and name it: `vf-eval my-taskset --env.id tournament --env.n 8 --env.scorer.criteria "The better reason."
--env.scorer.judge gpt-4o`, or in a TOML file `[env]` with `id = "tournament"`, and `[env.scorer]`. A taskset whose
module exports the environment beside itself needs no `--env.id`.

A reward is the sum of what is recorded, and what is missing counts as zero, which would be an opinion. So an attempt
that was not judged, or that failed, is recorded with the mean of the others and `tournament_judged` 0. Where nobody was
judged nothing is recorded and the episode fails, so that `--env.retries` applies. The attempts run one by one unless
`--env.max-concurrent-agents` says otherwise.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

import verifiers.v1 as vf
from pydantic import Field

import softgrpo
from softgrpo.errors import UserError
from softgrpo.integrations.groups import ScoresGroups, measures, neutral_rewards, plain


class ScorerConfig(vf.BaseConfig):
    """The arguments of `softgrpo.Scorer`, as far as a command line can give them (`--env.scorer.judge gpt-4o`)."""

    task: str | None = None
    criteria: str | None = None
    judge: str = "embedded"
    format: str = "own"
    """`none` judges whole replies"""
    weights: dict[str, float] = Field(default_factory=dict)
    judge_calls_per_group: int | None = None
    votes: int = 1
    ledger: str | None = None
    budget_calls: int | None = None
    budget_tokens: int | None = None
    budget_usd: float | None = None
    """a limit of each process that serves the environment"""
    prices: str | None = None
    max_concurrency: int = 32
    seed: int = 0


class TournamentEnvConfig(vf.EnvConfig):
    """`--env.*` of a `TournamentEnv`."""

    agent: vf.AgentConfig = vf.AgentConfig()
    n: int = Field(8, ge=2)
    """Attempts per episode, which meet each other."""
    weight: float = 1.0
    """Of the tournament's reward, beside the task's own."""
    scorer: ScorerConfig = ScorerConfig()


class TournamentEnv(vf.Env[TournamentEnvConfig]):
    """n attempts and their tournament. One scorer serves all episodes, from `start` to `stop`."""

    scorer: ScoresGroups | None = None

    def make_scorer(self) -> Any:
        """Of the configuration; override it for a judge that is a function. Raises `UserError` for what cannot be."""
        return softgrpo.Scorer(**self.config.scorer.model_dump(exclude_none=True))

    def reply(self, trace: vf.Trace) -> Any:
        """What is judged of an attempt that did not fail: as verifiers' own judges have it, the last reply."""
        return trace.last_reply

    async def start(self) -> None:
        """Make the scorer before any attempt is paid for."""
        self.scorer = self.make_scorer()

    async def stop(self) -> None:
        """Close what the scorer has opened."""
        if (close := getattr(self.scorer, "close", None)) is not None:
            close()

    async def run(self, task: vf.Task, agents: vf.Agents) -> None:
        """n attempts, which know nothing of each other."""
        async with asyncio.TaskGroup() as attempts:
            for _ in range(self.config.n):
                attempts.create_task(agents.agent.run(task))

    async def finalize(self, task: vf.Task, episode: vf.Episode) -> None:
        """Record each attempt's reward `tournament`, and `tournament_` with its parts, `judged`, and `stderr`.

        Raises `RuntimeError` where no attempt could be judged, `UserError` for a prompt that is none.
        """
        prompt = asked(task.data)
        replies = [self.reply(t) if t.ok and t.assistant_messages else None for t in episode.traces]
        scored = await self.scorer.score_async(prompt, replies)  # type: ignore[union-attr]
        logged = measures(scored)
        if not any(measured["judged"] for measured in logged):
            why = "; ".join(list(dict.fromkeys(scored.failures))[:3]) or "no verdict came"
            raise RuntimeError(f"none of {len(replies)} attempts could be judged ({why}); nothing is recorded")
        rewarded = zip(episode.traces, neutral_rewards(scored), logged, scored.stderrs, strict=True)
        for trace, reward, measured, stderr in rewarded:
            trace.record_reward("tournament", reward, self.config.weight)
            known = {**measured, "stderr": float(stderr)} if math.isfinite(stderr) else measured
            trace.record_metrics({f"tournament_{name}": value for name, value in known.items()})


def asked(data: vf.TaskData) -> dict[str, Any]:
    """The task's prompt as a row: the chat that the agents saw, with the fields of the taskset's own."""
    if data.prompt is None:
        raise UserError("the task has no prompt, and a judge must know what was asked; give its TaskData a prompt")
    own = plain(data.model_dump(exclude=set(vf.TaskData.model_fields)))
    turns = [vf.UserMessage(content=data.prompt)] if isinstance(data.prompt, str) else data.prompt
    system = [vf.SystemMessage(content=data.system_prompt)] if data.system_prompt else []
    return {**own, "id": data.id, "messages": [message.model_dump() for message in (*system, *turns)]}
