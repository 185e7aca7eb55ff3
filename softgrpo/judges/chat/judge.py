"""A model behind an API as a judge: each pair is a call, answered by a probability where the service gives one."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from softgrpo.judges.chat.answer import Answer, Judgement, Outcome
from softgrpo.judges.chat.asked import Asked
from softgrpo.judges.chat.elicitation import Elicitation
from softgrpo.judges.chat.keys import SECRET, draw_nonce, judgement_key
from softgrpo.judges.chat.parse import NO_USAGE, Reading, from_reply, from_votes
from softgrpo.judges.chat.prompt import TEMPLATE, chat
from softgrpo.judges.chat.sanitize import cleaned
from softgrpo.models.api.attempts import Call, Reply, add
from softgrpo.models.api.client import NO_DECISIONS
from softgrpo.records import Contest, Ledger, LedgerEntry, Match, Verdict

PROBES = 4
"""so many questions at most go alone, so that what a service can do is learned on them and not on hundreds"""


class Probes:
    """The few questions that go alone, of all threads together, before it is known how the service is best asked."""

    def __init__(self, methods: Elicitation) -> None:
        self.methods = methods
        self.left = PROBES
        self._out: set[int] = set()
        """threads whose question is under way"""
        self._changed = threading.Condition()

    def go(self) -> bool:
        """The next question of this thread goes alone; False once that is of no more use.

        While the last ones of other threads are under way it waits for what they find out.
        """
        self.back()
        with self._changed:
            while not (self.methods.settled or self.left) and self._out:
                self._changed.wait(0.5)  # in slices: a lock alone cannot be interrupted everywhere
            if self.methods.settled or not self.left:
                return False
            self.left -= 1
            self._out.add(threading.get_ident())
            return True

    def back(self) -> None:
        """The question of this thread is answered, or nobody waits for its answer any more."""
        with self._changed:
            self._out.discard(threading.get_ident())
            self._changed.notify_all()


class ChatJudge:
    """A model behind an API. With `votes` above 1, one that gives no probabilities is sampled that often.

    Several threads may ask at once: what one of them finds out of the service holds for all.
    """

    scores_texts = False

    def __init__(
        self,
        name: str,
        model: Any,
        *,
        votes: int = 1,
        methods: Sequence[str] = (),
        ledger: Ledger | None = None,
        secret: bytes = SECRET,
        again: bool = False,
    ) -> None:
        """`methods` are the ways to ask, best first (default: those of the model's kind).

        `again`: what was asked twice and could not be read is asked for once more, which else it never is.
        """
        self.name = name
        self.model = model
        self.votes = votes
        self.methods = Elicitation(list(methods or model.methods))
        self.ledger = ledger
        self.secret = secret
        self.again = again
        self._given = tuple(methods)
        self._probes = Probes(self.methods)

    def judge(self, contests: Sequence[Contest]) -> list[tuple[Verdict, ...]]:
        """All matches at once, as many in flight as the model allows; a call that fails is a failed judgement.

        Identical questions are asked once, and what the ledger knows is not asked; the two orders of a pair are two
        questions, of a text against itself too. An unreadable reply is asked for once more, with the format restated.
        Raises `APIStop` when no call can succeed.
        """
        contests = [_clean(contest) for contest in contests]
        matches = [(contest, match) for contest in contests for match in contest.matches]
        asked = [[self._question(contest, match, 0)] for contest, match in matches]
        answers = self._answers([questions[0] for questions in asked])
        way = self.methods.now()
        if self.votes > 1 and not (way.is_known and way.soft):
            for (contest, match), questions in zip(matches, asked, strict=True):
                if (reading := answers[questions[0].keys[0]].reading) is None or reading.how != "log_odds":
                    questions += [self._question(contest, match, i) for i in range(1, self.votes)]
            answers |= self._answers([q for questions in asked for q in questions[1:]])
        paid: set[str] = set()
        verdicts = iter(
            [
                self._verdict(match, [answers[q.keys[0]] for q in questions], paid)
                for (_, match), questions in zip(matches, asked, strict=True)
            ]
        )
        return [tuple(next(verdicts) for _ in contest.matches) for contest in contests]

    def recall(self, contests: Sequence[Contest]) -> list[tuple[Verdict | None, ...]]:
        """What `judge` would say of each match without a call; None where it would have to ask."""
        contests = [_clean(contest) for contest in contests]
        asked = [
            [[self._question(contest, match, i) for i in range(self.votes)] for match in contest.matches]
            for contest in contests
        ]
        keys = [key for of_contest in asked for questions in of_contest for q in questions for key in q.keys]
        known = self.ledger.get(keys) if self.ledger else {}
        way = self.methods.now()

        def verdict(match: Match, questions: Sequence[Judgement]) -> Verdict | None:
            answers = [Answer(question, way) for question in questions]
            there = [answer.recall(known, again=self.again) for answer in answers]
            if there[0] and answers[0].reading is not None and answers[0].reading.how == "log_odds":
                return self._verdict(match, answers[:1], set())  # votes are for those that give no probabilities
            return self._verdict(match, answers, set()) if all(there) else None

        return [
            tuple(verdict(match, questions) for match, questions in zip(contest.matches, of_contest, strict=True))
            for contest, of_contest in zip(contests, asked, strict=True)
        ]

    def _verdict(self, match: Match, answers: Sequence[Answer], paid: set[str]) -> Verdict:
        usage = NO_USAGE
        for answer in answers:
            if answer.question.keys[0] not in paid:  # what two matches share is paid for once
                usage = add(usage, answer.spent)
                paid.add(answer.question.keys[0])
        readings = [a.reading for a in answers if a.reading is not None]
        return (from_votes(readings) if len(readings) > 1 else readings[0]).verdict(match, usage)

    def _question(self, contest: Contest, match: Match, sample: int) -> Judgement:
        question, criteria = contest.prompt.question, contest.objective.criteria
        first, second = (contest.texts[i] or "" for i in (match.first, match.second))
        asked = {"temperature": self._temperature, "ties": contest.objective.ties, "methods": ",".join(self._given)}
        # of a text against itself the orders differ in nothing but this, and are two judgements nevertheless
        order = {"order": 2} if first == second and match.first > match.second else {}

        def key(one: str, other: str, method: str, **beside: int) -> str:
            return judgement_key(
                judge=self.model.identity,
                template=TEMPLATE,
                criteria=criteria,
                question=question,
                first=one,
                second=other,
                method=method,
                parameters={**asked, **beside},
                sample=sample,
            )

        # both orders of a pair share their labels, so that a preference for a letter cancels like one for a position
        pair = key(min(first, second), max(first, second), "seal")
        drawn = draw_nonce(self.secret, pair, [question, first, second], n_labels=3 if contest.objective.ties else 2)
        return Judgement(
            keys=(key(first, second, "chat", **order), key(first, second, "chat restated", **order)),
            chats=(
                chat(question, criteria, first, second, drawn),
                chat(question, criteria, first, second, drawn, restated=True),
            ),
            labels=drawn.labels,
            asked=Asked(
                judge=self.name,
                template=TEMPLATE,
                criteria=criteria,
                question=question,
                first=first,
                second=second,
                order=order.get("order", 1),
                ties=contest.objective.ties,
                votes=self.votes,
                sample=sample,
                methods=self._given,
            ),
        )

    @property
    def _temperature(self) -> float:
        return 1.0 if self.votes > 1 else 0.0

    def _answers(self, questions: Sequence[Judgement]) -> dict[str, Answer]:
        """By the questions' first keys; each has a reading."""
        way = self.methods.now()
        answers = {q.keys[0]: Answer(q, way) for q in questions}
        known = self.ledger.get([k for a in answers.values() for k in a.question.keys]) if self.ledger else {}
        waiting = [a for a in answers.values() if not a.recall(known, again=self.again)]
        try:
            while waiting and self._probes.go():
                self._ask([waiting.pop(0)])
        finally:
            self._probes.back()
        self._ask(waiting)
        return answers

    def _ask(self, waiting: Sequence[Answer]) -> None:
        """Until each has its reading: a way to ask that works, a limit that is enough, the format restated once."""
        while waiting:
            way = self.methods.now()  # another thread may learn of a better one meanwhile
            for answer in waiting:
                answer.way = way
            replies = self.model.run([self._call(answer) for answer in waiting], **self._keeping(waiting))
            outcomes = [self._outcome(a, reply) for a, reply in zip(waiting, replies, strict=True)]
            for answer, reply, outcome in zip(waiting, replies, outcomes, strict=True):
                answer.take(outcome, reply.usage)
            kinds = [outcome.kind for outcome in outcomes]
            if "cut" in kinds:
                self.methods.raise_limit(way)
            # first what it can do: where some questions are answered, one that is not tells nothing of the service
            self.methods.learn([o.reading for o in outcomes if o.kind in ("read", "unreadable")], way)
            if "not answered here" in kinds:
                self.methods.drop(way)
            waiting = [a for a in waiting if a.reading is None]

    def _call(self, answer: Answer) -> Call:
        question = answer.question
        return Call(**answer.way.call(question.chats[answer.asked], question.labels, self._temperature))

    def _outcome(self, answer: Answer, reply: Reply) -> Outcome:
        """What a reply is. It follows from the way it was asked in alone, whatever has been learned since."""
        way = answer.way
        if reply.failure:
            reading = Reading(p_first=None, how="text", failure=reply.failure)
        else:
            reading = from_reply(reply.text, answer.question.labels, reply.logprobs)
        if reply.failure.startswith(NO_DECISIONS) and not (way.is_last or way.is_known):
            return Outcome("not answered here", reading)
        if way.too_short(reply.failure, reading, reply.finish_reason):
            return Outcome("cut", reading)
        if reply.failure:
            return Outcome("failed", reading)
        return Outcome("read" if reading.p_first is not None else "unreadable", reading)

    def _keeping(self, waiting: Sequence[Answer]) -> dict[str, Any]:
        """Each reply goes to the ledger when it arrives: what is paid for is kept, whatever happens to the others."""
        if self.ledger is None:
            return {}
        ledger, began = self.ledger, time.monotonic()

        def keep(i: int, reply: Reply) -> None:
            outcome = self._outcome(waiting[i], reply)
            bought = outcome.kind in ("read", "unreadable")
            entry = LedgerEntry(
                text=outcome.reading.text if bought else "",
                logprobs=outcome.reading.logprobs or None,
                failure=outcome.reading.failure,
                finish_reason=reply.finish_reason,
                usage=reply.usage,
                p_first=outcome.reading.p_first,
                judge=self.model.identity,
                seconds=time.monotonic() - began,
            )
            ledger.put_all(waiting[i].entries(entry, outcome))

        return {"on_reply": keep}


def _clean(contest: Contest) -> Contest:
    texts = tuple(None if text is None else cleaned(text) for text in contest.texts)
    return replace(contest, texts=texts, prompt=replace(contest.prompt, question=cleaned(contest.prompt.question)))
