"""Calls to a service: many at once, in order, each attempted until there is a reply or a reason to give up.

This is the only layer that retries: the SDKs' own retries are off. A rate limit holds back every call and halves the
number in flight, other faults hold back only their own call. When one call learns that none can succeed, or that the
budget is used up, those in flight are awaited and no other is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import urlsplit

from softgrpo.errors import UserError
from softgrpo.models.api.batch import Attempt, Batch, Course
from softgrpo.models.api.calls import Call, OnReply, Reply, SpendingLimit, add, most_tokens
from softgrpo.models.api.errors import (
    FAULTS,
    OVERLOADED,
    RATE_LIMITED,
    STOPS,
    APIStop,
    Failure,
    Meaning,
    UnreadableReply,
    read_failure,
)
from softgrpo.models.api.limiter import Limiter
from softgrpo.models.names import PROVIDERS, ModelName, address, hide_userinfo
from softgrpo.records import Usage

log = logging.getLogger(__name__)

LONGEST_PAUSE = 30.0  # seconds between two attempts, unless the server asks for more
ROOM_CHECK = 0.02  # seconds between two looks whether attempts under way have left room in the budget


class APICalls:
    """The machinery under `APIModel`; a provider's file says how requests and replies are written."""

    negotiable: ClassVar[frozenset[str]] = frozenset()
    """parameters that a call can do without, or send under another name"""

    def __init__(
        self,
        model: ModelName,
        sdk: Any,
        *,
        max_concurrency: int,
        timeout: float,
        max_attempts: int,
        backoff: float,
        max_wait: float,
    ) -> None:
        self.model = model
        self.name = model.label
        self.provider = PROVIDERS[model.provider]
        self.base_url = address(model)
        self.max_concurrency, self.timeout, self.max_attempts = max_concurrency, timeout, max_attempts
        self.backoff, self.max_wait = backoff, max_wait
        self.refused: set[str] = set()
        """parameters that the service has refused in this run, and that are no longer sent"""
        self.usage = Usage()
        """of all calls so far, failed attempts included"""
        self._sdk = sdk
        self._faults = (*FAULTS, sdk.APIStatusError, sdk.APIConnectionError)
        self._jitter = random.Random()  # of its own: the run's random numbers stay what they were
        self.budget: SpendingLimit | None = None
        """asked before each attempt"""
        self._opened: tuple[Any, Any, Limiter] | None = None  # loop, client, slots
        self._turns = itertools.count()

    # What a provider's file says.

    def _open(self, key: str) -> Any:
        """The SDK's client, its own retries off."""
        raise NotImplementedError

    def _body(self, call: Call) -> dict[str, Any]:
        """The request in the service's words, without what it has refused."""
        raise NotImplementedError

    async def _send(self, client: Any, body: dict[str, Any]) -> Any:
        """One attempt: the JSON of the answer."""
        raise NotImplementedError

    def _read(self, payload: Any) -> Reply:
        """The reply in the JSON of an answer; a failed lookup makes the answer unreadable."""
        raise NotImplementedError

    def _learn(self, failure: Failure, body: Mapping[str, Any]) -> None:
        """Leave out from now on what the service refuses by name."""
        self._refuse(failure.parameters, failure)

    # The machinery.

    async def _run(self, calls: Sequence[Call], on_reply: OnReply | None = None) -> list[Reply]:
        client, slots = self._client()
        batch = Batch(on_reply=on_reply, budget=self.budget)
        tasks = [asyncio.ensure_future(self._answer(client, slots, i, call, batch)) for i, call in enumerate(calls)]
        try:
            replies = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            batch.aside.close()
        if batch.stop is not None:
            batch.stop.replies = replies
            raise batch.stop
        return [reply for reply in replies if reply is not None]

    async def _answer(self, client: Any, slots: Limiter, i: int, call: Call, batch: Batch) -> Reply | None:
        """Attempts until there is a reply or a reason to give up; None when the batch was stopped.

        The slot is held until the reply is kept: where that takes long, replies do not pile up that a kill would lose.
        """
        turn, course = next(self._turns), Course(began=asyncio.get_running_loop().time())
        while await slots.enter(turn, batch.stopped):
            try:
                body = self._body(call)
                held = await self._reserve(call, body, slots, batch)
                if batch.stop is not None:
                    return None
                attempt = await self._attempt(client, slots, body, held, batch)
                follows = self._follows(attempt, course, call, body)
                if isinstance(follows, APIStop):
                    self._end(batch, slots, follows)
                    return None
                if isinstance(follows, Reply):
                    await batch.keep(i, follows)
                    return follows
            finally:
                slots.leave()
            await self._sleep(follows, batch)
        return None

    def _follows(
        self, attempt: Attempt, course: Course, call: Call, body: Mapping[str, Any]
    ) -> Reply | APIStop | float:
        """After an attempt: the call's reply, the end of the batch, or seconds until the next attempt."""
        cost = replace(attempt.usage or Usage(), requests=1)
        course.spent, self.usage = add(course.spent, cost), add(self.usage, cost)
        failure = attempt.failure
        if failure is None:
            if attempt.reply.text.strip() or attempt.reply.failure:
                return replace(attempt.reply, usage=course.spent)
            failure = Failure(meaning=Meaning.AGAIN, message="empty reply")
            course.empty += 1

        if failure.meaning is Meaning.REFUSED_PARAMETER:
            self._learn(failure, body)
            if self._body(call) != body:  # also when another call has learned it meanwhile
                return 0.0
        if failure.status == RATE_LIMITED and failure.meaning is Meaning.AGAIN:
            course.limited += 1
        else:
            course.tries += 1
        too_long = course.limited and asyncio.get_running_loop().time() - course.began > self.max_wait
        if failure.meaning in STOPS or (failure.wait or 0) > self.max_wait or too_long:
            return self._stop(failure)
        # an empty reply is paid for: it is asked for once more, not six times
        if failure.meaning is not Meaning.AGAIN or course.tries >= self.max_attempts or course.empty > 1:
            return Reply(failure=self._clean(failure.message), usage=course.spent)
        return self._pause(failure, course.tries + course.limited)

    async def _attempt(self, client: Any, slots: Limiter, body: dict[str, Any], held: Any, batch: Batch) -> Attempt:
        """One request; its slot and its share of the budget hear what came of it."""
        sent_in, usage = slots.round, None
        try:
            async with asyncio.timeout(self.timeout):
                payload = await self._send(client, body)
            reply = self._readable(payload)
            usage = reply.usage if reply.usage.input_tokens else None  # some services do not say
            slots.went_well()
            return Attempt(reply=reply, usage=reply.usage)
        except self._faults as error:
            failure = self._failure(error, body)
            usage = Usage() if failure.unbilled else None  # where no answer came it may have been billed
            wait = (failure.wait or 0.0) * self._jitter.uniform(1.0, 1.1)
            if failure.status in (RATE_LIMITED, OVERLOADED) and wait <= self.max_wait:  # a longer one ends the batch
                slots.was_limited(sent_in, asyncio.get_running_loop().time() + wait)
            return Attempt(failure=failure, usage=usage)
        finally:
            if batch.budget is not None:
                batch.budget.settle(self.model, held, usage)

    async def _reserve(self, call: Call, body: Mapping[str, Any], slots: Limiter, batch: Batch) -> Any:
        """Room for one attempt in the budget; without it the batch ends, once nothing under way can leave any."""
        if batch.budget is None:
            return None
        most = Usage(input_tokens=most_tokens(body), output_tokens=call.max_tokens)
        while batch.stop is None:
            if (held := batch.budget.reserve(self.model, most)) is not None:
                return held
            if not batch.budget.is_waiting:
                self._end(batch, slots, batch.budget.reached())
            await self._sleep(ROOM_CHECK, batch)
        return None

    def _end(self, batch: Batch, slots: Limiter, stop: APIStop) -> None:
        """Nothing more of the batch is sent."""
        batch.stop = batch.stop or stop
        batch.stopped.set()
        slots.dismiss(batch.stopped)

    def _pause(self, failure: Failure, tries: int) -> float:
        """Seconds after a failed attempt: our back-off, and never less than the server asks for."""
        seconds = min(self.backoff * 2 ** min(tries - 1, 16), LONGEST_PAUSE) * self._jitter.uniform(0.5, 1.0)
        if failure.wait is None:
            return seconds
        asked = failure.wait * self._jitter.uniform(1.0, 1.1) + 0.001
        return asked if failure.status == RATE_LIMITED else max(seconds, asked)

    async def _sleep(self, seconds: float, batch: Batch) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(batch.stopped.wait(), seconds)

    def _readable(self, payload: Any) -> Reply:
        try:
            return self._read(payload)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            said = payload.get("error") if isinstance(payload, Mapping) else payload
            raise UnreadableReply(f"{said or type(error).__name__}"[:200]) from None

    def _failure(self, error: Exception, body: Mapping[str, Any]) -> Failure:
        return read_failure(error, [name for name in body if name in self.negotiable])

    def _refuse(self, names: Sequence[str], failure: Failure) -> None:
        for name in names:
            if name not in self.refused:
                self.refused.add(name)
                log.warning("%s: %r is left out from now on (%s)", self.name, name, self._clean(failure.message))

    def _stop(self, failure: Failure) -> APIStop:
        remedy = {
            Meaning.BAD_KEY: f"check the key in the environment variable {self.provider.key}",
            Meaning.NO_QUOTA: "add credit or raise the limit, then run again",
            Meaning.NO_MODEL: "check the model's name and the address",
            Meaning.AGAIN: f"run again in {failure.wait or 0:.0f} s",
        }[failure.meaning]
        what = "rate limit" if failure.meaning is Meaning.AGAIN else failure.meaning.value
        return APIStop(
            f"model {self.name!r}: {what} at {hide_userinfo(self.base_url)} ({self._clean(failure.message)}); {remedy}"
        )

    def _client(self) -> tuple[Any, Limiter]:
        """The client and the slots of the loop that runs now."""
        loop = asyncio.get_running_loop()
        if self._opened is None or self._opened[0] is not loop:
            self._opened = (loop, self._open(self._key() or "none"), Limiter(self.max_concurrency))
        return self._opened[1:]

    def _key(self) -> str:
        key = os.environ.get(self.provider.key, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise UserError(f"the key in {self.provider.key} holds characters that no key has; set it again")
        return key

    def _clean(self, message: str) -> str:
        """One line of a server's words, without the key that it may echo."""
        if key := os.environ.get(self.provider.key, "").strip():
            message = message.replace(key, "***")
        message = re.sub(r"\b(sk|gsk|key|Bearer)[- ][\w.*-]{6,}", "***", message)
        return re.sub(r"\s+", " ", hide_userinfo(message))[:300].strip()

    @property
    def _host(self) -> str:
        return urlsplit(self.base_url).hostname or ""
