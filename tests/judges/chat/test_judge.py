"""Models behind an API as judges: how each is asked, what becomes of its replies, what the ledger saves."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from softgrpo.judges.chat.elicitation import MAX_TOKENS
from softgrpo.judges.chat.judge import PROBES, ChatJudge
from softgrpo.judges.chat.keys import judgement_key
from softgrpo.judges.chat.prompt import TEMPLATE
from softgrpo.models.api.attempts import Reply
from softgrpo.models.api.client import NO_DECISIONS
from softgrpo.models.api.errors import APIStop
from softgrpo.records import Objective, Usage
from tests.fakes.builders import ANSWER, contest
from tests.fakes.chat_models import ONE, DictLedger, Writing, read

CUT = Reply(failure="empty reply: the token limit was spent before any text; raise it", usage=ONE)


def better(sheet):
    """`good` is better than anything else."""
    return sheet.answer("good" in sheet.texts[0])


def soft(sheet, p):
    """A reply with the label and its probability."""
    said = {sheet.labels[0]: math.log(p), sheet.labels[1]: math.log(1 - p)}
    return Reply(text=max(said, key=said.get), logprobs=said, usage=ONE)


def in_form(call, sheet):
    """A service that knows schemas, and no log-probabilities."""
    return json.dumps({"better": better(sheet)}) if call.schema else better(sheet)


def judged(model, *texts, **options):
    judge = ChatJudge("api", model, **options)
    (verdicts,) = judge.judge([contest(*(texts or ("good", "bad")))])
    return judge, verdicts


def test_each_text_is_fenced_by_what_it_cannot_foresee_and_the_verdict_bound_to_the_calls_labels():
    model = Writing(lambda call, sheet: better(sheet))
    _, (first, second) = judged(model)
    assert (first.p_first, second.p_first) == (1.0, 0.0)
    assert first.usage.requests == 1
    texts = ["good", "bad", "ugly"]
    model.calls.clear()
    ChatJudge("api", model).judge([contest(*texts)])
    sheets = [read(call.chat) for call in model.calls]
    assert len({s.fence for s in sheets}) == 3, "one seal for each pair"
    by_pair = {}
    for s in sheets:
        by_pair.setdefault(frozenset(s.texts), set()).add(s.labels)
    assert all(len(labels) == 1 for labels in by_pair.values()), "both orders have the same letters"
    other = Writing(lambda call, sheet: better(sheet))
    ChatJudge("api", other, secret=b"another").judge([contest(*texts)])
    assert {read(call.chat).fence for call in other.calls}.isdisjoint(s.fence for s in sheets)


def test_only_the_two_texts_are_shown_and_they_are_cleaned():
    model = Writing(lambda call, sheet: better(sheet))
    ChatJudge("api", model).judge([contest("good\u200b<|im_end|>", "bad", "third", matches=contest("a", "b").matches)])
    shown = str([call.chat for call in model.calls])
    assert "third" not in shown
    assert "<|im_end|>" not in shown
    assert "\\u200b" not in shown


def test_probabilities_of_the_first_token():
    judge, (first, second) = judged(Writing(lambda call, sheet: soft(sheet, 0.8 if "good" in sheet.texts[0] else 0.3)))
    assert (first.p_first, second.p_first) == (pytest.approx(0.8), pytest.approx(0.3))
    assert (first.how, first.mass) == ("log_odds", pytest.approx(1.0))
    assert judge.methods.left[0] == "logprobs"
    assert all(
        call.logprobs and call.temperature == 0 and call.max_tokens == MAX_TOKENS[0] for call in judge.model.calls
    )


def test_decisions_first_where_there_are_any():
    def write(call, sheet):
        assert call.choices == sheet.labels
        return soft(sheet, 0.9)

    judge, (first, _) = judged(Writing(write, methods=["decisions", "logprobs", "text"]))
    assert (first.p_first, first.how) == (pytest.approx(0.9), "log_odds")
    assert judge.methods.settled


def test_without_decisions_one_question_finds_it_out():
    def write(call, sheet):
        return Reply(failure=f"{NO_DECISIONS}: 404 Not found", usage=ONE) if call.choices else soft(sheet, 0.9)

    model = Writing(write, methods=["decisions", "logprobs", "text"])
    _, verdicts = judged(model, "good", "bad", "ugly")
    assert model.rounds == [1, 1, 5]
    assert all(v.p_first == pytest.approx(0.9) for v in verdicts)
    assert [v.usage.requests for v in verdicts] == [2, 1, 1, 1, 1, 1]


def test_a_service_without_probabilities_is_asked_by_a_schema_from_then_on():
    judge, verdicts = judged(Writing(in_form), "good", "bad", "ugly")
    assert [v.p_first for v in verdicts[:2]] == [1.0, 0.0]
    assert {v.how for v in verdicts} == {"text"}
    assert judge.methods.left == ["json", "text"]
    assert judge.model.rounds == [1, 1, 4], "no reply was wasted"
    sent = judge.model.calls[-1].schema["properties"]["better"]["enum"]
    assert len(sent) == 2


def test_a_service_that_knows_neither_is_asked_in_words():
    judge, _ = judged(Writing(lambda call, sheet: better(sheet)), "good", "bad", "ugly")
    assert judge.methods.left == ["text"]
    assert judge.model.calls[-1].schema is None
    judge.judge([contest("good", "x", "y")])
    assert judge.model.rounds == [1, 1, 1, 3, 6], "what was found out is remembered"


def test_a_judge_that_may_only_decide_and_cannot_has_failed():
    refused = Reply(failure=f"{NO_DECISIONS}: 404 Not found", usage=ONE)
    _, verdicts = judged(Writing(lambda *_: refused, methods=["decisions"]))
    assert all(v.failure == refused.failure for v in verdicts)


def test_a_judge_that_always_fails_is_asked_all_at_once_after_a_few():
    judge, verdicts = judged(Writing(lambda *_: Reply(failure="no answer in time", usage=ONE)), *"abcde")
    assert judge.model.rounds == [1] * PROBES + [20 - PROBES]
    assert {(v.p_first, v.failure) for v in verdicts} == {(None, "no answer in time")}
    assert judge.methods.left[0] == "logprobs", "a fault teaches nothing about the service"


def test_an_unreadable_answer_is_asked_for_once_more_with_the_format_restated():
    def write(call, sheet):
        return better(sheet) if "could not be read" in call.chat[-1]["content"] else "Both are fine."

    _, (first, second) = judged(Writing(write))
    assert (first.p_first, second.p_first) == (1.0, 0.0)
    assert first.usage == second.usage == Usage(input_tokens=20, output_tokens=2, requests=2)
    stubborn, (first, second) = judged(Writing(lambda *_: "Both are fine."))
    assert first.p_first is second.p_first is None
    assert "Both are fine" in first.failure
    assert len(stubborn.model.calls) == 4
    assert first.usage.requests == 2


def test_a_reply_that_names_another_calls_label_is_a_failure():
    _, (first, _) = judged(Writing(lambda call, sheet: "A"))
    assert first.p_first is None


def test_a_model_that_thinks_first_gets_room_and_a_talkative_one_does_not():
    def thinks(call, sheet):
        return CUT if call.max_tokens < 1000 else better(sheet)

    judge, verdicts = judged(Writing(thinks, methods=["text"]), "good", "bad", "ugly")
    assert all(v.p_first is not None for v in verdicts)
    assert judge.methods.max_tokens == 1024
    assert [call.max_tokens for call in judge.model.calls] == [16, 128, 1024] + [1024] * 5
    assert verdicts[0].usage.requests == 3

    def aloud(call, sheet):
        long = call.max_tokens >= 128
        return Reply(
            text=f"<think>The first</think>{better(sheet)}" if long else "<think>The first",
            finish_reason="stop" if long else "length",
            usage=ONE,
        )

    judge, verdicts = judged(Writing(aloud, methods=["text"]))
    assert [v.p_first for v in verdicts] == [1.0, 0.0]
    assert judge.methods.max_tokens == 128

    judge, _ = judged(Writing(lambda *_: Reply(text="I think that both", finish_reason="length", usage=ONE)))
    assert {call.max_tokens for call in judge.model.calls} == {16}

    judge, verdicts = judged(Writing(lambda *_: CUT))
    assert {call.max_tokens for call in judge.model.calls} == set(MAX_TOKENS)
    assert all("token limit" in v.failure for v in verdicts)


def test_votes_where_there_are_no_probabilities():
    drawn = iter("1101" * 100)

    def write(call, sheet):
        assert call.temperature == 1.0
        return sheet.answer(next(drawn) == "1")

    model = Writing(write, methods=["text"])
    _, (first, second) = judged(model, votes=4)
    assert len(model.calls) == 8
    assert {first.how, second.how} == {"votes"}
    assert first.p_first == int(first.reply.split("/")[0]) / 4
    assert first.usage.requests == 4
    _, (first, second) = judged(Writing(lambda call, sheet: soft(sheet, 0.7)), votes=4)
    assert (first.p_first, first.how, first.usage.requests) == (pytest.approx(0.7), "log_odds", 1)


def test_ties_where_the_task_allows_them():
    model = Writing(lambda call, sheet: sheet.labels[2] if len(sheet.labels) == 3 else better(sheet), methods=["text"])
    tied = contest("good", "bad", objective=Objective(name="answer", criteria="c", ties=True))
    plain = contest("good", "bad")
    (one, _), (other, _) = ChatJudge("api", model).judge([tied, plain])
    assert (one.p_first, one.how) == (0.5, "text")
    assert other.p_first == 1.0


def test_identical_questions_are_asked_and_paid_once():
    model = Writing(lambda call, sheet: better(sheet), methods=["text"])
    one, other = ChatJudge("api", model).judge([contest("good", "bad")] * 2)
    assert len(model.calls) == 2
    assert [v.p_first for v in one] == [v.p_first for v in other]
    assert sum(v.usage.requests for v in one + other) == 2


def test_a_text_against_itself_is_two_judgements_that_look_the_same():
    said = iter(("first", "second"))
    model = Writing(lambda call, sheet: sheet.answer(next(said) == "first"), methods=["text"])
    ledger = DictLedger()
    _, (first, second) = judged(model, "same", "same", ledger=ledger)
    assert [first.p_first, second.p_first] == [1.0, 0.0]
    assert [first.usage.requests, second.usage.requests] == [1, 1]
    assert model.calls[0].chat == model.calls[1].chat, "one seal for both orders"
    assert len(ledger.entries) == 2
    again = Writing(lambda call, sheet: pytest.fail("asked"), methods=["text"])
    assert [v.p_first for v in judged(again, "same", "same", ledger=ledger)[1]] == [1.0, 0.0]


def test_a_judgement_keeps_its_key():
    """What is in people's ledgers stays known: only the second order of a text against itself has a key of its own."""

    def key(first, second, **beside):
        parameters = {"temperature": 0.0, "ties": False, "methods": ""} | beside
        return judgement_key(
            judge=Writing.identity,
            template=TEMPLATE,
            criteria=ANSWER.criteria,
            question="Go.",
            first=first,
            second=second,
            method="chat",
            parameters=parameters,
        )

    def known(*texts):
        ledger = DictLedger()
        judged(Writing(lambda call, sheet: soft(sheet, 0.8)), *texts, ledger=ledger)
        return set(ledger.entries)

    assert known("good", "bad") == {key("good", "bad"), key("bad", "good")}
    assert known("same", "same") == {key("same", "same"), key("same", "same", order=2)}


@pytest.mark.parametrize("write", [in_form, lambda call, sheet: soft(sheet, 0.8), lambda *_: "Both."])
@pytest.mark.parametrize("votes", [1, 3])
def test_what_the_ledger_knows_is_not_asked(write, votes):
    ledger = DictLedger()
    _, before = judged(Writing(write), votes=votes, ledger=ledger)
    assert ledger.lookups <= 2
    again = Writing(write)
    _, after = judged(again, votes=votes, ledger=ledger, secret=b"another run")
    assert again.calls == []
    assert [replace(v, usage=Usage()) for v in before] == list(after)
    bill = sum(entry.usage.requests for entry in ledger.entries.values())
    assert bill == sum(v.usage.requests for v in before)


def test_another_judge_other_criteria_or_the_other_order_are_other_judgements():
    ledger, write = DictLedger(), lambda call, sheet: better(sheet)
    judged(Writing(write), ledger=ledger)
    known = len(ledger.entries)
    other = Writing(write)
    other.identity = "fake:other@nowhere"
    judged(other, ledger=ledger)
    ChatJudge("api", Writing(write), ledger=ledger).judge(
        [contest("good", "bad", objective=Objective(name="answer", criteria="Which is shorter?"))]
    )
    assert known == 2
    assert len(ledger.entries) == 6


def test_a_failed_call_is_asked_again_in_the_next_run_and_its_bill_is_kept():
    ledger = DictLedger()
    judged(Writing(lambda *_: Reply(failure="no answer in time", usage=ONE), methods=["text"]), ledger=ledger)
    assert len(ledger.entries) == 2
    _, (first, _) = judged(Writing(lambda call, sheet: better(sheet), methods=["text"]), ledger=ledger)
    assert (first.p_first, first.usage.requests) == (1.0, 1)
    assert {entry.usage.requests for entry in ledger.entries.values()} == {2}


def test_an_unreadable_answer_that_was_paid_for_is_not_bought_again():
    ledger = DictLedger()
    kept = []

    def dies(call, sheet):
        if "could not be read" in call.chat[-1]["content"]:
            raise KeyboardInterrupt
        kept.append(call)
        return "Both."

    with pytest.raises(KeyboardInterrupt):
        judged(Writing(dies, methods=["text"]), ledger=ledger)
    model = Writing(lambda call, sheet: better(sheet), methods=["text"])
    _, verdicts = judged(model, ledger=ledger)
    asked_before = {str(call.chat) for call in kept}
    assert not asked_before & {str(call.chat) for call in model.calls}
    assert [v.p_first for v in verdicts] == [1.0, 0.0]


def test_an_answer_that_is_cut_when_it_is_asked_again_is_asked_with_more_room():
    ledger = DictLedger()
    once = iter([True])

    def write(call, sheet):
        if "could not be read" in call.chat[-1]["content"]:
            raise KeyboardInterrupt
        return "Both."

    with pytest.raises(KeyboardInterrupt):
        judged(Writing(write, methods=["text"]), ledger=ledger)
    model = Writing(lambda call, sheet: CUT if next(once, False) else better(sheet), methods=["text"])
    _, verdicts = judged(model, ledger=ledger)
    assert [v.p_first for v in verdicts] == [1.0, 0.0]


def test_what_arrived_before_a_stop_is_kept():
    ledger = DictLedger()
    left = iter(range(100))

    def write(call, sheet):
        if next(left) == 4:
            raise APIStop("the key is refused")
        return better(sheet)

    with pytest.raises(APIStop):
        judged(Writing(write, methods=["text"]), "good", "bad", "ugly", ledger=ledger)
    assert len(ledger.entries) == 4
    model = Writing(lambda call, sheet: better(sheet), methods=["text"])
    judged(model, "good", "bad", "ugly", ledger=ledger)
    assert len(model.calls) == 2


def test_nothing_to_judge_asks_nothing():
    model = Writing(lambda call, sheet: pytest.fail("asked"))
    assert ChatJudge("api", model, ledger=DictLedger()).judge([]) == []
    assert ChatJudge("api", model).judge([contest("a", None)]) == [()]
