"""Group advantages: numbers by hand, then what holds for any rewards."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from softgrpo.grpo.advantages import advantages, is_flat

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
