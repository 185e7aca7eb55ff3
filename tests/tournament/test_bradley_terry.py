"""The fitted rating: planted skills and biases, standard errors, forfeits, and who is joined to whom."""

from __future__ import annotations

import math
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgrpo.tournament.bias import Bias, learned
from softgrpo.tournament.bradley_terry import BradleyTerry
from softgrpo.tournament.schedule import Plan, next_round
from softgrpo.tournament.win_share import WinShare
from tests.fakes.builders import both_orders, verdict
from tests.tournament.held import random_regular, sigmoid, skills, soft_round_robin


def fitted_standing(n, verdicts, **options):
    return BradleyTerry(**options).standing(n, verdicts)


def test_a_fitted_score_is_the_mean_of_fitted_probabilities():
    """Three players whose judge says what a Bradley-Terry judge would, so often that the prior is nothing."""
    skill = [1.0, 0.2, -0.7]
    standing = fitted_standing(3, soft_round_robin(skill, bias=0.8) * 2000)
    p = [[sigmoid(a - b) for b in skill] for a in skill]
    assert standing.scores == pytest.approx([1.5 * (sum(row) - 0.5 - 1) for row in p], abs=1e-3)
    assert standing.position_bias == pytest.approx(0.8, abs=1e-3)
    assert standing.n_opponents.tolist() == [2, 2, 2]


def test_one_call_a_pair_in_one_order_is_enough_where_the_bias_is_fitted():
    skill = np.linspace(-1, 1, 8)
    verdicts = random_regular(8, 24, 0, skill, bias=2.0)
    truth = WinShare().standing(8, soft_round_robin(skill)).scores
    assert np.corrcoef(fitted_standing(8, verdicts).scores, truth)[0, 1] > 0.995


def test_the_standard_error_is_that_of_the_delta_method():
    """Two players, one verdict each way, noise known to be 1: the strengths' difference has variance 1 / (2 + 1/8)."""
    known = Bias(squares=1e6, freedom=1e6)
    standing = fitted_standing(2, both_orders(0, 1, 0.7, "log_odds"), bias=known)
    d = math.log(7 / 3) * 2 / 2.125
    p = sigmoid(d)
    assert standing.scores == pytest.approx([1.5 * (2 * p - 1), 1.5 * (1 - 2 * p)], abs=1e-4)
    assert standing.stderrs == pytest.approx([3 * p * (1 - p) * math.sqrt(1 / 2.125)] * 2, abs=1e-4)


def test_standard_errors_are_about_right():
    """Over many groups the scores miss the truth by about as much as their standard errors say."""
    bias, missed = Bias(), []
    for seed in range(150):
        skill = np.random.default_rng([seed, 1]).normal(size=12)
        verdicts = random_regular(12, 48, seed, skill, bias=1.0, noise=0.8)
        standing = fitted_standing(12, verdicts, bias=bias)
        bias = learned(bias, [(12, verdicts)])
        truth = [1.5 * (2 * np.mean([sigmoid(a - b) for b in np.delete(skill, i)]) - 1) for i, a in enumerate(skill)]
        missed += ((standing.scores - truth) / standing.stderrs).tolist()
    assert np.std(missed) == pytest.approx(1, abs=0.1)


@given(skills, st.floats(-3, 3))
def test_an_additive_bias_cancels_in_the_fit_of_both_orders(skill, bias):
    skill = [s / 2 for s in skill]
    fair, biased = (fitted_standing(len(skill), soft_round_robin(skill, b)) for b in (0.0, bias))
    np.testing.assert_allclose(biased.scores, fair.scores, atol=1e-6)


@pytest.mark.parametrize(("how", "p"), [("text", 1.0), ("log_odds", 0.97), ("votes", 1.0)])
@pytest.mark.parametrize("taught", [0, 20])
def test_a_judge_that_always_prefers_the_first_gives_every_text_the_same_score(how, p, taught):
    matches = next_round(Plan(kind="random_regular", calls=48), range(16), (), seed=1, objective="answer")
    verdicts = [verdict(m.first, m.second, p, how) for m in matches]
    bias = learned(Bias(), [(16, verdicts)] * taught)
    assert fitted_standing(16, verdicts, bias=bias).scores == pytest.approx([0.0] * 16, abs=1e-9)
    both = [verdict(i, j, p, how) for i, j in permutations(range(5), 2)]
    assert fitted_standing(5, both, bias=bias).scores == pytest.approx([0.0] * 5, abs=1e-9)
    assert fitted_standing(5, both, bias=bias).position_bias > 1


@pytest.mark.parametrize("calls", [17, 30, 40])
def test_an_uneven_schedule_moves_such_scores_by_next_to_nothing(calls):
    matches = next_round(Plan(kind="random_regular", calls=calls), range(16), (), seed=1, objective="answer")
    standing = fitted_standing(16, [verdict(m.first, m.second, 1.0) for m in matches])
    assert np.abs(standing.scores).max() < 0.03 < standing.stderrs.min() / 10


@given(skills, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter_to_the_fit(skill, random):
    verdicts = soft_round_robin(skill, bias=0.7)
    shuffled = random.sample(verdicts, len(verdicts))
    np.testing.assert_allclose(
        fitted_standing(len(skill), shuffled).scores, fitted_standing(len(skill), verdicts).scores, atol=1e-9
    )


def test_players_that_are_not_joined_to_the_others_have_no_score():
    """0, 1 and 2 are joined; 3 and 4 only to each other; 5 was asked about in vain; 6 was never asked about."""
    verdicts = [verdict(0, 1, 1.0), verdict(1, 2, 1.0), verdict(3, 4, 1.0), verdict(5, 0, None)]
    standing = fitted_standing(7, verdicts)
    assert np.isfinite(standing.scores).tolist() == [True] * 3 + [False] * 4
    assert np.array_equal(np.isfinite(standing.stderrs), np.isfinite(standing.scores))
    assert standing.scores[:3].sum() == pytest.approx(0, abs=1e-9)
    assert standing.n_unjudged == 1


def test_when_every_judgement_failed_the_fit_scores_nobody():
    standing = fitted_standing(3, [verdict(i, j, None) for i, j in permutations(range(3), 2)])
    assert np.isnan(standing.scores).all()
    assert math.isnan(standing.position_bias)


def forfeited(n_shown, n_forfeits):
    """Verdicts of the matches that need no judge; those with something to show come first."""
    n = n_shown + n_forfeits
    return [verdict(i, j, 1.0 if i < n_shown else 0.5, "forfeit") for i, j in combinations(range(n), 2) if j >= n_shown]


@pytest.mark.parametrize("n_shown", [0, 1])
def test_where_forfeits_decide_everything_the_fit_is_the_win_share(n_shown):
    verdicts = forfeited(n_shown, 4 - n_shown)
    fitted, share = fitted_standing(4, verdicts), WinShare().standing(4, verdicts)
    assert fitted.scores == pytest.approx(share.scores)
    assert fitted.stderrs == pytest.approx([0.0] * 4)
    assert fitted.n_forfeits == 4 - n_shown


def test_forfeits_keep_their_exact_outcome_beside_fitted_ones():
    """0 and 1 met in both orders, 2 and 3 have nothing to show."""
    judged = both_orders(0, 1, 0.8, "log_odds")
    alone = fitted_standing(2, judged)
    standing = fitted_standing(4, judged + forfeited(2, 2))
    p = (alone.scores / 1.5 + 1) / 2
    assert standing.scores[:2] == pytest.approx(1.5 * (2 * (p + 2) / 3 - 1))
    assert standing.scores[2:] == pytest.approx([1.5 * (2 * 0.5 / 3 - 1)] * 2)
    assert standing.stderrs == pytest.approx([*alone.stderrs / 3, 0, 0])
    assert standing.position_bias == pytest.approx(alone.position_bias), "a forfeit says nothing of the judge"


def test_who_was_judged_against_nobody_is_not_scored_by_forfeits_alone():
    """0 and 1 have something to show, but their match failed; 2 forfeits."""
    standing = fitted_standing(3, [verdict(0, 1, None), *forfeited(2, 1)])
    assert np.isfinite(standing.scores).tolist() == [False, False, True]
    never_asked = fitted_standing(4, [verdict(0, 1, 1.0), *forfeited(3, 1)])
    assert np.isfinite(never_asked.scores).tolist() == [True, True, False, True]


def test_an_undelivered_completion_has_no_score_and_takes_none_from_others():
    lost = [verdict(k, 2, None, "undelivered") for k in range(2)]
    standing = fitted_standing(3, [*both_orders(0, 1, 1.0), *lost])
    assert np.isfinite(standing.scores).tolist() == [True, True, False]
    assert standing.n_unjudged == 2


def test_ties_where_a_task_allows_them():
    """Many ties make the rest of the games say more of the difference than ties taken for halves would."""
    verdicts = [*(verdict(0, 1, 0.5) for _ in range(20)), *(verdict(1, 0, 0.5) for _ in range(20)), verdict(0, 1, 1.0)]
    tied, halves = (fitted_standing(2, verdicts, ties=ties) for ties in (True, False))
    assert tied.scores[0] > 0
    assert tied.scores.sum() == pytest.approx(0, abs=1e-9)
    assert tied.stderrs[0] < halves.stderrs[0]


def test_standard_errors_of_named_winners_are_about_right():
    """A judge whose winners are drawn as the likelihood says, 8 calls a text, skills as spread as the prior says."""
    bias, missed = Bias(), []
    for seed in range(120):
        rng = np.random.default_rng([seed, 2])
        skill = rng.normal(size=8) * 2
        matches = next_round(Plan(kind="random_regular", calls=56), range(8), (), seed=seed)
        odds = [skill[m.first] - skill[m.second] + 0.5 for m in matches]
        told = [
            verdict(m.first, m.second, float(rng.random() < sigmoid(d))) for m, d in zip(matches, odds, strict=True)
        ]
        standing = fitted_standing(8, told, bias=bias)
        bias = learned(bias, [(8, told)])
        truth = [1.5 * (2 * np.mean([sigmoid(a - b) for b in np.delete(skill, i)]) - 1) for i, a in enumerate(skill)]
        missed += ((standing.scores - truth) / standing.stderrs).tolist()
    assert np.std(missed) == pytest.approx(1, abs=0.15)


def test_failed_verdicts_leave_the_fit_as_it_would_be_without_them():
    told = random_regular(6, 18, 0, np.linspace(-1, 1, 6), bias=0.5, noise=0.5)
    failed = [verdict(v.match.second, v.match.first, None, "log_odds") for v in told]
    with_failed, without = fitted_standing(6, told + failed), fitted_standing(6, told)
    np.testing.assert_array_equal(with_failed.scores, without.scores)
    np.testing.assert_array_equal(with_failed.stderrs, without.stderrs)
    assert (with_failed.n_unjudged, without.n_unjudged) == (18, 0)
    assert learned(Bias(), [(6, told + failed)]) == learned(Bias(), [(6, told)])
