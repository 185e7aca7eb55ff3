"""From a judge's reply to a verdict, or to a failed judgement that says why."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgrpo.judging.verdicts import MIN_MASS, from_logprobs, from_text
from softgrpo.records import Match, Usage

MATCH = Match(first=3, second=1, objective="reasoning")


@pytest.mark.parametrize(
    ("reply", "p_first"),
    [("A", 1.0), ("B", 0.0), (" A\n", 1.0), ("**B**", 0.0), ("A.", 1.0), ("(B)", 0.0), ('"A"', 1.0), ("`B`.", 0.0)],
)
def test_one_label_and_nothing_else(reply, p_first):
    found = from_text(MATCH, reply)
    assert found.p_first == p_first
    assert (found.match, found.how, found.reply, found.failure) == (MATCH, "text", reply, "")


@pytest.mark.parametrize(
    "reply",
    [
        "",
        " ",
        "C",
        "a",
        "A B",
        "AB",
        "A or B",
        "Text A is better, B is not",
        "A and B are equal",
        "A\nB",
        "I choose A",
        "Answer: A",
        ":",
        "Thought process:",
        "1",
        "А",  # Cyrillic
        "A" * 100_000,
    ],
)
def test_anything_else_is_a_failed_judgement_not_a_guess(reply):
    found = from_text(MATCH, reply)
    assert found.p_first is None
    assert "not one of A, B" in found.failure
    assert len(found.failure) < 400, "a long reply is quoted in part"


def test_the_cost_is_kept_with_the_verdict():
    usage = Usage(input_tokens=100, output_tokens=1, requests=1)
    assert from_text(MATCH, "A", usage=usage).usage == usage
    assert from_text(MATCH, "?", usage=usage).usage == usage


@given(st.one_of(st.text(), st.text(alphabet="AB .*\n()ab", max_size=6)))
def test_any_reply_is_a_verdict_or_a_failure(reply):
    found = from_text(MATCH, reply)
    assert (found.p_first is None) == bool(found.failure)
    letters = [c for c in reply if c.isalnum()]
    if found.p_first is not None:
        assert letters == ["A" if found.p_first else "B"]


@pytest.mark.parametrize(
    ("first", "second", "p_first"),
    [(math.log(0.6), math.log(0.2), 0.75), (math.log(0.1), math.log(0.1), 0.5), (-0.0001, -300.0, 1.0)],
)
def test_log_probabilities_of_the_labels(first, second, p_first):
    found = from_logprobs(MATCH, first, second)
    assert found.p_first == pytest.approx(p_first)
    assert (found.match, found.how, found.failure) == (MATCH, "log_odds", "")


@pytest.mark.parametrize(
    ("first", "second"),
    [(-30.0, -31.0), (float("nan"), -1.0), (-1.0, float("nan")), (float("-inf"), float("-inf"))],
)
def test_a_judge_that_hardly_considers_the_labels_has_not_answered(first, second):
    found = from_logprobs(MATCH, first, second)
    assert found.p_first is None
    assert "the labels hold" in found.failure


def test_the_least_mass_that_is_an_answer():
    assert from_logprobs(MATCH, math.log(MIN_MASS), -200.0).p_first == 1.0
    assert from_logprobs(MATCH, math.log(MIN_MASS * 0.99), -200.0).p_first is None


@given(st.floats(-800, 0), st.floats(-800, 0))
def test_swapping_the_labels_mirrors_the_probability(first, second):
    one, other = from_logprobs(MATCH, first, second), from_logprobs(MATCH, second, first)
    assert (one.p_first is None) == (other.p_first is None)
    if one.p_first is not None and other.p_first is not None:
        assert 0 <= one.p_first <= 1
        assert one.p_first == pytest.approx(1 - other.p_first, abs=1e-11)
