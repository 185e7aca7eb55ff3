"""How a service is best asked for a verdict, found by asking and remembered. Pure; any thread may ask and teach."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from softgrpo.judges.chat.parse import Reading, json_schema, unfinished
from softgrpo.records import Message

MAX_TOKENS = (16, 128, 1024, 2048)
"""a label needs few, and a weak model that goes on talking gets no more; one that thinks first counts its thoughts"""
SOFT = ("decisions", "logprobs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One way to ask, and what was known of it when a request was made: what the reply is follows from that alone.

    `decisions`: a probability per label from an endpoint made for that; `logprobs`: the first token's; `json`: a label
    constrained by a schema; `text`: a label in plain words.
    """

    name: str
    max_tokens: int = MAX_TOKENS[0]
    is_known: bool = False
    """to work"""
    is_last: bool = False
    """no other is left"""

    @property
    def soft(self) -> bool:
        """A reply gives a probability."""
        return self.name in SOFT

    def call(self, chat: Sequence[Message], labels: Sequence[str], temperature: float) -> dict[str, Any]:
        """A request in these words, as the fields of a `Call`."""
        fields: dict[str, Any] = {"chat": chat, "max_tokens": self.max_tokens, "temperature": temperature}
        own: dict[str, dict[str, Any]] = {
            "decisions": {"choices": tuple(labels)},
            "logprobs": {"logprobs": True},
            "json": {"schema": json_schema(labels)},
            "text": {},
        }
        return fields | own[self.name]

    def too_short(self, reply_failure: str, reading: Reading, finish_reason: str) -> bool:
        """The token limit ended the reply before its label, and there is a higher one."""
        if self.max_tokens == MAX_TOKENS[-1] or reading.p_first is not None:
            return False
        if reply_failure:
            return "token limit" in reply_failure
        return finish_reason == "length" and unfinished(reading.text)

    def works(self, readings: Sequence[Reading]) -> bool:
        """The replies are what this way is for."""
        if self.soft:
            return any(r.how == "log_odds" for r in readings)
        if self.name == "json":
            return any(r.text.lstrip().startswith("{") for r in readings)
        return True


class Elicitation:
    """The ways to ask that are left, best first, and how long a reply may be.

    Requests of several threads cross each other. So each is made by a `Method` that was taken once, and what is learned
    from its reply names that way: where it is gone, or the first is known to work, there is nothing left to learn.

    >>> means = Elicitation(["logprobs", "json", "text"])
    >>> means.learn([Reading(p_first=1.0, how="text", text="K")], means.now()); means.left, means.settled
    (['json', 'text'], False)
    >>> means.learn([Reading(p_first=1.0, how="text", text='{"better": "K"}')], means.now()); means.left, means.settled
    (['json', 'text'], True)
    """

    def __init__(self, left: Sequence[str]) -> None:
        self.left = list(left)
        self.settled = False
        """the first that is left is known to work"""
        self.max_tokens = MAX_TOKENS[0]
        self._lock = threading.Lock()

    def now(self) -> Method:
        """The way to ask that is the best by now."""
        with self._lock:
            return Method(
                name=self.left[0],
                max_tokens=self.max_tokens,
                is_known=self.settled,
                is_last=len(self.left) == 1,
            )

    def drop(self, way: Method) -> None:
        """That way does not work; it goes if another is left."""
        with self._lock:
            self._drop(way)

    def learn(self, readings: Sequence[Reading], way: Method) -> None:
        """From replies to what was asked in that way: does it give what it is for?"""
        with self._lock:
            if not readings or way.name != self.left[0]:
                return
            if way.works(readings):
                self.settled = True
            else:
                self._drop(way)

    def raise_limit(self, way: Method) -> None:
        """The limit after the one of that way, unless it is as high already."""
        higher = next((n for n in MAX_TOKENS if n > way.max_tokens), MAX_TOKENS[-1])
        with self._lock:
            self.max_tokens = max(self.max_tokens, higher)

    def _drop(self, way: Method) -> None:
        if not self.settled and len(self.left) > 1:
            self.left = [name for name in self.left if name != way.name]
