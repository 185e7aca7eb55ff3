"""A fake OpenAI server: chat completions with log-probabilities and JSON schemas, decisions, the list of models."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.fakes.api_server import FakeServer, Refusal, Seen

KNOWN = {
    "model", "messages", "temperature", "top_p", "n", "seed", "stop", "max_tokens", "max_completion_tokens",
    "logprobs", "top_logprobs", "response_format", "presence_penalty", "frequency_penalty", "user",
}  # fmt: skip


class FakeOpenAI(FakeServer):
    """`logprobs` gives the first token's candidates for a chat; `refuses` names parameters of the newer models' kind.

    `decides` gives the probability of each choice for an input; without it no model here answers `/decisions`.
    A refused `max_tokens` is answered with the advice to use `max_completion_tokens`, and the other way round.
    """

    prefix = "/v1"

    def __init__(
        self,
        *,
        models: Any = ("gpt-4o", "gpt-4o-mini"),
        logprobs: Callable[[list[dict[str, Any]]], Mapping[str, float]] | None = None,
        most_logprobs: int = 20,
        decides: Callable[[list[dict[str, Any]], list[str]], Mapping[str, float]] | None = None,
        **options: Any,
    ) -> None:
        self.logprobs, self.most_logprobs, self.decides = logprobs, most_logprobs, decides
        super().__init__(models=models, **options)

    def respond(self, seen: Seen) -> Any:
        if seen.headers.get("authorization") != f"Bearer {self.key}":
            sent = seen.headers.get("authorization", "").removeprefix("Bearer ")
            raise Refusal(401, "invalid_api_key", f"Incorrect API key provided: {sent}. Find yours in the settings.")
        if seen.method == "GET" and seen.path.split("?")[0] == "/v1/models" and self.lists_models:
            entries = [
                {"id": name, "object": "model", "created": 0, "owned_by": "us", **extra}
                for name, extra in self.models.items()
            ]
            return {"object": "list", "data": entries}
        if seen.method == "POST" and seen.path == "/v1/chat/completions":
            return self._chat(seen.body)
        if seen.method == "POST" and seen.path == "/v1/decisions" and self.decides:
            return self._decide(seen.body)
        raise Refusal(404, "", f"Invalid URL ({seen.method} {seen.path})")

    def error(self, refusal: Refusal) -> Any:
        kinds = {401: "invalid_request_error", 429: "requests", 500: "server_error"}
        kind = kinds.get(refusal.status, "invalid_request_error")
        return {
            "error": {"message": refusal.message, "type": kind, "param": refusal.param, "code": refusal.code or None}
        }

    def with_text(self, payload: Any, text: str) -> Any:
        payload["choices"][0]["message"]["content"] = text
        payload["choices"][0]["logprobs"] = None
        return payload

    def _chat(self, body: dict[str, Any]) -> Any:
        if body.get("model") not in self.models:
            name = body.get("model")
            raise Refusal(404, "model_not_found", f"The model `{name}` does not exist or you do not have access to it.")
        self._check(body)
        text = self._text(body)
        limit = body.get("max_completion_tokens", body.get("max_tokens"))
        words = text.split(" ")
        cut = limit is not None and len(words) > limit
        text = " ".join(words[:limit]) if cut else text
        choices = [
            {
                "index": i,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "finish_reason": "length" if cut else "stop",
                "logprobs": self._first_token(body, text),
            }
            for i in range(body.get("n", 1))
        ]
        read = sum(len(message["content"].split()) for message in body["messages"])
        written = len(text.split()) * len(choices)
        usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        return {
            "id": "chatcmpl-1", "object": "chat.completion", "created": 0,
            "model": body["model"], "choices": choices, "usage": usage,
        }  # fmt: skip

    def _decide(self, body: dict[str, Any]) -> Any:
        if set(body) != {"model", "input", "questions"} or body["model"] not in self.models:
            raise Refusal(400, "invalid_value", "Invalid 'model': decisions are not supported", param="model")
        answers = []
        for question in body["questions"]:
            assert question["type"] == "choice"
            assert question["instructions"]
            found = self.decides(body["input"], [choice["value"] for choice in question["choices"]])
            likeliest = max(found, key=lambda value: found[value])
            each = [{"value": value, "probability": p} for value, p in found.items()]
            answers.append(
                {
                    "type": "choice", "name": None, "choice": likeliest, "confidence": found[likeliest],
                    "probabilities": each,
                }
            )  # fmt: skip
        read = sum(len(message["content"].split()) for message in body["input"])
        usage = {
            "input_tokens": read, "output_tokens": 0, "total_tokens": read,
            "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        }  # fmt: skip
        return {"model": body["model"], "answers": answers, "usage": usage}

    def _check(self, body: dict[str, Any]) -> None:
        for name in body:
            if name not in KNOWN:
                raise Refusal(400, "", f"Unrecognized request argument supplied: {name}")
            if name in self.refuses:
                advice = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}.get(name)
                use = f" Use '{advice}' instead." if advice else ""
                text = f"Unsupported parameter: '{name}' is not supported with this model.{use}"
                raise Refusal(400, "unsupported_parameter", text, param=name)
        if not body.get("messages") or any(set(m) - {"role", "content", "name"} for m in body["messages"]):
            raise Refusal(400, "", "Invalid 'messages'", param="messages")
        if not 0 <= body.get("temperature", 1) <= 2:
            raise Refusal(400, "invalid_value", "Invalid 'temperature': must be between 0 and 2", param="temperature")
        if (top := body.get("top_logprobs", 0)) > self.most_logprobs:
            most = f"expected a value <= {self.most_logprobs}, but got {top} instead; that is at most"
            raise Refusal(400, "integer_above_max_value", f"Invalid value for 'top_logprobs': {most}", "top_logprobs")
        if "top_logprobs" in body and not body.get("logprobs"):
            raise Refusal(400, "", "'logprobs' must be true when 'top_logprobs' is set", param="logprobs")

    def _text(self, body: dict[str, Any]) -> str:
        wanted = body.get("response_format") or {}
        if wanted.get("type") == "json_schema" and not callable(self.answer):
            return json.dumps(example_of(wanted["json_schema"]["schema"]))
        return self.text_for(body["messages"])

    def _first_token(self, body: dict[str, Any], text: str) -> Any:
        if not body.get("logprobs"):
            return None
        found = dict(self.logprobs(body["messages"])) if self.logprobs else {text.split(" ")[0]: -0.01}
        ranked = sorted(found.items(), key=lambda item: -item[1])
        top = [{"token": t, "logprob": p, "bytes": None} for t, p in ranked[: body.get("top_logprobs", 0)]]
        return {"content": [{"token": ranked[0][0], "logprob": ranked[0][1], "bytes": None, "top_logprobs": top}]}


def example_of(schema: Mapping[str, Any]) -> Any:
    """The plainest value that follows a JSON schema.

    >>> example_of({"type": "object", "properties": {"winner": {"enum": ["A", "B"]}, "sure": {"type": "boolean"}}})
    {'winner': 'A', 'sure': False}
    """
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object":
        return {key: example_of(part) for key, part in schema.get("properties", {}).items()}
    return {"string": "", "integer": 0, "number": 0.0, "boolean": False, "array": []}.get(schema.get("type", ""))
