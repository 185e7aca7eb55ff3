"""What is recorded of a step: figures by hand, and enough to compute the rewards again."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import asdict

import numpy as np
import pytest

from softgrpo import files
from softgrpo.evaluator import Evaluator
from softgrpo.grpo.training_group import to_training_group
from softgrpo.records import Match, Mismatch, UpdateReport, Verdict
from softgrpo.reporting.measure import group_lines, step_metrics
from softgrpo.rewards.compose import compose
from softgrpo.tournament.win_share import WinShare
from tests.fakes.builders import completion, group, reply, task
from tests.fakes.judges import failing, prefers_first, skill_judge

WEIGHTS = {"answer": 1.0, "strict_format": 0.5, "soft_format": 0.5, "tag_count": 1.0}
MISMATCH = Mismatch(mismatch_abs=0.01, mismatch_k3=0.02, bounded_share=0.03)
TIMES = {"sample": 2.0, "judge": 1.0}


def training_groups(judge, *groups):
    scored = Evaluator(task(), judge, WEIGHTS).score_groups([group(texts, id=str(i)) for i, texts in enumerate(groups)])
    return [to_training_group(s) for s in scored]


def metrics(found, update=None):
    return step_metrics(7, found, update, TIMES, 3.5)


def test_figures_of_a_step_by_hand():
    """One group: a winner in form, a loser in form that was cut off, and a forfeit."""
    texts = [reply("good"), completion(reply("weak"), "length", n_tokens=9), "no tags"]
    found = metrics(training_groups(skill_judge({"good": 1, "weak": 0}, hard=True), texts))
    assert found["step"] == 7
    assert found["answer_mean"] == pytest.approx(0)
    assert found["answer_std"] == pytest.approx(np.std([1.5, 0, -1.5]))
    assert found["strict_format_mean"] == pytest.approx(2 / 3)
    assert found["tag_count_mean"] == pytest.approx(1 / 3)
    assert found["reward_mean"] == pytest.approx((1.5 + 1.5 + 0 + 1.5 - 1.5 + 0) / 3)
    assert found["length_mean"] == 5
    assert found["sampled_logprob_mean"] == -1
    assert found["entropy"] == 1
    assert found["sampled_tokens_per_second"] == 7.5
    assert (found["n_completions"], found["n_truncated"], found["n_forfeits"]) == (3, 1, 1)
    assert (found["n_unjudged"], found["n_left_out"], found["n_flat_groups"]) == (0, 0, 0)
    assert (found["time_sample"], found["time_judge"], found["time_step"]) == (2.0, 1.0, 3.5)
    assert found["peak_rss"] > 1 << 20
    assert "loss" not in found, "no update, no figures of one"


def test_spreads_are_within_groups_and_means_over_all():
    found = metrics(training_groups(skill_judge({"a": 1, "b": 0}, hard=True), [reply("a"), reply("b")], ["x", "y"]))
    assert found["answer_std"] == pytest.approx((1.5 + 0) / 2)
    assert found["strict_format_mean"] == 0.5
    assert found["strict_format_std"] == 0, "groups differ, completions within a group do not"
    assert found["n_flat_groups"] == 1


def test_the_figures_of_an_update_stand_beside():
    update = UpdateReport(
        update=2,
        learning_rate=1e-6,
        loss=0.1,
        kl=0.2,
        clip_share=0,
        grad_norm=1.5,
        n_trained=2,
        n_tokens=6,
        **asdict(MISMATCH),
    )
    found = metrics(training_groups(prefers_first(), [reply("a"), reply("b")]), update)
    assert (found["update"], found["kl"], found["grad_norm"], found["skipped"]) == (2, 0.2, 1.5, "")
    assert (found["mismatch_abs"], found["mismatch_k3"], found["bounded_share"]) == (0.01, 0.02, 0.03)
    assert found["position_bias"] == pytest.approx(math.log(999))


def test_without_an_update_the_mismatch_stands_alone():
    found = metrics(training_groups(prefers_first(), [reply("a"), reply("b")]), MISMATCH)
    assert (found["mismatch_abs"], found["mismatch_k3"], found["bounded_share"]) == (0.01, 0.02, 0.03)
    assert "loss" not in found


def test_a_step_on_which_every_judgement_failed_is_recorded_quietly():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = metrics(training_groups(failing(), [reply("a"), reply("b")]))
    assert math.isnan(found["reward_mean"])
    assert (found["n_unjudged"], found["n_left_out"], found["n_flat_groups"]) == (2, 2, 1)
    json.loads(files.line(found), parse_constant=pytest.fail)


def test_the_groups_lines_hold_what_it_takes_to_compute_the_rewards_again():
    judge = failing(on=lambda a, b: (a, b) == ("aa", "a"))
    found = training_groups(judge, [reply("a"), reply("aa"), reply("aaa"), "no tags"])
    (line,) = (json.loads(files.line(x)) for x in group_lines(found))
    verdicts = [
        Verdict(match=Match(first=v["first"], second=v["second"]), p_first=v["p_first"], how=v["how"])
        for v in line["verdicts"]
    ]
    parts = {name: np.array([c["reward_parts"][name] for c in line["completions"]]) for name in WEIGHTS}
    assert WinShare().standing(4, verdicts).scores == pytest.approx(parts["answer"])
    assert compose(parts, WEIGHTS) == pytest.approx([c["reward"] for c in line["completions"]])
    assert [c["advantage"] for c in line["completions"]] == pytest.approx(found[0].advantages)
    assert [c["text"] for c in line["completions"]][3] == "no tags"
    assert all(c["trained"] for c in line["completions"])
    assert [v["failure"] for v in line["verdicts"] if v["p_first"] is None] == ["the script fails here"]
    assert line["prompt_id"] == "0"
    assert line["messages"] == [{"role": "user", "content": "Go."}]


def test_what_has_no_value_is_null_in_the_lines():
    (line,) = (json.loads(files.line(x)) for x in group_lines(training_groups(failing(), [reply("a"), reply("b")])))
    assert [c["reward"] for c in line["completions"]] == [None, None]
    assert [c["advantage"] for c in line["completions"]] == [None, None]
    assert not any(c["trained"] for c in line["completions"])
