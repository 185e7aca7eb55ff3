"""The failures of a ledger, asked again: of whom, how, and which of them cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from softgrpo.errors import UserError
from softgrpo.judges.chat.asked import Asked
from softgrpo.judges.chat.judge import ChatJudge
from softgrpo.judges.chat.prompt import TEMPLATE
from softgrpo.models import names
from softgrpo.records import Ledger
from softgrpo.spending.unanswered import Unanswered


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """What one judge is to be asked again, in one way."""

    judge: str
    """provider:name@address, which is a model's name too: the address is that of the key, whatever is set by now"""
    votes: int
    methods: tuple[str, ...]
    questions: frozenset[Asked]

    def ask(self, model: Any, ledger: Ledger, secret: bytes) -> None:
        """All of it at once; what comes is in the ledger."""
        name = min(asked.judge for asked in self.questions)
        judge = ChatJudge(name, model, votes=self.votes, methods=self.methods, ledger=ledger, secret=secret, again=True)
        judge.judge(list({_same(asked): asked.contest for asked in sorted(self.questions, key=_same)}.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """A ledger's judgements without a verdict, sorted."""

    again: tuple[Again, ...]
    n_without_question: int
    """kept by an earlier softgrpo, which did not keep what was asked; an unreadable reply counts here even where it
    was answered when the format was restated"""
    n_other_words: int
    """asked in words that are no longer in use: their key would be another one"""
    n_unknown_judge: int
    """of judges that no name loads"""

    @property
    def n(self) -> int:
        """How many can be asked again."""
        return sum(len(again.questions) for again in self.again)

    @property
    def judges(self) -> tuple[str, ...]:
        """Of whom."""
        return tuple(sorted({again.judge for again in self.again}))


def failures(rows: Sequence[Unanswered], judge: str | None = None) -> Failures:
    """What can be asked again of these, of one judge or of all.

    >>> asked = Asked(judge="gpt-4o", template=TEMPLATE, criteria="c", question="q", first="a", second="b")
    >>> row = Unanswered(key="k", judge="openai:gpt-4o@https://api.openai.com/v1", asked=asked.to_dict())
    >>> found = failures([row], "gpt-4o")
    >>> found.n, found.judges
    (1, ('openai:gpt-4o@https://api.openai.com/v1',))
    """
    groups: dict[tuple[str, int, tuple[str, ...]], set[Asked]] = {}
    n_without, n_words, n_unknown = 0, 0, 0
    for row in rows:
        question = _question(row)
        called = {row.judge, question.judge} if question else {row.judge}
        if (judge is not None and not any(means(judge, name) for name in called)) or (
            row.asked is not None and question is None
        ):
            continue
        if question is None:
            n_without += is_service(row.judge) is True
        elif is_service(row.judge) is not True:
            n_unknown += 1
        elif question.template != TEMPLATE:
            n_words += 1
        else:
            groups.setdefault((row.judge, question.votes, question.methods), set()).add(question)
    return Failures(
        again=tuple(
            Again(judge=name, votes=votes, methods=methods, questions=frozenset(questions))
            for (name, votes, methods), questions in sorted(groups.items())
        ),
        n_without_question=n_without,
        n_other_words=n_words,
        n_unknown_judge=n_unknown,
    )


def means(given: str, judge: str) -> bool:
    """A judge by whatever name it has: with its provider or without, with its address or without.

    >>> key = "openai:gpt-4o@https://api.openai.com/v1"
    >>> [means(name, key) for name in ("gpt-4o", "openai:gpt-4o", key, "gpt-4o-mini", "openai:gpt-4o@http://x/v1")]
    [True, True, True, False, False]
    """
    if given == judge:
        return True
    try:
        one, other = names.parse(given), names.parse(judge)
    except UserError:
        return False
    return (one.provider, one.name) == (other.provider, other.name) and one.base_url in ("", other.base_url)


def is_service(judge: str) -> bool | None:
    """What a judge's identity in a ledger says: a service, a model on this machine, or (None) nobody that we know.

    >>> is_service("openai:gpt-4o@https://api.openai.com/v1"), is_service("embedded:prompt#0123"), is_service("a:b@c")
    (True, False, None)
    """
    try:
        return not names.parse(judge).is_local
    except UserError:
        return None


def _question(row: Unanswered) -> Asked | None:
    """None where there is none, or where it is asked under another key, with the format restated."""
    if row.asked is None or "restated" in row.asked:
        return None
    try:
        return Asked.of(row.asked)
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"ledger: what was asked under the key {row.key} cannot be read ({error})") from error


def _same(asked: Asked) -> tuple[Any, ...]:
    """Equal for the votes of one judgement."""
    return asked.criteria, asked.question, asked.first, asked.second, asked.order, asked.ties
