"""Cohorts: members of a group that come one by one, each by a request of its own, are judged once, as a whole.

Knows no HTTP. All bookkeeping is done between two awaits of one event loop, so that nothing needs a lock.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from softgrpo.errors import UserError
from softgrpo.records import ScoredGroup
from softgrpo.serving.kept import Ended, KeptCohorts
from softgrpo.serving.rewards import Reward, rewards_of
from softgrpo.serving.samples import Conflict, Sample, Stopping, Unjudged, check, check_text, in_order

COLLECTING, JUDGING, FAILED, OVER = "collecting", "judging", "failed", "over"

Judge = Callable[[Any, list[Any]], Awaitable[ScoredGroup]]
"""judge(prompt, completions): a whole group"""
Count = Callable[[str, str], None]
"""count(what, kind): for the metrics; what is `cohort` or `member`"""


class Cohort:
    """One group while it is in memory: until its rewards are kept."""

    def __init__(self, sample: Sample, round_: int, now: float) -> None:
        self.id, self.attempt, self.round, self.size = sample.cohort, sample.attempt, round_, sample.size
        self.prompt, self.asked = sample.prompt, sample.asked
        self.members: dict[str, Sample] = {}
        self.state = COLLECTING
        self.owed: set[str] = set()
        """who was told to ask again before it ended"""
        self.began, self.patience = now, float("inf")
        self.timer: asyncio.TimerHandle | None = None
        self.over: asyncio.Future[dict[str, Reward] | BaseException] = asyncio.get_running_loop().create_future()

    def key(self) -> tuple[int, int]:
        """What is newer is larger."""
        return self.attempt, self.round

    def end(self, found: dict[str, Reward] | BaseException) -> None:
        """Answer all who wait."""
        if self.timer:
            self.timer.cancel()
        if not self.over.done():
            self.over.set_result(found)


class Cohorts:
    """All cohorts of a server."""

    def __init__(
        self, judge: Judge, kept: KeptCohorts, *, deadline_s: float = 600.0, count: Count = lambda what, kind: None
    ) -> None:
        """`deadline_s`: from the first member on; a request may ask for fewer seconds."""
        self.kept, self.deadline_s = kept, deadline_s
        self._judge_group, self._count = judge, count
        self._here: dict[str, list[Cohort]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def ask(self, sample: Sample, *, wait_s: float | None = None) -> Reward | str:
        """The member's reward, when the cohort is judged or its time is up; within `wait_s` seconds, or how it stands.

        Raises `Conflict`, and `Unjudged` where the judgement ended in an error.
        """
        found = self._place(sample)
        if isinstance(found, Reward):
            return found
        over = found.over
        await asyncio.wait({over}, timeout=wait_s)  # whoever leaves takes nothing along
        if not over.done():
            found.owed.add(sample.member)
            return found.state
        found.owed.discard(sample.member)
        ended = over.result()
        if isinstance(ended, BaseException):
            raise Unjudged(ended)
        return ended[sample.member]

    def __len__(self) -> int:
        """Cohorts that have not ended."""
        return sum(map(len, self._here.values()))

    def stop(self) -> None:
        """Whoever waits is told so; what is being judged goes on and is kept."""
        self._stopping = True
        for cohort in [c for cohorts in self._here.values() for c in cohorts]:
            cohort.end(Stopping())

    async def drain(self, seconds: float) -> bool:
        """Wait so long for what is being judged; whether nothing is any more."""
        return not self._tasks or not (await asyncio.wait(self._tasks, timeout=seconds))[1]

    # --- where a sample belongs

    def _place(self, sample: Sample) -> Cohort | Reward:
        if self._stopping:
            raise Unjudged(Stopping())
        try:
            return self._placed(sample)
        except Conflict:
            self._count("member", "conflict")
            raise

    def _placed(self, sample: Sample) -> Cohort | Reward:
        here = self._here.get(sample.cohort, [])
        last = None if here else self.kept.newest(sample.cohort)  # what is here is of no older attempt
        newest = max([c.attempt for c in here] + ([last.attempt] if last else []), default=sample.attempt)
        if sample.attempt < newest:
            raise Conflict(f"attempt {sample.attempt} of this cohort has given way to attempt {newest}; send that")
        for cohort in [c for c in here if c.attempt < sample.attempt]:
            self._retire(cohort, sample.attempt)
        here = self._here.get(sample.cohort, [])
        if again := next((c for c in reversed(here) if sample.member in c.members), None):
            return self._again(again, sample)
        if sample.rolling or not here:
            known = self.kept.find(sample.cohort, sample.attempt, sample.member)
            if known:
                check_text(known.text, sample)
                check(known.of.size, known.of.prompt, sample)
                self._count("member", "retry")
                return known.reward
        current = here[-1] if here else None
        if current and current.state == COLLECTING:
            return self._join(current, sample)
        last = last if last and last.attempt == sample.attempt else None
        if not sample.rolling and (current or last):
            return self._late(current.size if current else 0, last, sample)
        return self._open(sample)

    def _again(self, cohort: Cohort, sample: Sample) -> Cohort:
        check_text(cohort.members[sample.member].text, sample)
        check(cohort.size, cohort.asked, sample)
        self._count("member", "retry")
        if cohort.state == FAILED and sample.member not in cohort.owed:  # which has not heard yet what came of it
            self._start(cohort)
        return cohort

    def _late(self, full: int, last: Ended | None, sample: Sample) -> Reward:
        if last and last.failure and not full:
            check(last.size, last.prompt, sample)
            self._count("member", "late")
            return Reward(reward=None, failure=last.failure)
        n = full or (last.size if last else 0)
        raise Conflict(
            f"all {n} members of this cohort have come, and this is none of them; give another cohort, a higher "
            "attempt, or rolling: true"
        )

    def _open(self, sample: Sample) -> Cohort:
        here, last = self._here.setdefault(sample.cohort, []), self.kept.newest(sample.cohort)
        rounds = [c.round for c in here] + ([last.round] if last and last.attempt == sample.attempt else [])
        here.append(Cohort(sample, max(rounds, default=-1) + 1, asyncio.get_running_loop().time()))
        return self._join(here[-1], sample)

    def _join(self, cohort: Cohort, sample: Sample) -> Cohort:
        check(cohort.size, cohort.asked, sample)
        self._count("member", "new")
        cohort.members[sample.member] = sample
        if len(cohort.members) == cohort.size:
            self._start(cohort)
            return cohort
        patience = min(self.deadline_s, sample.deadline_s or self.deadline_s)
        if patience < cohort.patience:
            cohort.patience = patience
            self._call_at(cohort, cohort.began + patience, self._expire)
        return cohort

    # --- how a cohort ends

    def _start(self, cohort: Cohort) -> None:
        """A task of the server's own: no client that leaves cancels it."""
        if cohort.timer:
            cohort.timer.cancel()
        if cohort.over.done():
            cohort.over = asyncio.get_running_loop().create_future()
        cohort.state = JUDGING
        task = asyncio.get_running_loop().create_task(self._judge(cohort))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _judge(self, cohort: Cohort) -> None:
        names = in_order(cohort.members)
        try:
            scored = await self._judge_group(cohort.prompt, [cohort.members[name].completion for name in names])
            rewards = dict(zip(names, rewards_of(scored), strict=True))
            again = any(reward.again for reward in rewards.values())
            if cohort.state != OVER and not again:
                self._keep(cohort, rewards)  # before anyone is answered
        except Exception as error:
            self._leave(cohort, error, "failed")
            return
        if again:
            self._leave(cohort, rewards, "unjudged")
        elif cohort.state != OVER:
            self._finish(cohort, rewards, "judged")

    def _leave(self, cohort: Cohort, found: dict[str, Reward] | Exception, outcome: str) -> None:
        """Nothing is kept, and it stays for those who ask again, but not for ever."""
        if cohort.state == OVER:
            return
        self._count("cohort", outcome)
        cohort.state = FAILED
        cohort.end(found)
        self._call_at(cohort, asyncio.get_running_loop().time() + self.deadline_s, self._forget)

    def _expire(self, cohort: Cohort) -> None:
        came = f"{len(cohort.members)} of {cohort.size} members came within {cohort.patience:g} s"
        rewards = dict.fromkeys(cohort.members, Reward(reward=None, failure=came))
        with contextlib.suppress(UserError):  # nothing was judged, so nothing is lost
            self._keep(cohort, rewards, came)
        self._finish(cohort, rewards, "expired")

    def _retire(self, cohort: Cohort, by: int) -> None:
        why = f"attempt {cohort.attempt} has given way to attempt {by}"
        self._finish(cohort, dict.fromkeys(cohort.members, Reward(reward=None, failure=why)), "retired")

    def _keep(self, cohort: Cohort, rewards: dict[str, Reward], failure: str = "") -> None:
        ended = Ended(
            attempt=cohort.attempt, round=cohort.round, size=cohort.size, prompt=cohort.asked, failure=failure
        )
        texts = {name: sample.text for name, sample in cohort.members.items()}
        self.kept.keep(cohort.id, ended, {name: (texts[name], reward) for name, reward in rewards.items()})

    def _finish(self, cohort: Cohort, rewards: dict[str, Reward], outcome: str) -> None:
        self._count("cohort", outcome)
        self._forget(cohort)
        cohort.end(rewards)

    def _forget(self, cohort: Cohort) -> None:
        cohort.state = OVER
        here = self._here.get(cohort.id, [])
        if cohort in here:
            here.remove(cohort)
        if not here:
            self._here.pop(cohort.id, None)

    def _call_at(self, cohort: Cohort, when: float, what: Callable[[Cohort], None]) -> None:
        if cohort.timer:
            cohort.timer.cancel()
        cohort.timer = asyncio.get_running_loop().call_at(when, what, cohort)
