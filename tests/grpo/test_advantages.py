"""Group advantages: numbers by hand, then what holds for any rewards."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from softgrpo.grpo.advantages import advantages, is_flat, reliability
from softgrpo.tournament.bias import Bias, learned
from softgrpo.tournament.rating import rate
from softgrpo.tournament.schedule import Plan, next_round
from tests.fakes.builders import verdict

rewards = st.lists(st.floats(-5, 5), min_size=2, max_size=16).map(np.array)


def test_two_and_zero():
    """Mean 1, standard deviation sqrt(2) with one degree of freedom less."""
    assert advantages(np.array([2.0, 0.0])) == pytest.approx([1 / (math.sqrt(2) + 1e-4), -1 / (math.sqrt(2) + 1e-4)])
    assert advantages(np.array([2.0, 0.0]), scale=False).tolist() == [1.0, -1.0]


def test_a_completion_without_a_reward_changes_nothing_for_the_others():
    with_hole = advantages(np.array([2.0, np.nan, 0.0, 1.0]))
    assert with_hole[[0, 2, 3]] == pytest.approx(advantages(np.array([2.0, 0.0, 1.0])))
    assert np.isnan(with_hole[1])


@pytest.mark.parametrize(
    "values",
    [[1.0, 1.0, 1.0], [0.1 + 0.2, 0.3], [np.nan, 2.0], [np.nan, np.nan]],
    ids=["equal", "rounding", "one", "none"],
)
def test_a_group_with_nothing_to_compare_is_flat_and_teaches_nothing(values):
    found = advantages(np.array(values))
    assert is_flat(np.array(values))
    assert np.array_equal(np.isnan(found), np.isnan(values))
    assert not found[np.isfinite(found)].any()


@given(rewards, st.booleans())
def test_advantages_sum_to_zero_and_keep_the_order(values, scale):
    found = advantages(values, scale=scale)
    assert found.sum() == pytest.approx(0, abs=1e-6 * max(1, np.abs(found).max()))
    assert (np.diff(found[np.argsort(values)]) >= -1e-9).all()


@given(rewards, st.floats(-100, 100))
def test_a_constant_added_to_all_rewards_does_not_matter(values, constant):
    assume(np.ptp(values) > 1e-3)
    np.testing.assert_allclose(advantages(values + constant), advantages(values), atol=1e-6)


@given(rewards, st.floats(0.5, 50))
def test_scaled_advantages_hardly_depend_on_the_rewards_scale(values, factor):
    assume(np.ptp(values) > 0.5)
    np.testing.assert_allclose(advantages(values * factor), advantages(values), rtol=2e-3, atol=1e-9)


def test_the_rewards_keep_their_values():
    values = np.array([1.0, 2.0])
    advantages(values)
    assert values.tolist() == [1.0, 2.0]


def test_reliability_by_hand():
    """Rewards of variance 1, of which three times 0.3 squared over 2 are noise; then 0.25 and 0.01 over 1."""
    values = np.array([1.0, 0.0, -1.0])
    assert reliability(values, np.array([0.3, 0.3, 0.3])) == pytest.approx(1 - 0.135)
    assert reliability(values, np.array([0.5, 0.1, np.nan])) == pytest.approx(1 - 0.26 / 0.5), (
        "of the two that are known"
    )
    assert reliability(values, np.zeros(3)) == 1
    assert reliability(values, np.full(3, 2.0)) == 0


def test_where_no_error_is_known_nothing_is_shrunk():
    values = np.array([1.0, 0.0, -1.0])
    assert reliability(values, np.full(3, np.nan)) == 1
    np.testing.assert_array_equal(advantages(values, stderrs_G=np.full(3, np.nan)), advantages(values))


@pytest.mark.parametrize("scale", [True, False])
def test_shrinking_multiplies_all_advantages_by_the_reliability(scale):
    values, stderrs = np.array([1.0, 0.0, np.nan, -1.0]), np.array([0.5, 0.5, np.nan, 0.5])
    found = advantages(values, scale=scale, stderrs_G=stderrs)
    np.testing.assert_allclose(found, (1 - 0.375) * advantages(values, scale=scale))
    assert np.isnan(found[2])


@given(rewards, st.floats(0, 10))
def test_reliability_is_a_share_and_falls_with_the_error(values, stderr):
    less, more = (reliability(values, np.full(len(values), s)) for s in (stderr, stderr + 0.5))
    assert 0 <= more <= less <= 1


def test_noise_alone_moves_nothing_much():
    """Rewards that are nothing but noise of the size that their errors name."""
    rng = np.random.default_rng(0)
    noise = [rng.normal(size=16) * 0.3 for _ in range(400)]
    found = [reliability(values, np.full(16, 0.3)) for values in noise]
    assert np.median(found) < 0.1
    assert np.mean(found) < 0.2
    assert reliability(rng.normal(size=16) * 3, np.full(16, 0.3)) > 0.95


def test_equal_rewards_stay_flat_whatever_their_errors():
    assert advantages(np.array([0.2, 0.2]), stderrs_G=np.array([0.0, 0.1])).tolist() == [0, 0]
    assert reliability(np.array([0.2, 0.2]), np.array([0.0, 0.1])) == 0


def of_a_judge(spread, noise, *, groups=40):
    """[groups] reliability of fitted tournaments over texts of such a spread, and their squared correlation with it."""
    bias, shares, recovered = Bias(), [], []
    for seed in range(groups):
        rng = np.random.default_rng([seed, 3])
        skill = rng.normal(size=12) * spread
        told = []
        for m in next_round(Plan(kind="random_regular", calls=48), range(12), (), seed=seed):
            odds = skill[m.first] - skill[m.second] + 1.0 + noise * rng.normal()
            told.append(verdict(m.first, m.second, 1 / (1 + math.exp(-odds)), "log_odds"))
        standing = rate(12, told, rating="bradley_terry", bias=bias)
        bias = learned(bias, [(12, told)])
        shares.append(reliability(standing.scores, standing.stderrs))
        recovered.append(np.corrcoef(standing.scores, skill)[0, 1] ** 2 if spread else 0.0)
    return np.array(shares), np.array(recovered)


def test_a_judge_that_guesses_moves_next_to_nothing_and_a_sure_one_everything():
    guessing, _ = of_a_judge(0.0, 3.0)
    sure, _ = of_a_judge(1.0, 0.1)
    assert np.median(guessing) == 0
    assert guessing.mean() < 0.1
    assert sure.min() > 0.95


def test_reliability_is_the_share_of_the_truth_in_the_scores():
    """Of a judge in between: near the squared correlation of the scores with what they should be."""
    shares, recovered = of_a_judge(1.0, 1.0)
    assert 0.7 < shares.mean() < 0.95
    assert shares.mean() == pytest.approx(recovered.mean(), abs=0.06)
