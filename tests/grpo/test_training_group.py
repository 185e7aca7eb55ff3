"""What a scored group teaches, and what is left out of the loss."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from softgrpo.grpo.advantages import advantages
from softgrpo.grpo.training_group import n_trained_tokens, to_training_group, trained, unweighted, weighted
from softgrpo.records import Completion, ScoredGroup
from tests.fakes.builders import completion, group


def scored(rewards, completions=None):
    completions = completions or [completion("x")] * len(rewards)
    return ScoredGroup(
        group=group(completions), verdicts=(), standings={}, reward_parts={}, rewards=np.array(rewards, float)
    )


def test_all_with_a_reward_are_trained_on_their_advantage():
    found = to_training_group(scored([2.0, 0.0, 1.0]))
    assert found.trained.tolist() == [True] * 3
    assert found.advantages == pytest.approx(advantages(np.array([2.0, 0.0, 1.0])))
    assert not found.flat
    assert to_training_group(scored([2.0, 0.0]), scale_advantages=False).advantages.tolist() == [1.0, -1.0]


def test_a_completion_without_a_reward_is_left_out():
    found = to_training_group(scored([2.0, np.nan, 0.0]))
    assert found.trained.tolist() == [True, False, True]
    assert np.isnan(found.advantages[1])


@pytest.mark.parametrize("rewards", [[1.0, 1.0, 1.0], [np.nan, 1.0, np.nan], [np.nan] * 3])
def test_a_group_with_nothing_to_compare_is_flat(rewards):
    found = to_training_group(scored(rewards))
    assert found.flat
    assert not found.trained.any()


def test_completions_cut_off_stay_unless_asked_otherwise():
    cut = completion("x", finish_reason="length")
    group = scored([2.0, 0.0, 1.0], [cut, completion("x"), completion("x")])
    assert to_training_group(group).trained.tolist() == [True, True, True]
    masked = to_training_group(group, mask_truncated=True)
    assert masked.trained.tolist() == [False, True, True]
    assert masked.advantages == pytest.approx(to_training_group(group).advantages), (
        "its reward still counts in the group's mean"
    )


def test_a_completion_without_tokens_cannot_be_trained():
    found = to_training_group(scored([2.0, 0.0], [completion("", n_tokens=0), completion("x")]))
    assert found.trained.tolist() == [False, True]
    assert not found.flat


def test_it_keeps_the_rewards_beside_the_advantages():
    found = to_training_group(scored([2.0, 0.0]))
    assert found.scored.rewards.tolist() == [2.0, 0.0]


def chosen(*mask: bool) -> Completion:
    """A completion with a loss mask; no log-probability where it is False."""
    values = tuple(-float(t) if is_trained else math.nan for t, is_trained in enumerate(mask))
    return dataclasses.replace(completion("x", n_tokens=len(mask)), loss_mask=mask, sampling_logprobs=values)


def test_a_completion_of_which_the_policy_chose_no_token_is_left_out():
    """Its reward still counts in the group's mean."""
    found = to_training_group(scored([2.0, 0.0, 1.0], [chosen(False, False), completion("x"), completion("x")]))
    assert found.trained.tolist() == [False, True, True]
    assert found.advantages == pytest.approx(advantages(np.array([2.0, 0.0, 1.0])))
    assert not found.flat


def test_only_trained_tokens_are_counted_and_weighed():
    mixed = [chosen(False, True, True, False), chosen(True), chosen(False, False), chosen(True, True, True)]
    group = to_training_group(scored([2.0, 0.0, 1.0, np.nan], mixed))
    assert trained([group]) == mixed[:2]
    assert n_trained_tokens(trained([group])) == 3
    (rows,) = weighted([group], "grpo", max_completion_length=8).values()
    assert [row.weight for row in rows] == [1 / 4, 1 / 2]
    assert [row.sampling_logprobs for row in rows] == [[-1.0, -2.0], [0.0]]
    (rows,) = weighted([group], "dapo", max_completion_length=8).values()
    assert [row.weight for row in rows] == [1 / 3, 1 / 3]


def test_unweighted_are_all_of_which_the_policy_chose_a_token():
    mixed = [chosen(False, True), chosen(False, False), chosen(True)]
    (rows,) = unweighted([to_training_group(scored([np.nan, 1.0, 2.0], mixed))]).values()
    assert [row.completion for row in rows] == [mixed[0], mixed[2]]
    assert {row.weight for row in rows} == {0.0}
    assert unweighted([to_training_group(scored([1.0, 2.0], [chosen(False)] * 2))]) == {}


def test_groups_of_one_prompt_are_rows_of_one_prompt():
    groups = [to_training_group(scored([2.0, 0.0])), to_training_group(scored([0.0, 1.0, 3.0]))]
    found = weighted(groups, "grpo", max_completion_length=8)
    assert {prompt: len(rows) for prompt, rows in found.items()} == {(7, 8): 5}
    assert sum(row.weight * len(row.sampling_logprobs) for rows in found.values() for row in rows) == pytest.approx(1)
