"""A local chat model as a judge: the log-odds of two labels at the start of its reply, one forward pass per match."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from softgrpo.judges.chat.keys import SECRET, Nonce, content_hash, draw_nonce, judgement_key
from softgrpo.judges.chat.parse import Reading, from_entry, from_logprobs
from softgrpo.judges.chat.prompt import TEMPLATE, chat
from softgrpo.judges.chat.sanitize import cleaned, without_tokens
from softgrpo.records import Contest, Ledger, LedgerEntry, Match, Message, Verdict

MATCHES_AT_ONCE = 64
"""of whole contests; more where one has more"""
LABELS = "ABC"
"""small models have strong opinions on letters, and know these as names of options"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    match: Match
    key: str
    chat: list[Message]
    labels: tuple[str, ...]
    failure: str


class LogOddsJudge:
    """A local model: the log-odds of the labels at the start of its reply.

    All matches of a contest share one fence, drawn when the texts are there, so that prompts share their beginnings.
    Contests are weighed a few at a time, and kept together: what shares a batch moves the last bits, so a run that goes
    on after a kill must find whole batches or none.
    """

    scores_texts = False

    def __init__(
        self, name: str, model: Any, *, votes: int = 1, ledger: Ledger | None = None, secret: bytes = SECRET
    ) -> None:
        """`votes` are for judges that give no probabilities: here one look says it all."""
        self.name = name
        self.model = model
        self.ledger = ledger
        self.secret = secret
        self.identity = f"{name}#{model.weights_hash()}"
        """the name with a hash of the weights, as they were loaded: a policy may come to learn on them"""

    @cached_property
    def _control(self) -> dict[str, int]:
        return self.model.special_tokens

    def room(self, question: str, criteria: str) -> int:
        """Tokens that the two texts of a match may have together, in what the model reads at once."""
        mark = draw_nonce(self.secret, "room", [question])
        return self.model.context_length - len(self.model.encode_chat(chat(question, criteria, "", "", mark)))

    def judge(self, contests: Sequence[Contest]) -> list[tuple[Verdict, ...]]:
        """All matches of all contests in a few batches; what is too long for the model is a failed judgement."""
        asked = [pair for contest in contests for pair in self._pairs(contest)]
        known = self.ledger.get([p.key for p in asked]) if self.ledger and asked else {}
        readings = {key: from_entry(entry) for key, entry in known.items()}
        readings |= {
            p.key: Reading(p_first=None, how="log_odds", failure=p.failure)
            for p in asked
            if p.failure and p.key not in readings
        }
        for batch in _batches(contests, asked):
            new = {p.key: p for p in batch if p.key not in readings}
            for n_labels in sorted({len(p.labels) for p in new.values()}):
                self._weigh([p for p in new.values() if len(p.labels) == n_labels], readings)
        verdicts = iter([readings[p.key].verdict(p.match) for p in asked])
        return [tuple(next(verdicts) for _ in contest.matches) for contest in contests]

    def _weigh(self, pairs: Sequence[_Pair], readings: dict[str, Reading]) -> None:
        began = time.monotonic()
        weighed = self.model.label_logprobs([p.chat for p in pairs], pairs[0].labels)
        seconds = (time.monotonic() - began) / len(pairs)
        found = {p.key: from_logprobs([float(x) for x in row]) for p, row in zip(pairs, weighed, strict=True)}
        readings |= found
        if self.ledger:
            entries = {
                key: LedgerEntry(
                    text=reading.text,
                    logprobs=reading.logprobs,
                    failure=reading.failure,
                    p_first=reading.p_first,
                    judge=self.identity,
                    seconds=seconds,
                )
                for key, reading in found.items()
            }
            self.ledger.put_all(entries)

    def _pairs(self, contest: Contest) -> list[_Pair]:
        question, criteria = cleaned(contest.prompt.question), contest.objective.criteria
        texts = [cleaned(text or "") for text in contest.texts]
        labels = tuple(LABELS[: 3 if contest.objective.ties else 2])
        drawn = draw_nonce(
            self.secret, content_hash(self.identity, TEMPLATE, criteria, question, texts), [question, *texts]
        )
        fenced = Nonce(fence=drawn.fence, labels=labels)
        shown = [without_tokens(text, self._control) for text in texts]
        task = without_tokens(question, self._control)
        plain = self._special(self.model.encode_chat(chat(task, criteria, "", "", fenced)))
        pairs = []
        for match in contest.matches:
            asked = chat(task, criteria, shown[match.first], shown[match.second], fenced)
            ids = self.model.encode_chat(asked)
            failure = ""
            if len(ids) > self.model.context_length:
                failure = "too long for the judge's context"
            elif self._special(ids) != plain:
                failure = "a text would be read as control tokens of the judge"
            key = judgement_key(
                judge=self.identity,
                template=TEMPLATE,
                criteria=criteria,
                question=question,
                first=texts[match.first],
                second=texts[match.second],
                method="log_odds",
                parameters={"labels": "".join(labels)},
            )
            pairs.append(_Pair(match=match, key=key, chat=asked, labels=labels, failure=failure))
        return pairs

    def _special(self, ids: Sequence[int]) -> int:
        """How many of the tokens are control; a text may add none."""
        control = set(self._control.values())
        return sum(i in control for i in ids)


def _batches(contests: Sequence[Contest], pairs: Sequence[_Pair]) -> Iterator[list[_Pair]]:
    """The pairs of whole contests, in batches that depend on nothing but what is asked."""
    left, batch = iter(pairs), []
    for contest in contests:
        batch += [next(left) for _ in contest.matches]
        if len(batch) >= MATCHES_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
