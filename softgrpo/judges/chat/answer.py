"""How far a question to a chat judge has come, from what the ledger knows of it to a reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from softgrpo.judges.chat.asked import Asked
from softgrpo.judges.chat.elicitation import Method
from softgrpo.judges.chat.parse import NO_USAGE, Reading, from_entry
from softgrpo.models.api.calls import add
from softgrpo.records import LedgerEntry, Message, Usage

NOT_YET = "not asked again yet"
"""failure of a judgement whose first reply could not be read, until the second is there"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One judgement to be made, and the same with the format restated should the reply be unreadable."""

    keys: tuple[str, str]
    chats: tuple[list[Message], list[Message]]
    labels: tuple[str, ...]
    asked: Asked


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one reply is."""

    kind: str
    """`read`, `unreadable`, `cut` (by the token limit), `failed` (nothing came), `not answered here`"""
    reading: Reading


@dataclass(slots=True)
class Answer:
    """How far a question has come."""

    question: Judgement
    way: Method
    """the one it is asked in, or was last"""
    asked: int = 0
    """0 as first asked, 1 with the format restated"""
    reading: Reading | None = None
    spent: Usage = NO_USAGE
    """now, on all its calls"""
    unbilled: Usage = NO_USAGE
    """on calls without a reply under the key that is being asked"""
    unread: bool = False
    """an unreadable reply stands under that key, and is asked for again nevertheless"""

    @property
    def key(self) -> str:
        return self.question.keys[self.asked]

    def recall(self, known: Mapping[str, LedgerEntry], *, again: bool = False) -> bool:
        """Take what the ledger knows; True when nothing is left to ask. A failed call is asked again, with its bill.

        `again`: a reply that could not be read when the format was restated is asked for once more, too.
        """
        for asked in (0, 1):
            self.asked = asked
            entry = known.get(self.key)
            if entry is None or not entry.text:
                self.unbilled = entry.usage if entry else NO_USAGE
                return False
            if entry.p_first is None and asked and again:
                self.unbilled, self.unread = entry.usage, True
                return False
            if entry.p_first is not None or asked:
                self.reading = from_entry(entry)
                return True
        raise AssertionError("unreachable")

    def take(self, outcome: Outcome, usage: Usage) -> None:
        """A reply: it is the answer, or the question waits to be asked again."""
        self.spent = add(self.spent, usage)
        self.unbilled = add(self.unbilled, usage)
        if outcome.kind == "unreadable" and not self.asked:
            self.asked, self.unbilled = 1, NO_USAGE
        elif outcome.kind in ("read", "unreadable", "failed"):
            self.reading = outcome.reading

    def entries(self, entry: LedgerEntry, outcome: Outcome) -> dict[str, LedgerEntry]:
        """What the ledger is to keep of a reply, before it is taken: a judgement without a verdict keeps its question.

        `entry` says what this reply alone has used; with it goes the bill of what came before.
        """
        # where an unreadable reply stays, the ledger adds up: what it knows already would be paid twice
        before = self.unbilled if outcome.kind == "read" or not self.unread else NO_USAGE
        entry = replace(entry, usage=add(before, entry.usage))
        question = self.question.asked.to_dict()
        if outcome.kind == "read":
            return {self.key: entry}
        if outcome.kind == "unreadable" and not self.asked:  # a kill may come before the second reply
            then = LedgerEntry(text="", failure=NOT_YET, judge=entry.judge, asked=question)
            return {self.key: replace(entry, asked={"restated": self.question.keys[1]}), self.question.keys[1]: then}
        return {self.key: replace(entry, asked=question)}
