"""Groups on their way: sampled, given to the judge, awaited.

On-policy, a group goes to the judge as soon as it is sampled, and all are awaited at once. With a staleness of one, the
next iteration's groups are sampled before this one's verdicts are awaited: a slow judge works while the policy
samples and learns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import Any

from softgrpo.group_queue import GroupQueue
from softgrpo.records import Completion, Group, Prompt, ScoredGroup
from softgrpo.rollout.worker import Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One iteration's groups with everything that was said of them."""

    scored: list[ScoredGroup]
    state: dict[str, Any]
    """of the evaluator, right after these groups"""
    seconds: float
    """that judging took, without waiting for groups"""


class AsyncJudging:
    """What was sampled and not yet learned from, by iteration."""

    def __init__(
        self,
        score: Callable[[int, GroupQueue], list[ScoredGroup]],
        state: Callable[[], dict[str, Any]],
        *,
        staleness: int,
        threaded: bool,
    ) -> None:
        """`score` judges an iteration's groups; `threaded` where it waits for a service rather than computes."""
        self.score, self.state = score, state
        self.staleness = staleness
        self.worker = Worker("softgrpo-judging") if threaded else None
        self.groups: dict[int, list[Group]] = {}
        self.futures: dict[int, Future[Judged]] = {}

    def missing(self, iteration: int, last: int) -> list[int]:
        """The iterations that must be sampled before this one's verdicts are awaited."""
        return [k for k in range(iteration, min(iteration + self.staleness, last) + 1) if k not in self.groups]

    def sample(self, iteration: int, n: int, stream: Iterable[tuple[int, Group]]) -> None:
        """Take an iteration's `n` groups as they are finished; a service judges each as soon as it is there."""
        queue = GroupQueue(n)
        if self.worker:
            self.futures[iteration] = self.worker.submit(lambda: self._judge(iteration, queue))
        groups: dict[int, Group] = {}
        try:
            for place, group in stream:
                groups[place] = group
                queue.put(place, group)
        except BaseException:
            queue.give_up()
            raise
        self.groups[iteration] = [groups[place] for place in range(n)]

    def take(self, iteration: int) -> Judged:
        """One iteration's groups, judged. What the judge raised is raised here."""
        if self.worker is None:
            judged = self._judge(iteration, GroupQueue.of(self.groups[iteration]))
        else:
            judged = _result(self.futures[iteration])
            del self.futures[iteration]
        del self.groups[iteration]
        return judged

    def pending(self) -> dict[int, list[dict[str, Any]]]:
        """The groups that wait, as a checkpoint keeps them: they were sampled by weights that are gone by then."""
        return {
            k: [{"prompt_ids": g.prompt_ids, "completions": [asdict(c) for c in g.completions]} for g in groups]
            for k, groups in self.groups.items()
        }

    def restore(
        self, pending: Mapping[int, Sequence[Mapping[str, Any]]], prompts: Callable[[int], Sequence[Prompt]]
    ) -> None:
        """Give the judge again what had been sampled when the checkpoint was written."""
        for k, groups in sorted(pending.items()):
            kept = [_group(g, prompt) for g, prompt in zip(groups, prompts(k), strict=True)]
            self.sample(k, len(kept), enumerate(kept))

    def _judge(self, iteration: int, queue: GroupQueue) -> Judged:
        started = time.monotonic()
        scored = self.score(iteration, queue)
        return Judged(scored=scored, state=self.state(), seconds=time.monotonic() - started - queue.waited)


def _group(kept: Mapping[str, Any], prompt: Prompt) -> Group:
    tuples = ("token_ids", "sampling_logprobs", "loss_mask")
    completions: list[Completion] = []
    for c in kept["completions"]:
        fields: dict[str, Any] = {name: tuple(value) if name in tuples else value for name, value in c.items()}
        completions.append(Completion(**fields))
    return Group(prompt=prompt, prompt_ids=tuple(kept["prompt_ids"]), completions=tuple(completions))


def _result(future: Future[Judged]) -> Judged:
    """In slices: a lock alone cannot be interrupted everywhere."""
    while True:
        try:
            return future.result(timeout=0.5)
        except TimeoutError:
            if future.done():
                raise
