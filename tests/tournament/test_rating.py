"""From verdicts to scores: the seed's formula, position bias, failures and forfeits."""

from __future__ import annotations

import math
from itertools import combinations, permutations

import choix
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgrpo.tournament.rating import (
    Bias,
    cyclic_triads,
    learned,
    pair_outcomes,
    position_bias,
    rate,
    win_shares,
)
from softgrpo.tournament.schedule import Plan, next_round
from tests.fakes.builders import both_orders, verdict

sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
skills = st.lists(st.floats(-2, 2), min_size=2, max_size=8)


def hard_round_robin(winner_of):
    """Verdicts in both orders of a tournament given as {(i, j): p of i}."""
    return [v for (i, j), p in winner_of.items() for v in both_orders(i, j, p)]


def soft_round_robin(skill, bias=0.0):
    return [
        verdict(i, j, sigmoid(skill[i] - skill[j] + bias), "log_odds")
        for i in range(len(skill))
        for j in range(len(skill))
        if i != j
    ]


def test_four_players_by_hand():
    """0 beats all, 1 beats 2 and 3, 2 beats 3: wins - losses is 3, 1, -1, -3."""
    outcomes = dict.fromkeys(combinations(range(4), 2), 1.0)
    standing = win_shares(4, hard_round_robin(outcomes))
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
    scores = win_shares(n, hard_round_robin(outcomes)).scores
    np.testing.assert_allclose(scores, 1.5 * (won - lost) / (n - 1), atol=1e-12)
    assert scores.sum() == pytest.approx(0, abs=1e-9)


@given(skills, st.floats(-3, 3))
def test_an_additive_position_bias_cancels(skill, bias):
    skill = [s / 2 for s in skill]  # within the clip of probabilities
    fair, biased = (win_shares(len(skill), soft_round_robin(skill, b)) for b in (0.0, bias))
    np.testing.assert_allclose(biased.scores, fair.scores, atol=1e-6)
    assert biased.position_bias == pytest.approx(bias, abs=1e-6)


def test_soft_orders_combine_in_log_odds_hard_ones_average():
    """d1 = logit 0.9 when 0 is read first; read second it still wins with 0.6: sigmoid((d1 + logit 0.6) / 2)."""
    expected = sigmoid((math.log(9) + math.log(1.5)) / 2)
    soft = [verdict(0, 1, 0.9, "log_odds"), verdict(1, 0, 0.4, "log_odds")]
    assert pair_outcomes(soft)[0, 1] == pytest.approx(expected)
    assert expected != pytest.approx(0.75, abs=0.01), "the plain average would shrink towards a half"
    assert pair_outcomes([verdict(0, 1, 1.0), verdict(1, 0, 1.0)]) == {(0, 1): 0.5}
    assert pair_outcomes([verdict(0, 1, 1.0), verdict(1, 0, 0.5)]) == {(0, 1): 0.75}


@pytest.mark.parametrize("how", ["log_odds", "scores"])
def test_soft_probabilities_are_clipped_so_that_no_verdict_is_infinite(how):
    assert pair_outcomes([verdict(0, 1, 1.0, how)]) == {(0, 1): pytest.approx(0.999)}
    assert pair_outcomes([verdict(0, 1, 0.0, how)]) == {(0, 1): pytest.approx(0.001)}
    assert pair_outcomes([verdict(0, 1, 1.0, how), verdict(1, 0, 1.0, how)]) == {(0, 1): pytest.approx(0.5)}


@pytest.mark.parametrize("how", ["text", "log_odds"])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_a_pair_with_one_failed_order_has_no_outcome_and_is_counted(how, p):
    verdicts = [verdict(0, 1, p, how), verdict(1, 0, None, how), *both_orders(0, 2, 1.0), *both_orders(1, 2, 1.0)]
    assert set(pair_outcomes(verdicts)) == {(0, 2), (1, 2)}
    standing = win_shares(3, verdicts)
    assert standing.n_unjudged == 1
    assert standing.n_opponents.tolist() == [1, 1, 2]
    assert standing.scores == pytest.approx([1.5, 1.5, -1.5]), "the missing pair is neither a tie nor a loss"


def test_too_few_opponents_leave_a_player_without_a_score():
    verdicts = [*both_orders(0, 1, 1.0), *both_orders(0, 2, 1.0), verdict(0, 3, None), verdict(1, 2, None)]
    verdicts += [verdict(1, 3, None), verdict(2, 3, None)]
    standing = win_shares(4, verdicts)
    assert standing.scores == pytest.approx([1.5, np.nan, np.nan, np.nan], nan_ok=True)
    assert standing.n_opponents.tolist() == [2, 1, 1, 0]
    assert win_shares(4, verdicts, min_share=0.3).scores == pytest.approx([1.5, -1.5, -1.5, np.nan], nan_ok=True)


def test_when_every_judgement_failed_nobody_has_a_score():
    standing = win_shares(3, [verdict(i, j, None) for i in range(3) for j in range(3) if i != j])
    assert np.isnan(standing.scores).all()
    assert np.isnan(standing.stderrs).all()
    assert math.isnan(standing.position_bias)
    assert standing.n_unjudged == 6


def test_forfeits_score_as_results_and_are_counted_by_text():
    """0 shows something, 1 and 2 do not: 0 wins twice, they meet at a half."""
    verdicts = [verdict(0, 1, 1.0, "forfeit"), verdict(0, 2, 1.0, "forfeit"), verdict(1, 2, 0.5, "forfeit")]
    standing = win_shares(3, verdicts)
    assert standing.scores == pytest.approx([1.5, -0.75, -0.75])
    assert standing.n_forfeits == 2
    assert standing.n_unjudged == 0
    assert math.isnan(standing.position_bias), "a forfeit says nothing of the judge"


def test_position_bias_of_a_judge_that_always_takes_the_first():
    verdicts = [verdict(0, 1, 1.0), verdict(1, 0, 1.0)]
    assert position_bias(verdicts) == pytest.approx(math.log(999))
    assert win_shares(2, verdicts).scores == pytest.approx([0.0, 0.0])


def test_position_bias_needs_both_orders():
    assert math.isnan(position_bias([verdict(0, 1, 0.9, "log_odds"), verdict(2, 0, 0.9, "log_odds")]))


@given(skills)
def test_better_skill_never_ranks_lower(skill):
    scores = win_shares(len(skill), soft_round_robin(skill)).scores
    for i, j in combinations(range(len(skill)), 2):
        if skill[i] > skill[j]:
            assert scores[i] >= scores[j] - 1e-9


@given(skills, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(skill, random):
    verdicts = soft_round_robin(skill, bias=0.7)
    shuffled = random.sample(verdicts, len(verdicts))
    np.testing.assert_allclose(
        win_shares(len(skill), shuffled).scores, win_shares(len(skill), verdicts).scores, atol=1e-12
    )


def test_negating_every_verdict_negates_the_scores():
    verdicts = soft_round_robin([0.3, -0.2, 1.0])
    flipped = [verdict(v.match.second, v.match.first, v.p_first, v.how) for v in verdicts]
    np.testing.assert_allclose(win_shares(3, flipped).scores, -win_shares(3, verdicts).scores, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_win_shares_rank_a_hard_round_robin_as_bradley_terry_does(seed):
    """In a full round robin the likelihood's order is that of the wins (Zermelo, 1929); `choix` fits it."""
    rng = np.random.default_rng(seed)
    n, true = 8, rng.normal(size=8)
    outcomes = {(i, j): float(rng.random() < sigmoid(true[i] - true[j])) for i, j in combinations(range(n), 2)}
    fitted = choix.opt_pairwise(n, [(i, j) if p else (j, i) for (i, j), p in outcomes.items()], alpha=0.1)
    scores = win_shares(n, hard_round_robin(outcomes)).scores
    for i, j in combinations(range(n), 2):
        if scores[i] == pytest.approx(scores[j]):
            assert fitted[i] == pytest.approx(fitted[j], abs=1e-3)
        else:
            assert (scores[i] > scores[j]) == (fitted[i] > fitted[j])


def fitted_standing(n, verdicts, **options):
    return rate(n, verdicts, rating="bradley_terry", **options)


def random_regular(n, calls, seed, skill, *, bias=0.0, noise=0.0):
    """Soft verdicts of a judge with a planted bias and noise on random regular pairs."""
    rng = np.random.default_rng(seed)
    matches = next_round(Plan(kind="random_regular", calls=calls), range(n), (), seed=seed, objective="answer")
    odds = [skill[m.first] - skill[m.second] + bias + noise * rng.normal() for m in matches]
    return [verdict(m.first, m.second, sigmoid(d), "log_odds") for m, d in zip(matches, odds, strict=True)]


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
    truth = win_shares(8, soft_round_robin(skill)).scores
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
    fitted, share = fitted_standing(4, verdicts), win_shares(4, verdicts)
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


def test_an_unknown_rating_is_named():
    with pytest.raises(ValueError, match="unknown rating 'elo'; choose from win_share, bradley_terry"):
        rate(2, [], rating="elo")


def test_an_empty_tournament():
    for rating in ("win_share", "bradley_terry"):
        assert np.isnan(rate(2, [], rating=rating).scores).all()
        assert rate(0, [], rating=rating).scores.shape == (0,)


@given(
    st.integers(3, 7).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.sampled_from([0.0, 0.5, 1.0, None]), min_size=21, max_size=21))
    )
)
def test_cyclic_triads_are_those_one_can_list(drawn):
    n, ps = drawn
    outcomes = {pair: p for pair, p in zip(combinations(range(n), 2), ps, strict=False) if p is not None}
    beats = {(i, j) for (i, j), p in outcomes.items() if p == 1} | {(j, i) for (i, j), p in outcomes.items() if p == 0}
    listed = sum({(a, b), (b, c), (c, a)} <= beats for a, b, c in permutations(range(n), 3)) // 3
    verdicts = hard_round_robin(outcomes)
    assert cyclic_triads(verdicts) == listed
    assert win_shares(n, verdicts).n_cyclic_triads == fitted_standing(n, verdicts).n_cyclic_triads == listed


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
