"""How a service is best asked for a verdict, found by asking and remembered. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from softgrpo.judging.verdicts import Reading, json_schema, unfinished
from softgrpo.records import Message

MAX_TOKENS = (16, 128, 1024, 2048)
"""a label needs few, and a weak model that goes on talking gets no more; one that thinks first counts its thoughts"""
SOFT = ("decisions", "logprobs")


@dataclass(slots=True)
class Means:
    """The ways to ask that are left, best first, and how long a reply may be.

    `decisions`: a probability per label from an endpoint made for that; `logprobs`: the first token's; `json`: a label
    constrained by a schema; `text`: a label in plain words.

    >>> means = Means(["logprobs", "json", "text"])
    >>> means.learn([Reading(p_first=1.0, how="text", text="K")]); means.left, means.settled
    (['json', 'text'], False)
    >>> means.learn([Reading(p_first=1.0, how="text", text='{"better": "K"}')]); means.left, means.settled
    (['json', 'text'], True)
    """

    left: list[str]
    settled: bool = False
    """the first that is left is known to work"""
    max_tokens: int = MAX_TOKENS[0]

    @property
    def soft(self) -> bool:
        """A reply gives a probability."""
        return self.left[0] in SOFT

    def call(self, chat: Sequence[Message], labels: Sequence[str], temperature: float) -> dict[str, Any]:
        """A request in these words, as the fields of a `Call`."""
        fields: dict[str, Any] = {"chat": chat, "max_tokens": self.max_tokens, "temperature": temperature}
        own: dict[str, dict[str, Any]] = {
            "decisions": {"choices": tuple(labels)},
            "logprobs": {"logprobs": True},
            "json": {"schema": json_schema(labels)},
            "text": {},
        }
        return fields | own[self.left[0]]

    def drop(self) -> None:
        """The first that is left does not work."""
        if len(self.left) > 1:
            self.left.pop(0)

    def learn(self, readings: Sequence[Reading]) -> None:
        """From replies to what was asked in the first way: does it give what it is for?"""
        if self.settled or not readings:
            return
        if self.left[0] in SOFT:
            self.settled = any(r.how == "log_odds" for r in readings)
        elif self.left[0] == "json":
            self.settled = any(r.text.lstrip().startswith("{") for r in readings)
        else:
            self.settled = True
        if not self.settled:
            self.drop()

    def too_short(self, reply_failure: str, reading: Reading, finish_reason: str) -> bool:
        """The token limit ended the reply before its label, and there is a higher one."""
        if self.max_tokens == MAX_TOKENS[-1] or reading.p_first is not None:
            return False
        if reply_failure:
            return "token limit" in reply_failure
        return finish_reason == "length" and unfinished(reading.text)

    def raise_limit(self, tried: int) -> None:
        """The limit after the one that was tried, unless it is that already."""
        self.max_tokens = max(self.max_tokens, next((n for n in MAX_TOKENS if n > tried), MAX_TOKENS[-1]))
