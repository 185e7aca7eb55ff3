"""Rewards from a task's own code: a failure is no value, and never a zero."""

from __future__ import annotations

import math

import numpy as np
import pytest

from softgrpo.evaluator import Evaluator
from softgrpo.grpo.training_group import to_training_group
from softgrpo.rewards.extra import extra_part
from tests.fakes.builders import completion, group, prompt, reply, task
from tests.fakes.judges import ScriptedJudge

WEIGHTS = {"answer": 1.0, "strict_format": 0.0, "soft_format": 0.0, "tag_count": 0.0}


def raising(prompt, completion):
    raise RuntimeError("two\nlines")


@pytest.mark.parametrize(
    ("reward", "value", "says"),
    [
        (lambda p, c: len(c.text), 2.0, ""),
        (lambda p, c: np.float32(0.5), 0.5, ""),
        (lambda p, c: True, 1.0, ""),
        (lambda p, c: None, math.nan, "it gave None, no number"),
        (lambda p, c: "0.5", math.nan, "it gave '0.5'"),
        (lambda p, c: float("inf"), math.nan, "it gave inf"),
        (lambda p, c: [1, 2], math.nan, "TypeError"),
        (lambda p: 1.0, math.nan, "TypeError"),
        (raising, math.nan, "RuntimeError: two lines"),
    ],
)
def test_a_number_counts_and_anything_else_is_none(reward, value, says):
    values, wrong = extra_part(reward, prompt(), [completion("ab")])
    assert values == pytest.approx([value], nan_ok=True)
    assert says in wrong
    assert bool(wrong) == math.isnan(value)


def scored(extra, weights):
    from dataclasses import replace

    toy = replace(task(), extra_rewards=extra, extra_weights=weights)
    evaluator = Evaluator(toy, ScriptedJudge(lambda a, b: float(len(a) > len(b))), WEIGHTS)
    (found,) = evaluator.score_groups([group([reply("a"), reply("bb"), reply("ccc")])])
    return evaluator, found


def test_it_is_a_part_by_name_with_its_weight():
    _, plain = scored({}, {})
    _, found = scored({"letters": lambda p, c: c.text.count("c")}, {"letters": 0.5})
    letters = found.reward_parts["letters"]
    assert letters[2] > letters[0] > 0
    assert found.rewards == pytest.approx(plain.rewards + 0.5 * letters)


def test_a_failure_leaves_one_completion_out_and_is_told_once():
    evaluator, found = scored({"odd": lambda p, c: 1 / ("bb" not in c.text)}, {})
    assert np.isnan(found.rewards).tolist() == [False, True, False]
    assert to_training_group(found).trained.tolist() == [True, False, True]
    assert evaluator.complaints == {"odd": "ZeroDivisionError: division by zero"}


def test_without_a_weight_the_code_is_not_run():
    evaluator, found = scored({"odd": raising}, {"odd": 0.0})
    assert "odd" not in found.reward_parts
    assert not evaluator.complaints
