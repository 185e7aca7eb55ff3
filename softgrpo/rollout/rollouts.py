"""A run's judged groups, iteration by iteration: what the loop goes through."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from softgrpo.config.train import TrainConfig
from softgrpo.engines.base import Engine
from softgrpo.evaluator import Evaluator
from softgrpo.group_queue import GroupQueue
from softgrpo.records import ScoredGroup
from softgrpo.rollout.async_judging import AsyncJudging, Judged
from softgrpo.rollout.prompts import prompts_of, sampling_of
from softgrpo.streams import seed_for
from softgrpo.tasks import Task

Timed = Callable[[str], AbstractContextManager[None]]


class Rollouts:
    """Samples by an engine, scores by an evaluator; both go on side by side where the judge is a service."""

    def __init__(self, config: TrainConfig, task: Task, engine: Engine, evaluator: Evaluator) -> None:
        self.config, self.task, self.engine, self.evaluator = config, task, engine, evaluator
        self.judging = AsyncJudging(
            self._score, evaluator.state, staleness=config.max_staleness, threaded=not config.judge.is_local
        )

    def after(self, iteration: int, timed: Timed) -> Iterator[Judged]:
        """The iterations that follow, each with its groups in the order of its prompts."""
        config = self.config
        for now in range(iteration + 1, config.num_train_iters + 1):
            with timed("sample"):
                for k in self.judging.missing(now, config.num_train_iters):
                    prompts = prompts_of(k, self.task, config)
                    groups = self.engine.stream(prompts, sampling_of(k, self.task, config))
                    self.judging.sample(k, len(prompts), groups)
            with timed("wait"):
                judged = self.judging.take(now)
            yield judged

    def pending(self) -> dict[int, list[dict[str, Any]]]:
        """Groups that were sampled ahead, as a checkpoint keeps them."""
        return self.judging.pending()

    def restore(self, pending: Mapping[int, Any]) -> None:
        """Take them up again."""
        self.judging.restore(pending, lambda k: prompts_of(k, self.task, self.config))

    def _score(self, iteration: int, groups: GroupQueue) -> list[ScoredGroup]:
        return self.evaluator.score_groups(groups, seed=seed_for(self.config.seed, "tournament", iteration))
