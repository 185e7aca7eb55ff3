"""A fake Anthropic server: messages, and the list of models."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes.api_server import FakeServer, Refusal, Seen
from tests.fakes.openai_server import example_of

KNOWN = {
    "model", "messages", "max_tokens", "system", "temperature", "top_p", "top_k", "stop_sequences", "output_config",
    "metadata", "thinking",
}  # fmt: skip


class FakeAnthropic(FakeServer):
    """`aliases` are names that can be asked for and are in no list."""

    def __init__(self, *, models: Any = ("claude-haiku-4-5",), aliases: tuple[str, ...] = (), **options: Any) -> None:
        self.aliases = aliases
        super().__init__(models=models, **options)

    def respond(self, seen: Seen) -> Any:
        sent = seen.headers.get("authorization", "").removeprefix("Bearer ") or seen.headers.get("x-api-key", "")
        if sent != self.key:
            raise Refusal(401, "authentication_error", f"invalid bearer token {sent}")
        if "anthropic-version" not in seen.headers:
            raise Refusal(400, "invalid_request_error", "anthropic-version: header is required")
        path = seen.path.split("?")[0]
        if seen.method == "GET" and path == "/v1/models" and self.lists_models:
            entries = [self._entry(name) for name in self.models]
            return {"data": entries, "has_more": False, "first_id": None, "last_id": None}
        if seen.method == "GET" and path.startswith("/v1/models/") and self.lists_models:
            name = path.removeprefix("/v1/models/")
            if name in (*self.models, *self.aliases):
                return self._entry(name)
            raise Refusal(404, "not_found_error", f"model: {name}")
        if seen.method == "POST" and path == "/v1/messages":
            return self._message(seen.body)
        raise Refusal(404, "not_found_error", "Not found")

    def error(self, refusal: Refusal) -> Any:
        kinds = {429: "rate_limit_error", 500: "api_error", 529: "overloaded_error"}
        kind = refusal.code or kinds.get(refusal.status, "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": refusal.message}, "request_id": "req_1"}

    def with_text(self, payload: Any, text: str) -> Any:
        return {**payload, "content": [{"type": "text", "text": text}] if text else []}

    def _entry(self, name: str) -> dict[str, Any]:
        plain = {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"}
        return {**plain, "lifecycle": "active", "retires_at": None, **self.models.get(name, {})}

    def _message(self, body: dict[str, Any]) -> Any:
        if body.get("model") not in (*self.models, *self.aliases):
            raise Refusal(404, "not_found_error", f"model: {body.get('model')}")
        self._check(body)
        form = body.get("output_config", {}).get("format")
        if form is not None and not callable(self.answer):
            text = json.dumps(example_of(form["schema"]))
        else:
            text = self.text_for(body["messages"])
        words = text.split(" ")
        cut = len(words) > body["max_tokens"]
        text = " ".join(words[: body["max_tokens"]])
        read = sum(len(m["content"].split()) for m in body["messages"]) + len(body.get("system", "").split())
        return {
            "id": "msg_1", "type": "message", "role": "assistant", "model": body["model"],
            "content": [{"type": "thinking", "thinking": "…", "signature": ""}, {"type": "text", "text": text}],
            "stop_reason": "max_tokens" if cut else "end_turn", "stop_sequence": None,
            "usage": {"input_tokens": read, "output_tokens": len(text.split())},
        }  # fmt: skip

    def _check(self, body: dict[str, Any]) -> None:
        for name in body:
            if name not in KNOWN:
                raise Refusal(400, "invalid_request_error", f"{name}: Extra inputs are not permitted")
            if name in self.refuses:
                raise Refusal(400, "invalid_request_error", f"`{name}` is deprecated for this model.")
        if "max_tokens" not in body:
            raise Refusal(400, "invalid_request_error", "max_tokens: Field required")
        if not 0 <= body.get("temperature", 1) <= 1:
            raise Refusal(400, "invalid_request_error", "temperature: range: 0..1")
        for i, message in enumerate(body.get("messages", [])):
            if message["role"] not in ("user", "assistant"):
                wanted = 'Input should be "user" or "assistant"'
                raise Refusal(400, "invalid_request_error", f"messages.{i}.role: {wanted}")
