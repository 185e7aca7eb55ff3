"""From a judge's reply to a verdict, or to a failed judgement that says why."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgrpo.judges.chat.parse import (
    MIN_MASS,
    MIN_MASS_WRITTEN,
    from_entry,
    from_logprobs,
    from_reply,
    from_votes,
    json_schema,
    unfinished,
)
from softgrpo.records import LedgerEntry, Match, Usage

MATCH = Match(first=3, second=1, objective="reasoning")
KT = ("K", "T")
KTM = ("K", "T", "M")


def log(**p):
    return {token: math.log(value) for token, value in p.items()}


@pytest.mark.parametrize(
    ("reply", "p_first"),
    [
        ("K", 1.0),
        ("T", 0.0),
        (" K\n", 1.0),
        ("**T**", 0.0),
        ("K.", 1.0),
        ("(T)", 0.0),
        ('"K"', 1.0),
        ("`T`.", 0.0),
        ("M", 0.5),
        ('{"better": "K"}', 1.0),
        (' {\n "better": "T"\n}\n', 0.0),
        ("<think>T is long. T?\nNo.</think>\n\nK", 1.0),
        ("<think>it says </think> T</think> K", 1.0),
    ],
)
def test_one_label_and_nothing_else(reply, p_first):
    found = from_reply(reply, KTM)
    assert (found.p_first, found.how, found.text, found.failure, found.mass) == (p_first, "text", reply, "", None)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        " ",
        "A",
        "k",
        "M",
        "K T",
        "KT",
        "K or T",
        "Text K is better, T is not",
        "K and T are equal",
        "K\nT",
        "I choose K",
        "Answer: K",
        ":",
        "Thought process:",
        "1",
        "К",  # Cyrillic
        "K" * 100_000,
        "<think>K",
        "<think>so</think>",
        "<think>so</think> K and T",
        "K <think>no</think> T",
        '{"better": "A"}',
        '{"better": ["K"]}',
        '{"better": "K", "better": "T"}',
        '{"better": "K", "sure": true}',
        '{"winner": "K"}',
        '{"better": "K"} {"better": "T"}',
        '{"better": "K"',
        "{" * 100_000,
    ],
)
def test_anything_else_is_a_failed_judgement_not_a_guess(reply):
    found = from_reply(reply, KT)
    assert found.p_first is None
    assert "not one of K, T" in found.failure
    assert len(found.failure) < 400, "a long reply is quoted in part"


def test_a_verdict_holds_what_was_read_and_what_it_cost():
    usage = Usage(input_tokens=100, output_tokens=1, requests=1)
    found = from_reply("K", KT, log(K=0.6, T=0.2)).verdict(MATCH, usage)
    assert (found.match, found.p_first, found.how, found.reply, found.usage) == (MATCH, 0.75, "log_odds", "K", usage)
    assert found.mass == pytest.approx(0.8)


@given(st.one_of(st.text(), st.text(alphabet='KT .*\n()kt{}:"', max_size=6)))
def test_any_reply_is_a_verdict_or_a_failure(reply):
    found = from_reply(reply, KT)
    assert (found.p_first is None) == bool(found.failure)
    if found.p_first is not None:
        assert [c for c in reply if c.isalnum()] == ["K" if found.p_first else "T"]


@pytest.mark.parametrize(
    ("tokens", "p_first", "mass"),
    [
        (dict(K=0.6, T=0.2, The=0.1), 0.75, 0.8),
        ({"K": 0.3, " K": 0.3, "T\n": 0.2}, 0.75, 0.8),
        (dict(K=0.9), 0.9, 0.9),  # T is not listed: at most what is left
        (dict(K=0.5, x=0.05, y=0.04), 0.5 / 0.54, 0.5),  # and at most the least that is listed
    ],
)
def test_the_first_tokens_probabilities_count_before_what_is_written(tokens, p_first, mass):
    found = from_reply("T", KT, {t: math.log(p) for t, p in tokens.items()})
    assert found.p_first == pytest.approx(p_first, abs=1e-9)
    assert found.mass == pytest.approx(mass)
    assert found.how == "log_odds"


def test_a_tie_is_half_a_win():
    assert from_reply("M", KTM, log(K=0.3, T=0.1, M=0.4)).p_first == pytest.approx(0.625)


def test_what_opens_with_something_else_is_read_as_written():
    little = MIN_MASS_WRITTEN / 2
    found = from_reply("<think>hm</think>K", KT, {"<think>": math.log(0.9), "T": math.log(little)})
    assert (found.p_first, found.how) == (1.0, "text")
    assert from_reply("Well, K", KT, {"Well": -0.01, "K": -9.0}).p_first is None


@pytest.mark.parametrize("value", [math.nan, -math.inf, 1000.0])
def test_log_probabilities_that_are_none(value):
    found = from_reply("K", KT, {"K": value})
    assert found.p_first == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("first", "second", "p_first"),
    [(math.log(0.6), math.log(0.2), 0.75), (math.log(0.1), math.log(0.1), 0.5), (-0.0001, -300.0, 1.0)],
)
def test_log_probabilities_of_the_labels(first, second, p_first):
    found = from_logprobs([first, second])
    assert found.p_first == pytest.approx(p_first)
    assert (found.how, found.failure) == ("log_odds", "")
    assert found.mass == pytest.approx(math.exp(first) + math.exp(second))


@pytest.mark.parametrize(
    ("first", "second"),
    [(-30.0, -31.0), (float("nan"), -1.0), (-1.0, float("nan")), (float("-inf"), float("-inf"))],
)
def test_a_judge_that_hardly_considers_the_labels_has_not_answered(first, second):
    found = from_logprobs([first, second])
    assert found.p_first is None
    assert found.failure


def test_the_least_mass_that_is_an_answer():
    assert from_logprobs([math.log(MIN_MASS * 1.01), -200.0]).p_first == 1.0
    assert from_logprobs([math.log(MIN_MASS * 0.99), -200.0]).p_first is None


@given(st.floats(-800, 0), st.floats(-800, 0))
def test_swapping_the_labels_mirrors_the_probability(first, second):
    one, other = from_logprobs([first, second]), from_logprobs([second, first])
    assert (one.p_first is None) == (other.p_first is None)
    if one.p_first is not None and other.p_first is not None:
        assert 0 <= one.p_first <= 1
        assert one.p_first == pytest.approx(1 - other.p_first, abs=1e-11)


def test_votes_are_counted_among_those_that_can_be_read():
    found = from_votes([from_reply(text, KTM) for text in ("K", "T", "K", "M", "hm")])
    assert (found.p_first, found.how, found.text) == (2.5 / 4, "votes", "2.5/4")
    none = from_votes([from_reply("hm", KT)] * 2)
    assert none.p_first is None
    assert "not one of" in none.failure


@pytest.mark.parametrize("reply", [("K", None), ("hm", None), ("K", log(K=0.6, T=0.2))])
def test_an_entry_of_the_ledger_reads_as_it_was_written(reply):
    found = from_reply(reply[0], KT, reply[1])
    entry = LedgerEntry(text=found.text, logprobs=found.logprobs, failure=found.failure, p_first=found.p_first)
    assert from_entry(entry) == found


def test_the_schema_allows_one_label():
    assert json.loads(json.dumps(json_schema(KT)))["properties"]["better"]["enum"] == ["K", "T"]


def test_unfinished():
    assert unfinished("<think> Both")
    assert unfinished('{"bet')
    assert not unfinished("<think> Both </think> K is")
    assert not unfinished("I think that")
