"""A model behind a service: the interface that `OpenAIModel` and `AnthropicModel` share, and its start-up check."""

from __future__ import annotations

import asyncio
import difflib
import importlib
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from softgrpo.errors import UserError
from softgrpo.models.api import event_loop
from softgrpo.models.api.attempts import APICalls
from softgrpo.models.api.calls import Call, OnReply, Reply
from softgrpo.models.api.errors import STOPS, APIStop, BudgetReached, Failure, Meaning, UnreadableReply
from softgrpo.models.names import PROVIDERS, ModelName
from softgrpo.records import Completion, Message, Sampling

__all__ = ["APIModel", "APIStop", "Reply"]

LOOPBACK = ("localhost", "127.0.0.1", "::1")
METHODS = ("logprobs", "json", "text")
"""ways to ask for a verdict, best first: by the first token's probabilities, by a JSON schema, in plain words"""
NO_DECISIONS = "no decisions"
"""begins the failure of a call for `choices` that the service, or this model, does not answer"""
CHECK_TIMEOUT = 15.0
CHECK_ATTEMPTS = 3
PROBE_TOKENS = 16


class APIModel(APICalls):
    """A model behind a service. Keys come from the environment alone and are shown nowhere."""

    def __init__(
        self,
        name: ModelName,
        *,
        max_concurrency: int = 16,
        timeout: float = 60.0,
        max_attempts: int = 6,
        backoff: float = 0.5,
        max_wait: float = 600.0,
    ) -> None:
        """`timeout` is seconds per attempt, `backoff` the first pause in seconds (it doubles, and is jittered).

        A server that asks to wait longer than `max_wait` seconds stops the run.
        """
        super().__init__(
            name,
            _sdk(name),
            max_concurrency=max_concurrency,
            timeout=timeout,
            max_attempts=max_attempts,
            backoff=backoff,
            max_wait=max_wait,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.base_url!r})"

    @property
    def identity(self) -> str:
        """Who answers: provider:name@address."""
        return f"{self.model.provider}:{self.model.name}@{self.base_url}"

    @property
    def methods(self) -> tuple[str, ...]:
        """Ways to ask this service for a verdict, best first; which of them it knows is found by asking."""
        return METHODS

    def generate(self, chats: Sequence[Sequence[Message]], sampling: Sampling) -> list[list[Completion]]:
        """`sampling.n` completions of each chat, each a request of its own; `sampling.prefill` is not sent.

        A call without an answer gives a completion with an empty text and the finish reason `failed`: nobody wrote
        it, so it is unjudged, and never a forfeit. A service that takes a seed gets another one for each completion.
        """
        calls = [
            Call(
                chat=chat,
                max_tokens=sampling.max_tokens,
                temperature=sampling.temperature,
                seed=random.Random(f"{sampling.seed}/{i}/{j}").getrandbits(31),
            )
            for i, chat in enumerate(chats)
            for j in range(sampling.n)
        ]
        try:
            replies = self.run(calls)
        except APIStop as stop:  # what has come is paid for: who catches this can keep it
            came = [as_completion(reply or Reply(failure="not asked")) for reply in stop.replies]
            stop.completions = [came[i : i + sampling.n] for i in range(0, len(came), sampling.n)]
            raise
        completions = [as_completion(reply) for reply in replies]
        return [completions[i : i + sampling.n] for i in range(0, len(completions), sampling.n)]

    def ask(
        self,
        chats: Sequence[Sequence[Message]],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        schema: Mapping[str, Any] | None = None,
        on_reply: OnReply | None = None,
    ) -> list[Reply]:
        """One reply per chat, in order; a failed call is a reply that says why.

        First-token log-probabilities come where the service gives them, and where no JSON `schema` is asked for.
        """
        return self.run(
            [
                Call(chat=chat, max_tokens=max_tokens, temperature=temperature, logprobs=schema is None, schema=schema)
                for chat in chats
            ],
            on_reply=on_reply,
        )

    def run(self, calls: Sequence[Call], on_reply: OnReply | None = None) -> list[Reply]:
        """One reply per call, in order. Raises `APIStop` when no call can succeed; it holds the replies so far.

        `on_reply` hears of each reply, with the place of its call, before the others are there: what is paid for can be
        kept at once. It runs on a thread beside the event loop, one reply at a time, and a call's place goes to another
        only when it has heard of the reply. What it raises ends the batch. An interrupt is raised at once; of what has
        come it still hears, before the process ends.
        """
        return event_loop.run(self._run(calls, on_reply))

    def check(self) -> list[str]:
        """Before a run: the service answers, takes the key and knows the model. Returns what to be warned of.

        Raises `UserError` in one line when it does not answer, refuses the key, or has no such model. Only the list of
        models is asked for, unless a server of one's own does not list the name: then for a few tokens of its own.
        """
        return event_loop.run(self._check())

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        event_loop.run(self._close())

    # What a provider's file says, beside the requests and replies.

    async def _list(self, client: Any) -> list[Mapping[str, Any]]:
        """The service's models, each with an `id`."""
        raise NotImplementedError

    def _shutdown_date(self, entry: Mapping[str, Any]) -> str:
        """When the model is announced to go; empty when nobody says so."""
        raise NotImplementedError

    async def _check(self) -> list[str]:
        warnings = []
        if self._key() and self.base_url.startswith("http:") and self._host not in LOOPBACK:
            unencrypted = f"the key goes unencrypted to {self.base_url}; use https where you can"
            warnings.append(f"model {self.name!r}: {unencrypted}")
        entries = {str(entry["id"]).removeprefix("models/"): entry for entry in await self._listed()}
        entry = entries.get(self.model.name) or entries.get(f"{self.model.name}:latest")
        if entry is None:
            await self._probe(entries)
            if entries and self.provider.lists_names:
                warnings.append(f"model {self.name!r}: {self.base_url} answers, but lists only {_some(entries)}")
        if date := self._shutdown_date(entry or {}):
            warnings.append(f"model {self.name!r} is announced to shut down on {date[:10]}; plan with a successor")
        return warnings

    async def _probe(self, listed: Iterable[str]) -> None:
        """A model that is in no list: wrong at a service, while a server of one's own is asked for a few tokens.

        Some of those list nothing, or what they could load, or answer under any name.
        """
        missing = f"model {self.model.name!r} is not among the {len(list(listed))} models of {self.base_url}"
        if listed and self.base_url == self.provider.base_url and not self.provider.key_optional:
            raise UserError(f"{missing}{_suggestion(self.model.name, listed)}")
        try:
            (reply,) = await self._run(
                [Call(chat=[{"role": "user", "content": "Hi"}], max_tokens=PROBE_TOKENS, temperature=0.0)]
            )
        except APIStop as stop:
            if not listed or isinstance(stop, BudgetReached):
                raise
            raise UserError(f"{missing}{_suggestion(self.model.name, listed)}") from stop
        if reply.failure and not reply.usage.output_tokens:
            raise UserError(f"{missing}, and it does not answer: {reply.failure}")

    async def _listed(self) -> list[Mapping[str, Any]]:
        """The service's models; none when it has no list, or one that fails."""
        client, _ = self._client()
        for attempt in range(1, CHECK_ATTEMPTS + 1):
            try:
                return await asyncio.wait_for(self._list(client), min(self.timeout, CHECK_TIMEOUT))
            except self._faults as error:
                failure = self._failure(error, {})
            except (AttributeError, KeyError, TypeError):
                failure = self._failure(UnreadableReply("no list of models"), {})
            if failure.status in (404, 405, 500, 501):
                return []
            if failure.meaning in STOPS or (failure.wait or 0) > self.max_wait:
                raise self._stop(failure)
            if failure.meaning is not Meaning.AGAIN or attempt == CHECK_ATTEMPTS:
                raise self._no_answer(failure)
            await asyncio.sleep(max(failure.wait or 0.0, self.backoff * 2 ** (attempt - 1)))
        raise AssertionError("unreachable")

    def _no_answer(self, failure: Failure) -> UserError:
        what = "answers with an error" if failure.status else "does not answer"
        return UserError(
            f"model {self.name!r}: {self.base_url} {what} ({self._clean(failure.message)}); "
            "start the server or check the address"
        )

    async def _close(self) -> None:
        if self._opened is not None and self._opened[0] is asyncio.get_running_loop():
            await self._opened[1].close()
        self._opened = None


def as_completion(reply: Reply) -> Completion:
    """A reply as a completion; one that failed has no text and says so.

    >>> as_completion(Reply(text="Yes.")).text, as_completion(Reply(failure="503 overloaded")).finish_reason
    ('Yes.', 'failed')
    """
    if reply.failure:
        return Completion(text="", finish_reason="failed")
    return Completion(text=reply.text, finish_reason=reply.finish_reason)


def _sdk(name: ModelName) -> Any:
    package = PROVIDERS[name.provider].package
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UserError(f"model {name.label!r} needs a package: pip install 'softgrpo[{package}]'") from error


def _suggestion(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 3, 0.6)
    return f"; did you mean {', '.join(near)}?" if near else f"; it has {_some(known)}"


def _some(names: Iterable[str], most: int = 8) -> str:
    names = sorted(names)
    shown = ", ".join(names[:most]) or "none"
    return f"{shown}, …" if len(names) > most else shown
