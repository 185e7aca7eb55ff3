"""What goes into a call to a service and what comes out of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from softgrpo.models.api.errors import APIStop
from softgrpo.models.names import ModelName
from softgrpo.records import Message, Usage


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
    choices: Sequence[str] = ()
    """ask for the probability of each of these instead of a text, by an endpoint made for that"""


OnReply = Callable[[int, Reply], None]
"""told the place of a call and its reply as it arrives, one at a time, on a thread beside the event loop"""


class SpendingLimit(Protocol):
    """Who allows an attempt and hears what it took: see `softgrpo.spending.budget.Budget`."""

    @property
    def is_waiting(self) -> bool:
        """Attempts are under way, which may leave some of what is held back for them."""
        ...

    def reserve(self, model: ModelName, most: Usage) -> Any:
        """Hold back what an attempt can take at most; None when there is no room for it."""
        ...

    def settle(self, model: ModelName, held: Any, usage: Usage | None) -> None:
        """What it took; None when nobody knows."""
        ...

    def reached(self) -> APIStop:
        """The error when there is no room."""
        ...


def most_tokens(body: Mapping[str, Any]) -> int:
    """More tokens than a request can have: no tokenizer makes more of them than there are bytes.

    >>> most_tokens({"model": "m"}), most_tokens({"model": "ö"})
    (14, 15)
    """
    return len(json.dumps(body, ensure_ascii=False).encode(errors="replace"))


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
