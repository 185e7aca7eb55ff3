"""A scorer as it is asked from outside: groups under its own task, and under criteria that come with a request."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from softgrpo.errors import UserError
from softgrpo.ranking import Ranking
from softgrpo.records import NOTHING, Completion, Prompt, ScoredGroup
from softgrpo.scorer import Scorer
from softgrpo.serving.cohorts import Cohorts
from softgrpo.serving.kept import KeptCohorts
from softgrpo.serving.limits import Limits
from softgrpo.serving.metrics import Metrics
from softgrpo.serving.samples import Sample
from softgrpo.tasks.chats import PromptReader, as_completion
from softgrpo.tasks.task import digest, fingerprint

OTHERS = 32
"""scorers for other criteria that are kept, the last used ones"""
THREADS = 64
Group = tuple[Prompt, list[Completion]]


class Service:
    """One scorer, its cohorts, and what is counted of them."""

    def __init__(self, scorer: Scorer, limits: Limits) -> None:
        self.scorer, self.limits = scorer, limits
        self.metrics = Metrics(scorer)
        evaluator = scorer.evaluator
        self.main = evaluator.main.name
        serves = digest(
            fingerprint(scorer.task),
            evaluator.judge.name,
            evaluator.weights,
            repr(evaluator.plan),
            repr(evaluator.rule),
        )
        self.kept = KeptCohorts(limits.cohorts, hours=limits.keep_hours, serves=serves)
        self.cohorts = Cohorts(self.judge, self.kept, deadline_s=limits.cohort_deadline_s, count=self.metrics.count)
        self.abandoned = False
        """a judgement is under way for which nobody waits any more"""
        self._prompts = PromptReader(scorer.task)
        self._others: OrderedDict[tuple[str | None, float], Scorer] = OrderedDict()
        self._threads = ThreadPoolExecutor(THREADS, "softgrpo-serving")

    def prompt(self, given: Any) -> Prompt:
        """Raises `UserError` for what is no prompt, and `TooLarge`."""
        self.limits.check_text("prompt", given)
        return self._prompts.read(given)

    def completion(self, given: Any, name: str = "completion") -> Completion:
        """Raises `UserError` for what is no completion, and `TooLarge`."""
        self.limits.check_text(name, given)
        return as_completion(given)

    def group(self, prompt: Any, completions: Sequence[Any]) -> Group:
        """What somebody sent as a whole group."""
        self.check_size(len(completions), "completions")
        if len(completions) < 2:
            raise UserError("completions has less than two texts, and one has nobody to meet; give two or more")
        return self.prompt(prompt), [self.completion(c, f"completions.{i}") for i, c in enumerate(completions)]

    def check_size(self, n: int, name: str) -> None:
        """A group may be so large."""
        if n > self.limits.max_group:
            raise UserError(
                f"{name}: a group of {n} is larger than {self.limits.max_group}; serve with a higher --max_group"
            )

    def sample(self, prompt: Any, completion: Any, **rest: Any) -> Sample:
        """A member of a cohort, with the digests by which it is known again."""
        said = self.completion(completion)
        self.check_size(rest["size"], "size")
        return Sample(
            prompt=self.prompt(prompt),
            asked=content(prompt),
            completion=said,
            text=content([said.text, said.finish_reason]),
            **rest,
        )

    async def judge(self, prompt: Prompt, completions: list[Completion]) -> ScoredGroup:
        """A whole group by the served task."""
        return await self._timed(self.scorer.score_async(prompt, completions))

    async def score(self, group: Group, *, seed: int | None = None, criteria: str | None = None) -> ScoredGroup:
        """The same with a seed of its own, or by other criteria on whole replies."""
        if criteria is None and seed is None:
            return await self.judge(*group)
        scorer = self.scorer if criteria is None else self._other(criteria, self.scorer.evaluator.rule.min_judged)
        return await self._timed(self._aside(scorer, group, seed))

    async def rank(self, group: Group, criteria: str | None) -> Ranking:
        """Texts in order, by these criteria, or by the task's first objective alone."""
        scored = await self._timed(self._aside(self._other(criteria, 0.0), group, None))
        name = self.main if criteria is None else "answer"
        return Ranking(standing=scored.standings[name], verdicts=scored.verdicts)

    def stop(self) -> None:
        """Nothing new is begun, and whoever waits is told so."""
        self.cohorts.stop()

    def close(self) -> None:
        """Close what was opened here; the scorer is somebody else's."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.kept.close()

    async def _aside(self, scorer: Scorer, group: Group, seed: int | None) -> ScoredGroup:
        ask: Callable[[], list[ScoredGroup]] = partial(
            scorer.score_groups, [group], seeds=None if seed is None else [seed]
        )
        return (await asyncio.get_running_loop().run_in_executor(self._threads, ask))[0]

    async def _timed(self, scoring: Any) -> ScoredGroup:
        began = time.perf_counter()
        try:
            scored: ScoredGroup = await scoring
        except asyncio.CancelledError:  # the thread goes on
            self.abandoned = True
            raise
        except Exception:
            self.metrics.groups.labels("error").inc()
            raise
        self.metrics.scored(scored, time.perf_counter() - began)
        return scored

    def _other(self, criteria: str | None, min_judged: float) -> Scorer:
        """A scorer under the same judge, and by that on the same models, budget and ledger."""
        key = criteria, min_judged
        if key not in self._others:
            task, plan, rule = self.scorer.task, self.scorer.evaluator.plan, self.scorer.evaluator.rule
            alone = replace(
                task, objectives=(self.scorer.evaluator.main,), extra_rewards=NOTHING, extra_weights=NOTHING
            )
            made = Scorer(
                task=alone if criteria is None else None,
                criteria=criteria,
                judge=self.scorer.evaluator.judge,
                judge_calls_per_group=plan.calls,
                schedule=plan.kind,
                orders=plan.orders,
                rating=rule.rating,
                min_judged=min_judged,
                seed=self.scorer.seed,
            )
            made._turn = self.scorer._turn  # a judge that is asked by one at a time, is so by all of them
            self._others[key] = made
        self._others.move_to_end(key)
        if len(self._others) > OTHERS:
            self._others.popitem(last=False)
        return self._others[key]


def content(value: Any) -> str:
    """A digest of JSON: the same content, the same name.

    >>> content({"a": 1, "b": 2}) == content({"b": 2, "a": 1}) != content({"a": 1})
    True
    """
    try:
        text = json.dumps(value, sort_keys=True)
    except RecursionError:
        raise UserError("prompt is nested too deeply; give a text, or a list of messages") from None
    return hashlib.sha256(text.encode()).hexdigest()
