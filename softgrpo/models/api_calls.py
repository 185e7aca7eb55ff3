"""Calls to a service: many at once, in order, each attempted until there is a reply or a reason to give up.

This is the only layer that retries: the SDKs' own retries are off. A rate limit holds back every call, other faults
only their own. When one call learns that none can succeed, those in flight are awaited and no other is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar
from urllib.parse import urlsplit

from softgrpo.errors import UserError
from softgrpo.models.api_errors import FAULTS, STOPS, APIStop, Failure, Meaning, UnreadableReply, read_failure
from softgrpo.models.names import PROVIDERS, ModelName, address, hide_userinfo
from softgrpo.records import Message, Usage

log = logging.getLogger(__name__)

LONGEST_PAUSE = 30.0  # seconds between two attempts, unless the server asks for more


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to one call, or why there is none."""

    text: str = ""
    failure: str = ""
    """empty when the call succeeded"""
    finish_reason: str = "stop"
    """`stop` or `length`"""
    logprobs: Mapping[str, float] | None = None
    """the likeliest first tokens and their log-probabilities; None where the service gives none"""
    usage: Usage = field(default_factory=Usage)
    """of all attempts together; `requests` counts the attempts"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request as the caller means it."""

    chat: Sequence[Message]
    max_tokens: int
    temperature: float
    seed: int | None = None
    logprobs: bool = False
    """ask for the log-probabilities of the first token"""
    schema: Mapping[str, Any] | None = None
    """the JSON schema that the reply must follow"""


@dataclass(slots=True)
class _Batch:
    """Calls that were asked together."""

    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    stop: APIStop | None = None


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
        self._opened: tuple[Any, Any, asyncio.Semaphore] | None = None  # loop, client, slots
        self._not_before = 0.0  # on the loop's clock

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

    async def _run(self, calls: Sequence[Call]) -> list[Reply]:
        client, slots = self._client()
        replies: list[Reply | None] = [None] * len(calls)
        batch = _Batch()

        async def answer(i: int) -> None:
            async with slots:
                replies[i] = await self._answer(client, calls[i], batch)

        tasks = [asyncio.ensure_future(answer(i)) for i in range(len(calls))]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        if batch.stop is not None:
            batch.stop.replies = replies
            raise batch.stop
        return [reply for reply in replies if reply is not None]

    async def _answer(self, client: Any, call: Call, batch: _Batch) -> Reply | None:
        """Attempts until there is a reply or a reason to give up; None when the batch was stopped."""
        spent = Usage()
        attempts = empty_replies = 0
        while await self._may_send(batch):
            body = self._body(call)
            attempts += 1
            cost = Usage(requests=1)
            try:
                reply = self._readable(await asyncio.wait_for(self._send(client, body), self.timeout))
            except self._faults as error:
                failure = self._failure(error, body)
            else:
                cost = replace(reply.usage, requests=1)
                failure = Failure(meaning=Meaning.AGAIN, message="empty reply")
                if reply.text.strip() or reply.failure:
                    self.usage = add(self.usage, cost)
                    return replace(reply, usage=add(spent, cost))
                empty_replies += 1
            spent, self.usage = add(spent, cost), add(self.usage, cost)

            if failure.meaning is Meaning.REFUSED_PARAMETER:
                self._learn(failure, body)
                if self._body(call) != body:  # also when another call has learned it meanwhile
                    attempts -= 1
                    continue
            if failure.meaning in STOPS or (failure.wait or 0) > self.max_wait:
                batch.stop = batch.stop or self._stop(failure)
                batch.stopped.set()
                return None
            # an empty reply is paid for: it is asked for once more, not six times
            if failure.meaning is not Meaning.AGAIN or attempts >= self.max_attempts or empty_replies > 1:
                return Reply(failure=self._clean(failure.message), usage=spent)
            await self._pause(failure, attempts, batch)
        return None

    async def _may_send(self, batch: _Batch) -> bool:
        """Waits while a rate limit holds; False when the batch was stopped, also before a first attempt."""
        clock = asyncio.get_running_loop().time
        while batch.stop is None and (rest := self._not_before - clock()) > 0:
            await self._sleep(rest * self._jitter.uniform(1.0, 1.1) + 0.001, batch)
        return batch.stop is None

    async def _pause(self, failure: Failure, attempts: int, batch: _Batch) -> None:
        """After a failed attempt: our back-off, and never less than the server asks for."""
        seconds = min(self.backoff * 2 ** (attempts - 1), LONGEST_PAUSE) * self._jitter.uniform(0.5, 1.0)
        if failure.wait is not None:
            seconds = max(seconds, failure.wait * self._jitter.uniform(1.0, 1.1) + 0.001)
            if failure.status == 429:
                self._not_before = max(self._not_before, asyncio.get_running_loop().time() + failure.wait)
        await self._sleep(seconds, batch)

    async def _sleep(self, seconds: float, batch: _Batch) -> None:
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

    def _client(self) -> tuple[Any, asyncio.Semaphore]:
        """The client and the slots of the loop that runs now."""
        loop = asyncio.get_running_loop()
        if self._opened is None or self._opened[0] is not loop:
            self._opened = (loop, self._open(self._key() or "none"), asyncio.Semaphore(self.max_concurrency))
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


def add(a: Usage, b: Usage) -> Usage:
    """Both together.

    >>> add(Usage(input_tokens=3, requests=1), Usage(input_tokens=4, output_tokens=1, requests=1))
    Usage(input_tokens=7, output_tokens=1, requests=2)
    """
    return Usage(
        input_tokens=a.input_tokens + b.input_tokens,
        output_tokens=a.output_tokens + b.output_tokens,
        requests=a.requests + b.requests,
    )
