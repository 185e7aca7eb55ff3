"""Reward parts stay apart by name and come together by weights."""

from __future__ import annotations

import numpy as np
import pytest

from softgrpo.config import TrainConfig
from softgrpo.rewards.compose import FORMAT_PARTS, compose, format_parts
from tests.fakes.builders import reply


def test_the_seeds_reward_of_a_winner_in_perfect_form():
    """1.5 for the tournament, 0.5 strict, 0.5 soft, 0.125 for each of four tags."""
    parts = {"answer": np.array([1.5]), "reasoning": np.array([0.0]), **format_parts([reply("yes")])}
    weights = TrainConfig(reasoning_weight=0.0).weights(judge_is_local=True)
    assert compose(parts, weights) == pytest.approx([1.5 + 0.5 + 0.5 + 0.5])


def test_parts_are_unweighted_and_named():
    parts = format_parts([reply("yes"), "no tags"])
    assert set(parts) == set(FORMAT_PARTS) == {"strict_format", "soft_format", "tag_count"}
    assert parts["strict_format"].tolist() == [1.0, 0.0]
    assert parts["tag_count"].tolist() == [0.5, 0.0]


def test_a_part_without_a_value_leaves_no_reward():
    parts = {"answer": np.array([np.nan, 1.0]), "tag_count": np.array([0.5, 0.5])}
    assert compose(parts, {"answer": 1.0, "tag_count": 1.0}) == pytest.approx([np.nan, 1.5], nan_ok=True)


def test_a_part_that_does_not_count_cannot_spoil_the_rest():
    parts = {"answer": np.array([np.nan, 1.0]), "tag_count": np.array([0.5, 0.5])}
    assert compose(parts, {"answer": 0.0, "tag_count": 2.0}).tolist() == [1.0, 1.0]
    assert compose(parts, {"answer": 0.0, "tag_count": 0.0}).tolist() == [0.0, 0.0]


def test_a_weight_may_be_negative():
    assert compose({"answer": np.array([1.0])}, {"answer": -2.0}).tolist() == [-2.0]


def test_composing_is_linear_in_the_weights():
    rng = np.random.default_rng(0)
    parts = {name: rng.normal(size=5) for name in "abc"}
    one, other = ({name: float(rng.normal()) for name in "abc"} for _ in range(2))
    summed = {name: one[name] + other[name] for name in "abc"}
    np.testing.assert_allclose(compose(parts, summed), compose(parts, one) + compose(parts, other))


def test_composing_does_not_change_the_parts():
    parts = {"answer": np.array([1.0, 2.0])}
    compose(parts, {"answer": 3.0})
    assert parts["answer"].tolist() == [1.0, 2.0]
