"""Anthropic's messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softgrpo.models.api.attempts import Call
from softgrpo.models.api.client import APIModel, Reply
from softgrpo.records import Usage


class AnthropicModel(APIModel):
    """A model behind the messages protocol. It gives no log-probabilities and takes no seed.

    >>> from softgrpo.models.names import parse
    >>> AnthropicModel(parse("anthropic:claude-haiku-4-5@https://example.org/v1"))
    AnthropicModel('claude-haiku-4-5', 'https://example.org/v1')
    """

    negotiable = frozenset({"temperature", "output_config"})

    @property
    def methods(self) -> tuple[str, ...]:
        return ("json", "text")

    def _open(self, key: str) -> Any:
        root = self.base_url.removesuffix("/v1")  # the SDK's paths begin with it
        return self._sdk.AsyncAnthropic(api_key=key, base_url=root, max_retries=0, timeout=self.timeout)

    def _body(self, call: Call) -> dict[str, Any]:
        system = "\n\n".join(m["content"] for m in call.chat if m["role"] == "system")
        body: dict[str, Any] = {
            "model": self.model.name,
            "max_tokens": call.max_tokens,
            "messages": [m for m in call.chat if m["role"] != "system"],
            "temperature": call.temperature,
        }
        if system:
            body["system"] = system
        if call.schema is not None:
            body["output_config"] = {"format": {"type": "json_schema", "schema": dict(call.schema)}}
        return {key: value for key, value in body.items() if key not in self.refused}

    async def _send(self, client: Any, body: dict[str, Any]) -> Any:
        required = {key: body[key] for key in ("model", "max_tokens", "messages")}
        # newer SDKs know no sampling parameters, which older models still take
        extra = {key: value for key, value in body.items() if key not in required}
        response = await client.messages.with_raw_response.create(**required, extra_body=extra)
        return response.http_response.json()

    def _read(self, payload: Any) -> Reply:
        usage, reason = payload.get("usage") or {}, payload.get("stop_reason")
        text = "".join(block["text"] for block in payload["content"] if block["type"] == "text")
        at_limit = reason in ("max_tokens", "model_context_window_exceeded")
        failure = ""
        if reason == "refusal":
            failure = "refused"
        elif at_limit and not text.strip():
            failure = "empty reply: the token limit was spent before any text; raise it"
        read = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        return Reply(
            text="" if failure else text,
            failure=failure,
            finish_reason="length" if at_limit else "stop",
            usage=Usage(
                input_tokens=sum(usage.get(key) or 0 for key in read), output_tokens=usage.get("output_tokens") or 0
            ),
        )

    async def _list(self, client: Any) -> list[Mapping[str, Any]]:
        response = await client.models.with_raw_response.list(limit=1000)
        entries = response.http_response.json()["data"]
        if all(entry["id"] != self.model.name for entry in entries):  # an alias is no entry, but can be asked for
            try:
                found = await client.models.with_raw_response.retrieve(self.model.name)
            except self._sdk.NotFoundError:
                return entries
            entry = found.http_response.json()
            if entry.get("lifecycle") != "retired":
                entries = [*entries, {**entry, "id": self.model.name}]
        return entries

    def _shutdown_date(self, entry: Mapping[str, Any]) -> str:
        return entry.get("retires_at") or ("a date to be named" if entry.get("lifecycle") == "deprecated" else "")
