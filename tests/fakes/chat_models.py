"""Chat models for a judge, by script, and the honest reader: one that reads its prompt as it is specified."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from softgrpo.models.api.attempts import Call, Reply
from softgrpo.records import LedgerEntry, Message, Usage

ONE = Usage(input_tokens=10, output_tokens=1, requests=1)


@dataclass(frozen=True, slots=True)
class Sheet:
    """What an honest reader finds in a prompt."""

    fence: str
    labels: tuple[str, ...]
    texts: tuple[str, str]

    def answer(self, first_wins: bool) -> str:
        return self.labels[0] if first_wins else self.labels[1]


def read(chat: Sequence[Message]) -> Sheet:
    """The texts between the fences that the system text names; ValueError where they are not there exactly once."""
    system, user = (message["content"] for message in chat)
    fence = re.search(r"bear the mark (\w+),", system)
    labels = re.search(r"Reply with one letter, (\w) or (\w)(?:, or (\w) if)?", system)
    if fence is None or labels is None:
        raise ValueError("the system text names no fence or no labels")
    lines = user.split("\n")
    texts = []
    for label in labels.groups()[:2]:
        ends = [f"[{fence[1]}: text {label}]", f"[{fence[1]}: end of text {label}]"]
        if [lines.count(end) for end in ends] != [1, 1]:
            raise ValueError(f"the fences of {label} are not there exactly once")
        texts.append("\n".join(lines[lines.index(ends[0]) + 1 : lines.index(ends[1])]))
    return Sheet(fence[1], tuple(label for label in labels.groups() if label), (texts[0], texts[1]))


class Weighing:
    """A local model whose log-probabilities of the labels come from a function of the chat; one id per character."""

    context_length = 2000

    def __init__(self, weigh: Callable[[Sheet], Sequence[float]], special: dict[str, int] | None = None) -> None:
        self.weigh = weigh
        self.special_tokens = special or {}
        self.calls: list[list[Sequence[Message]]] = []

    def weights_hash(self) -> str:
        return "0123"

    def encode_chat(self, chat: Sequence[Message]) -> list[int]:
        return [self.special_tokens.get(c, 0) for m in chat for c in m["content"]]

    def label_logprobs(self, chats: Sequence[Sequence[Message]], labels: Sequence[str]) -> list[Sequence[float]]:
        self.calls.append(list(chats))
        sheets = [read(chat) for chat in chats]
        assert all(sheet.labels == tuple(labels) for sheet in sheets)
        return [self.weigh(sheet) for sheet in sheets]


class Writing:
    """An API model whose reply to each call is a function of the call and of what an honest reader finds in it.

    The function returns a text, or a whole `Reply`.
    """

    identity = "fake:writing@nowhere"

    def __init__(
        self, write: Callable[[Call, Sheet], str | Reply], methods: Sequence[str] = ("logprobs", "json", "text")
    ) -> None:
        self.write = write
        self.methods = tuple(methods)
        self.calls: list[Call] = []
        self.rounds: list[int] = []

    def run(self, calls: Sequence[Call], on_reply: Callable[[int, Reply], Any] | None = None) -> list[Reply]:
        self.rounds.append(len(calls))
        replies = []
        for i, call in enumerate(calls):
            self.calls.append(call)
            said = self.write(call, read(call.chat))
            replies.append(said if isinstance(said, Reply) else Reply(text=said, usage=ONE))
            if on_reply is not None:
                on_reply(i, replies[-1])
        return replies


@dataclass
class DictLedger:
    """A ledger in memory, which counts what it is asked."""

    entries: dict[str, LedgerEntry] = field(default_factory=dict)
    lookups: int = 0

    def get(self, keys: Sequence[str]) -> dict[str, LedgerEntry]:
        self.lookups += 1
        return {key: self.entries[key] for key in keys if key in self.entries}

    def put(self, key: str, entry: LedgerEntry) -> None:
        self.entries[key] = entry

    def put_all(self, entries: Mapping[str, LedgerEntry]) -> None:
        self.entries.update(entries)
