"""A score per text becomes a verdict per match."""

from __future__ import annotations

import math

import numpy as np
import pytest

from softgrpo.judges.text_scores import ScoringJudge
from softgrpo.records import Match
from softgrpo.tournament.win_share import WinShare
from tests.fakes.builders import REASONING, contest


class ByTable:
    """Scores from a table; keeps what it was asked."""

    def __init__(self, **table):
        self.table = table
        self.asked = []

    def score(self, items):
        self.asked.append([(item.text, item.objective.name) for item in items])
        return np.array([self.table[item.text] for item in items])


def test_the_difference_of_scores_over_the_temperature_is_the_log_odds():
    ((*found,),) = ScoringJudge("s", ByTable(a=2.0, b=1.0), temperature=0.5).judge([contest("a", "b")])
    assert [v.p_first for v in found] == pytest.approx([1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))])
    assert {v.how for v in found} == {"scores"}


def test_each_text_is_scored_once_whatever_the_matches():
    scorer = ByTable(a=1.0, b=2.0, c=3.0)
    found = ScoringJudge("s", scorer).judge([contest("a", "b", "c"), contest("a", None, "c", objective=REASONING)])
    assert scorer.asked == [[("a", "answer"), ("b", "answer"), ("c", "answer"), ("a", "reasoning"), ("c", "reasoning")]]
    assert [len(v) for v in found] == [6, 2]
    assert [v.match for v in found[1]] == [
        Match(first=0, second=2, objective="reasoning"),
        Match(first=2, second=0, objective="reasoning"),
    ]


def test_a_text_that_meets_nobody_is_not_scored():
    scorer = ByTable(a=1.0, b=2.0)
    ScoringJudge("s", scorer).judge([contest("a", "unknown", "b", matches=[Match(first=0, second=2)])])
    assert scorer.asked == [[("a", "answer"), ("b", "answer")]]


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_text_without_a_finite_score_fails_its_matches_and_no_others(score):
    ((*found,),) = ScoringJudge("s", ByTable(a=1.0, b=score, c=0.0)).judge([contest("a", "b", "c")])
    for verdict in found:
        concerned = 1 in (verdict.match.first, verdict.match.second)
        assert (verdict.p_first is None) == concerned
        assert bool(verdict.failure) == concerned


def test_two_infinite_scores_are_no_tie():
    ((one, _),) = ScoringJudge("s", ByTable(a=math.inf, b=math.inf)).judge([contest("a", "b")])
    assert one.p_first is None


def test_far_apart_scores_stay_probabilities():
    ((one, two),) = ScoringJudge("s", ByTable(a=1e30, b=-1e30)).judge([contest("a", "b")])
    assert one.p_first == pytest.approx(1.0)
    assert two.p_first == pytest.approx(0.0)


def test_no_contest_asks_nothing():
    assert ScoringJudge("s", ByTable()).judge([]) == []
    assert ScoringJudge("s", ByTable(a=1.0)).judge([contest("a", None)]) == [()]


def test_a_scoring_judge_has_no_preference_for_a_place():
    (verdicts,) = ScoringJudge("s", ByTable(a=0.3, b=-1.0, c=2.0)).judge([contest("a", "b", "c")])
    standing = WinShare().standing(3, verdicts)
    assert standing.position_bias == pytest.approx(0, abs=1e-9)
    assert np.argsort(standing.scores).tolist() == [1, 0, 2]
