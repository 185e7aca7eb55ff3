"""OpenAI's chat completions, and every server that speaks them (vLLM, Ollama, llama.cpp, OpenRouter, Azure, …)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from softgrpo.models.api.attempts import Call
from softgrpo.models.api.client import METHODS, NO_DECISIONS, APIModel, Reply
from softgrpo.models.api.errors import Failure, Meaning
from softgrpo.records import Usage

LIMITS = ("max_completion_tokens", "max_tokens")
TOP_LOGPROBS = 20  # the most that OpenAI gives
FEWER_LOGPROBS = 5  # the most that some others give
DECIDE = "Answer the question with which the last message ends."
SHUTDOWNS = {"gpt-4o": "2027-01-14", "gpt-4o-mini": "2027-01-14"}  # announced, wherever the list does not say


class OpenAIModel(APIModel):
    """A model behind the chat-completions protocol.

    >>> from softgrpo.models.names import parse
    >>> OpenAIModel(parse("openai:my-model@http://localhost:8000/v1"))
    OpenAIModel('openai:my-model', 'http://localhost:8000/v1')
    """

    negotiable = frozenset({"temperature", "seed", "logprobs", "top_logprobs", "response_format", *LIMITS})
    _top_logprobs = TOP_LOGPROBS

    def _open(self, key: str) -> Any:
        return self._sdk.AsyncOpenAI(api_key=key, base_url=self.base_url, max_retries=0, timeout=self.timeout)

    @property
    def methods(self) -> tuple[str, ...]:
        """Decisions come first at OpenAI itself, whose endpoint that is, and where the SDK knows it (openai 3.5x)."""
        decides = self._host.endswith("api.openai.com") and hasattr(self._sdk.AsyncOpenAI, "decisions")
        return ("decisions", *METHODS) if decides else METHODS

    def _body(self, call: Call) -> dict[str, Any]:
        if call.choices:
            choices = [{"value": choice} for choice in call.choices]
            question = {"type": "choice", "instructions": DECIDE, "choices": choices}
            return {"model": self.model.name, "input": list(call.chat), "questions": [question]}
        body: dict[str, Any] = {"model": self.model.name, "messages": list(call.chat), "temperature": call.temperature}
        if call.seed is not None:
            body["seed"] = call.seed
        if call.logprobs:
            body |= {"logprobs": True, "top_logprobs": self._top_logprobs}
        if call.schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "reply", "strict": True, "schema": dict(call.schema)},
            }
        body = {key: value for key, value in body.items() if key not in self.refused}
        return body | {self._limit: call.max_tokens}

    async def _send(self, client: Any, body: dict[str, Any]) -> Any:
        if "questions" in body:
            return (await client.decisions.with_raw_response.create(**body)).http_response.json()
        return (await client.chat.completions.with_raw_response.create(**body)).http_response.json()

    def _failure(self, error: Exception, body: Mapping[str, Any]) -> Failure:
        failure = super()._failure(error, body)
        if "questions" in body and failure.meaning in (Meaning.GIVE_UP, Meaning.NO_MODEL, Meaning.REFUSED_PARAMETER):
            # the service goes on without this endpoint
            return replace(failure, meaning=Meaning.GIVE_UP, message=f"{NO_DECISIONS}: {failure.message}")
        return failure

    def _read(self, payload: Any) -> Reply:
        if "answers" in payload:
            return _read_decision(payload)
        choice, usage = payload["choices"][0], payload.get("usage") or {}
        message, reason = choice["message"], choice.get("finish_reason")
        text = message.get("content") or ""
        if not isinstance(text, str):
            raise TypeError("content is no text")
        failure = ""
        if refusal := message.get("refusal"):
            failure = f"refused: {refusal}"[:200]
        elif reason == "content_filter":
            failure = "refused: content filter"
        elif reason == "length" and not text.strip():
            failure = "empty reply: the token limit was spent before any text; raise it"
        return Reply(
            text="" if failure else text,
            failure=failure,
            finish_reason="length" if reason == "length" else "stop",
            logprobs=first_token_logprobs(choice.get("logprobs")),
            usage=Usage(
                input_tokens=usage.get("prompt_tokens") or 0, output_tokens=usage.get("completion_tokens") or 0
            ),
        )

    def _learn(self, failure: Failure, body: Mapping[str, Any]) -> None:
        names = set(failure.parameters)
        too_large = re.search(r"(?i)too large|at most|maximum|exceed|less than|range|between", failure.message)
        if "top_logprobs" in names and too_large and body["top_logprobs"] == TOP_LOGPROBS:
            self._top_logprobs = FEWER_LOGPROBS
            names -= {"logprobs", "top_logprobs"}
        elif names & {"logprobs", "top_logprobs"}:
            names |= {"logprobs", "top_logprobs"}
        if too_large or self.refused & set(LIMITS):
            names -= set(LIMITS)  # a limit that is too large is the call's own fault; the other name is tried once
        self._refuse(sorted(names), failure)

    @property
    def _limit(self) -> str:
        """OpenAI's newer models know only `max_completion_tokens`, many other servers only `max_tokens`."""
        newer = self._host == "api.openai.com" or self.provider.prefix == "azure"
        order = LIMITS if newer else LIMITS[::-1]
        return next((name for name in order if name not in self.refused), order[-1])

    async def _list(self, client: Any) -> list[Mapping[str, Any]]:
        payload = (await client.models.with_raw_response.list()).http_response.json()
        return payload if isinstance(payload, list) else payload["data"]

    def _shutdown_date(self, entry: Mapping[str, Any]) -> str:
        known = SHUTDOWNS.get(self.model.name, "") if self.provider.prefix == "openai" else ""
        return entry.get("shutdown_date") or known


def _read_decision(payload: Any) -> Reply:
    """The chosen value as text, and the probability of every choice as if it were the first token."""
    answer, usage = payload["answers"][0], payload.get("usage") or {}
    spent = Usage(input_tokens=usage.get("input_tokens") or 0, output_tokens=usage.get("output_tokens") or 0)
    if answer["type"] == "refusal":
        return Reply(failure="refused", usage=spent)
    found = {str(each["value"]): float(each["probability"]) for each in answer["probabilities"]}
    logprobs = {value: math.log(p) if p > 0 else -math.inf for value, p in found.items()}
    return Reply(text=str(answer["choice"]), logprobs=logprobs, usage=spent)


def first_token_logprobs(logprobs: Any) -> dict[str, float] | None:
    """The likeliest first tokens; tokens that are spelled alike count together.

    >>> first = {"token": "A", "logprob": -0.1, "top_logprobs": [{"token": "B", "logprob": -3}]}
    >>> first_token_logprobs({"content": [first]})
    {'A': -0.1, 'B': -3.0}
    """
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    if not content:
        return None
    first = content[0]
    found: dict[str, float] = {}
    for candidate in first.get("top_logprobs") or []:
        token, value = candidate["token"], float(candidate["logprob"])
        found[token] = float(np.logaddexp(found[token], value)) if token in found else value
    found.setdefault(first["token"], float(first["logprob"]))
    return dict(sorted(found.items(), key=lambda item: -item[1]))
