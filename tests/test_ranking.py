"""`rank()`: any texts, any judge, and a clear word where there is nothing to rank."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import numpy as np
import pytest

import softgrpo
from softgrpo import UserError, rank, rank_async
from tests.fakes.judges import failing, prefers_first, skill_judge

SKILL = {"weak": 0.0, "fair": 0.5, "good": 1.0, "best": 1.5}


def by_skill(prompt, first, second):
    return 1 / (1 + np.exp(SKILL[second] - SKILL[first]))


def test_worked_numbers_of_two_texts():
    ranking = rank("Why?", ["weak", "best"], judge=by_skill)
    p = 1 / (1 + np.exp(-1.5))
    assert ranking.scores == pytest.approx([1.5 * (1 - 2 * p), 1.5 * (2 * p - 1)])
    assert ranking.order == [1, 0]
    assert len(ranking.verdicts) == 2
    assert ranking.position_bias == pytest.approx(0, abs=1e-9)


def test_a_judge_object_a_name_and_a_function_are_all_judges():
    assert rank("Why?", list(SKILL), judge=skill_judge(SKILL)).order == [3, 2, 1, 0]
    assert rank("Why?", list(SKILL), judge=by_skill).order == [3, 2, 1, 0]
    with pytest.raises(UserError, match="judge is a int"):
        rank("Why?", list(SKILL), judge=3)


def test_a_number_of_calls_buys_a_tournament_of_that_size():
    texts = [f"text {i:02}" for i in range(12)]
    asked = []

    def judge(prompt, first, second):
        asked.append((first, second))
        return 1 / (1 + np.exp(-(int(first[-2:]) - int(second[-2:])) / 3 - 1.5))

    ranking = rank("Why?", texts, judge=judge, judge_calls=36)
    assert len(asked) == 36
    assert np.corrcoef(ranking.scores, np.arange(12))[0, 1] > 0.95
    assert ranking.position_bias == pytest.approx(1.5, abs=0.3)
    assert np.isfinite(ranking.stderrs).all()


@pytest.mark.parametrize("options", [{}, {"judge_calls": 4}, {"judge_calls": 6, "schedule": "adaptive"}])
def test_a_judge_that_always_takes_the_first_ranks_nobody(options):
    ranking = rank("Why?", ["a", "b", "c", "d"], judge=prefers_first(), **options)
    np.testing.assert_allclose(ranking.scores, 0, atol=1e-6 if len(options) < 2 else 0.05)


def test_failed_judgements_are_counted_and_leave_no_score():
    ranking = rank("Why?", ["a", "b"], judge=failing())
    assert np.isnan(ranking.scores).all()
    assert ranking.order == []
    assert ranking.standing.n_unjudged == 2


@pytest.mark.parametrize(
    ("texts", "word"),
    [([], "is empty"), (["a"], "nobody to meet"), ("ab", "is one text"), (["a", None], "holds a NoneType")],
)
def test_too_few_texts_are_one_clear_line(texts, word):
    with pytest.raises(UserError, match=word):
        rank("Why?", texts, judge=by_skill)


def test_too_few_calls_and_unknown_plans_are_one_clear_line():
    with pytest.raises(UserError, match="3"):
        rank("Why?", ["a", "b", "c", "d"], judge=prefers_first(), judge_calls=2)
    with pytest.raises(UserError, match="knockout"):
        rank("Why?", ["a", "b"], judge=prefers_first(), schedule="knockout")


@pytest.mark.parametrize("wrong", [dict(rating="elo"), dict(orders="one"), dict(schedule="knockout")], ids=str)
def test_an_unknown_name_costs_no_judgement(wrong):
    asked = []
    with pytest.raises(UserError, match="choose from"):
        rank("Why?", ["a", "b"], judge=lambda *texts: asked.append(texts) or 0.5, **wrong)
    assert not asked


def test_an_empty_text_forfeits_and_is_shown_to_nobody():
    seen = []
    ranking = rank("Why?", ["good", "  ", "weak"], judge=lambda p, a, b: seen.append((a, b)) or by_skill(p, a, b))
    assert len(seen) == 2
    assert ranking.scores[1] == -1.5
    assert ranking.standing.n_forfeits == 1


@pytest.mark.parametrize(
    "texts",
    [["same", "same"], ["x" * 100_000, "short"], ["half \ud800", "whole"], ["שלום עולם", "مرحبا"], ["\u202eevil", "a"]],
)
def test_odd_texts_are_ranked_like_others(texts):
    ranking = rank("Why?", texts, judge=lambda p, a, b: 0.75 if len(a) >= len(b) else 0.25)
    assert np.isfinite(ranking.scores).all()
    assert ranking.scores.sum() == pytest.approx(0, abs=1e-9)


def test_it_can_be_awaited():
    ranking = asyncio.run(rank_async("Why?", list(SKILL), judge=by_skill))
    assert ranking.order == [3, 2, 1, 0]


def test_ranking_needs_no_torch():
    code = "import sys; from softgrpo import rank; rank('q', 'ab'.split('x') * 2, judge=lambda *_: .5)"
    code += "; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_the_public_names_are_there():
    assert all(getattr(softgrpo, name) for name in softgrpo.__all__)
