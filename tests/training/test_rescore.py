"""Rewards of a recorded run under another rule: the same rule gives the same rewards, to the last bit."""

from __future__ import annotations

import json

import numpy as np
import pytest
from runs import flags

from softgrpo.cli import main, run
from softgrpo.files import read_lines
from softgrpo.tournament.rule import Rule
from softgrpo.training.rescore import rescored


@pytest.fixture(scope="module", params=["round_robin", "random_regular"])
def folder(request, tmp_path_factory, tiny_folder, tiny_judge_folder):
    """A run whose rewards came from win shares or from a fitted rating."""
    folder = tmp_path_factory.mktemp("rescore") / request.param
    changes = {} if request.param == "round_robin" else {"judge_calls_per_group": 4}
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
