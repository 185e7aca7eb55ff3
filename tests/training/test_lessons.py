"""What a scored group teaches, and what is left out of the loss."""

from __future__ import annotations

import numpy as np
import pytest

from softgrpo.grpo.advantages import advantages
from softgrpo.records import ScoredGroup
from softgrpo.training.lessons import lesson
from tests.fakes.builders import completion, group


def scored(rewards, completions=None):
    completions = completions or [completion("x")] * len(rewards)
    return ScoredGroup(
        group=group(completions), verdicts=(), standings={}, reward_parts={}, rewards=np.array(rewards, float)
    )


def test_all_with_a_reward_are_trained_on_their_advantage():
    found = lesson(scored([2.0, 0.0, 1.0]))
    assert found.trained.tolist() == [True] * 3
    assert found.advantages == pytest.approx(advantages(np.array([2.0, 0.0, 1.0])))
    assert not found.flat
    assert lesson(scored([2.0, 0.0]), scale_advantages=False).advantages.tolist() == [1.0, -1.0]


def test_a_completion_without_a_reward_is_left_out():
    found = lesson(scored([2.0, np.nan, 0.0]))
    assert found.trained.tolist() == [True, False, True]
    assert np.isnan(found.advantages[1])


@pytest.mark.parametrize("rewards", [[1.0, 1.0, 1.0], [np.nan, 1.0, np.nan], [np.nan] * 3])
def test_a_group_with_nothing_to_compare_is_flat(rewards):
    found = lesson(scored(rewards))
    assert found.flat
    assert not found.trained.any()


def test_completions_cut_off_stay_unless_asked_otherwise():
    cut = completion("x", finish_reason="length")
    group = scored([2.0, 0.0, 1.0], [cut, completion("x"), completion("x")])
    assert lesson(group).trained.tolist() == [True, True, True]
    masked = lesson(group, mask_truncated=True)
    assert masked.trained.tolist() == [False, True, True]
    assert masked.advantages == pytest.approx(lesson(group).advantages), "its reward still counts in the group's mean"


def test_a_completion_without_tokens_cannot_be_trained():
    found = lesson(scored([2.0, 0.0], [completion("", n_tokens=0), completion("x")]))
    assert found.trained.tolist() == [False, True]
    assert not found.flat


def test_a_lesson_keeps_the_rewards_beside_the_advantages():
    found = lesson(scored([2.0, 0.0]))
    assert found.scored.rewards.tolist() == [2.0, 0.0]
