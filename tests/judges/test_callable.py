"""Anybody's function as a judge: what it gives is taken or counted, never repaired."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgrpo.judges.callable import CallableJudge, as_probability
from tests.fakes.builders import contest


def verdicts(compare, *texts):
    (found,) = CallableJudge(compare).judge([contest(*texts)])
    return found


def test_it_is_told_the_question_and_the_texts_in_their_order():
    told = []

    def compare(prompt, first, second):
        told.append((prompt, first, second))
        return 0.25

    found = verdicts(compare, "a", "b")
    assert told == [("Go.", "a", "b"), ("Go.", "b", "a")]
    assert [v.p_first for v in found] == [0.25, 0.25]
    assert CallableJudge(compare).name == "compare"


@pytest.mark.parametrize("given", [1.7, -0.1, math.nan, math.inf, "A", b"1", [], object(), 10**400])
def test_what_is_no_probability_is_a_failed_judgement(given):
    for verdict in verdicts(lambda p, a, b: given, "a", "b"):
        assert verdict.p_first is None
        assert "no probability in [0, 1]" in verdict.failure


def test_no_verdict_and_an_exception_are_failed_judgements():
    assert {v.failure for v in verdicts(lambda p, a, b: None, "a", "b")} == {"the judge gave no verdict"}
    assert {v.failure for v in verdicts(lambda p, a, b: 1 / 0, "a", "b")} == {"ZeroDivisionError: division by zero"}


def test_a_winner_named_outright_is_a_hard_verdict():
    assert {v.how for v in verdicts(lambda p, a, b: 1, "a", "b")} == {"text"}
    assert {v.how for v in verdicts(lambda p, a, b: 0.9, "a", "b")} == {"callable"}


@given(st.one_of(st.floats(), st.integers(), st.text(), st.none(), st.booleans()))
def test_only_numbers_of_the_unit_interval_pass(value):
    p, failure = as_probability(value)
    assert (p is None) == bool(failure)
    assert p is None or 0 <= p <= 1
