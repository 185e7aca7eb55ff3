"""Rewards of a recorded run under another rule: the same rule gives the same rewards, to the last bit."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from softgrpo.cli import main, run
from softgrpo.evaluation.rescore import recorded_task, rescored
from softgrpo.evaluator import FAILED, Evaluator
from softgrpo.files import read_lines, write_json, write_lines
from softgrpo.grpo.training_group import to_training_group
from softgrpo.judges.text_scores import ScoringJudge
from softgrpo.reporting.measure import group_lines
from softgrpo.tournament.rule import Rule
from tests.fakes.builders import completion, reply, task
from tests.fakes.builders import group as group_of
from tests.fakes.judges import skill_judge
from tests.training.runs import flags

FORMLESS = {"strict_format": 0.5, "soft_format": 0.0, "tag_count": 1.0}


@pytest.fixture(scope="module", params=["round_robin", "random_regular"])
def folder(request, tmp_path_factory, tiny_folder, tiny_judge_folder):
    """A run whose rewards came from win shares or from a fitted rating."""
    folder = tmp_path_factory.mktemp("rescore") / request.param
    changes = {"sameness_weight": 0.7} if request.param == "round_robin" else {"judge_calls_per_group": 4}
    asked = flags(folder, tiny_folder, tiny_judge_folder, num_train_iters=4, reasoning_weight=0.5, **changes)
    assert run("train", asked) == 0
    return folder


def recorded(folder):
    return [line for path in sorted((folder / "groups").iterdir()) for line in read_lines(path)]


def test_the_runs_own_rule_gives_the_runs_own_rewards(folder):
    rating = "win_share" if folder.name == "round_robin" else "bradley_terry"
    found = list(rescored(folder, Rule(rating=rating)))
    lines = recorded(folder)
    assert len(found) == len(lines) == 4
    assert ("sameness" in lines[0]["completions"][0]["reward_parts"]) == (rating == "win_share")
    for group, line in zip(found, lines, strict=True):
        assert group.prompt_id == line["prompt_id"]
        np.testing.assert_array_equal(group.rewards, np.array([c["reward"] for c in line["completions"]], float))
        np.testing.assert_array_equal(group.advantages, np.array([c["advantage"] for c in line["completions"]], float))


def test_the_command_writes_beside_the_record_and_leaves_it_alone(folder, capsys):
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert main(["rescore", "--run", str(folder), "--rating", "bradley_terry", "--shrink_advantages"]) == 0
    assert all(path.read_bytes() == content for path, content in before.items())
    summary = json.loads((folder / "rescored" / "bradley_terry_shrunk.json").read_text())
    assert summary["n_groups"] == 4
    assert 0 <= summary["reliability"] <= 1
    assert len(read_lines(folder / "rescored" / "bradley_terry_shrunk.jsonl")) == 4
    assert "correlation with recorded rewards" in capsys.readouterr().out


def test_shrinking_only_shrinks(folder):
    plain, shrunk = (list(rescored(folder, Rule(rating="bradley_terry"), shrink=s)) for s in (False, True))
    for a, b in zip(plain, shrunk, strict=True):
        known = np.isfinite(a.advantages)
        assert (np.abs(b.advantages[known]) <= np.abs(a.advantages[known]) + 1e-12).all()


def test_a_folder_without_a_run_is_one_clear_line(tmp_path, capsys):
    assert main(["rescore", "--run", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err


def written(folder, steps, evaluator, ties=()):
    """What a run would record of these groups."""
    for i, scored in enumerate(steps, 1):
        lines = group_lines([to_training_group(s) for s in scored])
        write_lines(folder / "groups" / f"step_{i:06d}.jsonl", lines)
    task = evaluator.task
    record = {
        "evaluator": {"name": task.name},
        "objectives": {o.name: o.criteria for o in task.objectives},
        "ties": list(ties),
        "weights": evaluator.weights | {"reasoning": 0.5},
    }
    write_json(folder / "task.json", record)


@pytest.mark.parametrize("form", [None, "reasoning_answer"])
def test_the_form_is_the_recorded_one_or_follows_from_the_parts(form):
    kept = {"evaluator": {"name": "t"}, "objectives": {"answer": "c"}}
    parts = {"answer": 1.0} if form is None else {"answer": 1.0, "tag_count": 0.5}
    lines = [{"completions": [{"reward_parts": parts}]}]
    assert recorded_task(kept, lines, {}).format == form, "a run of an earlier version"
    assert recorded_task(kept | {"format": form}, [], {}).format == form


@pytest.mark.parametrize("form", [None, "reasoning_answer"])
def test_parts_that_no_judge_gave_are_as_they_were_recorded(tmp_path, form):
    """The code of an extra reward is not there any more, a text got none, another was not delivered."""
    weights = {"answer": 1.0, "strict_format": 0.5, "soft_format": 0.0, "tag_count": 1.0}
    drawn = iter(range(100))
    counted = lambda prompt, c: None if "weak" in c.text else next(drawn)  # noqa: E731
    toy = replace(task(), format=form, extra_rewards={"drawn": counted}, extra_weights={"drawn": 0.25})
    judge = skill_judge({"weak": 0.0, "good": 1.0, "best": 2.0} | {reply(t): 0.0 for t in ("weak", "good", "best")})
    evaluator = Evaluator(toy, judge, weights)
    lost = completion("", finish_reason=FAILED, n_tokens=0)
    texts = ["good", "weak", "best", "best", lost, ""]
    groups = [group_of([reply(t) if form and isinstance(t, str) else t for t in texts], id=str(i)) for i in range(3)]
    steps = [evaluator.score_groups(groups[:1]), evaluator.score_groups(groups[1:])]
    written(tmp_path, steps, evaluator)
    found = list(rescored(tmp_path, Rule()))
    scored = [s for step in steps for s in step]
    assert [g.step for g in found] == [1, 2, 2]
    for one, other in zip(found, scored, strict=True):
        np.testing.assert_array_equal(one.rewards, other.rewards)
        np.testing.assert_array_equal(one.recorded_rewards, other.rewards)
        np.testing.assert_array_equal(one.advantages, to_training_group(other).advantages)
    assert np.isfinite(scored[0].rewards).tolist() == [True, False, True, True, False, True]
    assert scored[0].rewards[2] != scored[0].rewards[3], "the same text, another draw"


def test_what_answers_have_in_common_is_as_it_was_recorded(tmp_path):
    """The record has no vectors, and ends where a run was cut off."""

    class Lengths:
        def score(self, items):
            return np.array([len(i.text) for i in items], float)

    class Seeing(ScoringJudge):
        def vectors(self, items):
            return np.random.default_rng(len(items)).normal(size=(len(items), 5))

    toy = replace(task(), extra_rewards={"a": lambda p, c: 1 / 3, "z": lambda p, c: 1 / 7})
    evaluator = Evaluator(toy, Seeing("seeing", Lengths()), {"answer": 1.0, "sameness": 0.3, **FORMLESS})
    texts = [reply(f"Free buses{' for all' * i}") for i in range(3)] + ["no tags"]
    steps = [
        evaluator.score_groups([group_of(texts, id=f"{i}{k}", subject=f"{i}{k}") for k in range(2)]) for i in range(20)
    ]
    written(tmp_path, steps, evaluator)
    (tmp_path / "groups" / "step_000001.jsonl").unlink()
    scored = [s for step in steps[1:] for s in step]
    assert len({tuple(s.reward_parts["sameness"]) for s in scored}) > 10
    for one, other in zip(rescored(tmp_path, Rule()), scored, strict=True):
        np.testing.assert_array_equal(one.rewards, other.rewards)
