"""From verdicts to scores: the seed's formula, position bias, failures and forfeits."""

from __future__ import annotations

import math
from itertools import combinations

import choix
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgrpo.tournament.outcomes import pair_outcomes, position_bias
from softgrpo.tournament.win_share import WinShare
from tests.fakes.builders import both_orders, verdict
from tests.tournament.held import hard_round_robin, sigmoid, skills, soft_round_robin


def test_four_players_by_hand():
    """0 beats all, 1 beats 2 and 3, 2 beats 3: wins - losses is 3, 1, -1, -3."""
    outcomes = dict.fromkeys(combinations(range(4), 2), 1.0)
    standing = WinShare().standing(4, hard_round_robin(outcomes))
    assert standing.scores == pytest.approx([1.5, 0.5, -0.5, -1.5])
    assert standing.n_opponents.tolist() == [3, 3, 3, 3]
    assert standing.stderrs == pytest.approx([0, 0, 0, 0]), "both orders agree: the judge has no noise"
    assert (standing.n_unjudged, standing.n_forfeits) == (0, 0)


@given(st.integers(2, 9).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.booleans(), min_size=36, max_size=36))))
def test_a_hard_round_robin_gives_the_seeds_reward(drawn):
    n, wins = drawn
    outcomes = {pair: float(w) for pair, w in zip(combinations(range(n), 2), wins, strict=False)}
    won, lost = np.zeros(n), np.zeros(n)
    for (i, j), p in outcomes.items():
        winner, loser = (i, j) if p else (j, i)
        won[winner] += 1
        lost[loser] += 1
    scores = WinShare().standing(n, hard_round_robin(outcomes)).scores
    np.testing.assert_allclose(scores, 1.5 * (won - lost) / (n - 1), atol=1e-12)
    assert scores.sum() == pytest.approx(0, abs=1e-9)


@given(skills, st.floats(-3, 3))
def test_an_additive_position_bias_cancels(skill, bias):
    skill = [s / 2 for s in skill]  # within the clip of probabilities
    fair, biased = (WinShare().standing(len(skill), soft_round_robin(skill, b)) for b in (0.0, bias))
    np.testing.assert_allclose(biased.scores, fair.scores, atol=1e-6)
    assert biased.position_bias == pytest.approx(bias, abs=1e-6)


@pytest.mark.parametrize("how", ["text", "log_odds"])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_a_pair_with_one_failed_order_has_no_outcome_and_is_counted(how, p):
    verdicts = [verdict(0, 1, p, how), verdict(1, 0, None, how), *both_orders(0, 2, 1.0), *both_orders(1, 2, 1.0)]
    assert set(pair_outcomes(verdicts)) == {(0, 2), (1, 2)}
    standing = WinShare().standing(3, verdicts)
    assert standing.n_unjudged == 1
    assert standing.n_opponents.tolist() == [1, 1, 2]
    assert standing.scores == pytest.approx([1.5, 1.5, -1.5]), "the missing pair is neither a tie nor a loss"


def test_too_few_opponents_leave_a_player_without_a_score():
    verdicts = [*both_orders(0, 1, 1.0), *both_orders(0, 2, 1.0), verdict(0, 3, None), verdict(1, 2, None)]
    verdicts += [verdict(1, 3, None), verdict(2, 3, None)]
    standing = WinShare().standing(4, verdicts)
    assert standing.scores == pytest.approx([1.5, np.nan, np.nan, np.nan], nan_ok=True)
    assert standing.n_opponents.tolist() == [2, 1, 1, 0]
    assert WinShare(min_share=0.3).standing(4, verdicts).scores == pytest.approx([1.5, -1.5, -1.5, np.nan], nan_ok=True)


def test_when_every_judgement_failed_nobody_has_a_score():
    standing = WinShare().standing(3, [verdict(i, j, None) for i in range(3) for j in range(3) if i != j])
    assert np.isnan(standing.scores).all()
    assert np.isnan(standing.stderrs).all()
    assert math.isnan(standing.position_bias)
    assert standing.n_unjudged == 6


def test_forfeits_score_as_results_and_are_counted_by_text():
    """0 shows something, 1 and 2 do not: 0 wins twice, they meet at a half."""
    verdicts = [verdict(0, 1, 1.0, "forfeit"), verdict(0, 2, 1.0, "forfeit"), verdict(1, 2, 0.5, "forfeit")]
    standing = WinShare().standing(3, verdicts)
    assert standing.scores == pytest.approx([1.5, -0.75, -0.75])
    assert standing.n_forfeits == 2
    assert standing.n_unjudged == 0
    assert math.isnan(standing.position_bias), "a forfeit says nothing of the judge"


def test_position_bias_of_a_judge_that_always_takes_the_first():
    verdicts = [verdict(0, 1, 1.0), verdict(1, 0, 1.0)]
    assert position_bias(verdicts) == pytest.approx(math.log(999))
    assert WinShare().standing(2, verdicts).scores == pytest.approx([0.0, 0.0])


@given(skills)
def test_better_skill_never_ranks_lower(skill):
    scores = WinShare().standing(len(skill), soft_round_robin(skill)).scores
    for i, j in combinations(range(len(skill)), 2):
        if skill[i] > skill[j]:
            assert scores[i] >= scores[j] - 1e-9


@given(skills, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(skill, random):
    verdicts = soft_round_robin(skill, bias=0.7)
    shuffled = random.sample(verdicts, len(verdicts))
    np.testing.assert_allclose(
        WinShare().standing(len(skill), shuffled).scores, WinShare().standing(len(skill), verdicts).scores, atol=1e-12
    )


def test_negating_every_verdict_negates_the_scores():
    verdicts = soft_round_robin([0.3, -0.2, 1.0])
    flipped = [verdict(v.match.second, v.match.first, v.p_first, v.how) for v in verdicts]
    np.testing.assert_allclose(
        WinShare().standing(3, flipped).scores, -WinShare().standing(3, verdicts).scores, atol=1e-12
    )


@pytest.mark.parametrize("seed", range(5))
def test_win_shares_rank_a_hard_round_robin_as_bradley_terry_does(seed):
    """In a full round robin the likelihood's order is that of the wins (Zermelo, 1929); `choix` fits it."""
    rng = np.random.default_rng(seed)
    n, true = 8, rng.normal(size=8)
    outcomes = {(i, j): float(rng.random() < sigmoid(true[i] - true[j])) for i, j in combinations(range(n), 2)}
    fitted = choix.opt_pairwise(n, [(i, j) if p else (j, i) for (i, j), p in outcomes.items()], alpha=0.1)
    scores = WinShare().standing(n, hard_round_robin(outcomes)).scores
    for i, j in combinations(range(n), 2):
        if scores[i] == pytest.approx(scores[j]):
            assert fitted[i] == pytest.approx(fitted[j], abs=1e-3)
        else:
            assert (scores[i] > scores[j]) == (fitted[i] > fitted[j])
