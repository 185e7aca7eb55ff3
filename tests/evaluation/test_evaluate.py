"""`softgrpo evaluate`, with a run and without: where results go, what is generated, and what is refused."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import yaml

from softgrpo.cli import run
from softgrpo.files import read_lines
from softgrpo.models.huggingface import HuggingFaceModel
from tests.training.runs import PREFILL, flags

TASK = {
    "system": {"reasoning": "why", "answer": "one tagline"},
    "question": "Product: {product}",
    "prompts": {"train": ["w1", "w2", "w3"], "test": ["w4", "w5", "w6", "w7"]},
    "criteria": "Which sells more?",
}


@pytest.fixture
def asked(monkeypatch):
    """How many chats were answered, by each call of a local model."""
    calls = []
    real = HuggingFaceModel.generate

    def generate(self, chats, sampling):
        calls.append(len(chats))
        return real(self, chats, sampling)

    monkeypatch.setattr(HuggingFaceModel, "generate", generate)
    return calls


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to be in, with a task."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(TASK))
    (tmp_path / "mine.txt").write_text("w8\nw9\nw1\n")
    return tmp_path


def same_letters(model, judge, **more):
    words = dict(
        model_name=model,
        compare_model_name=judge,
        judge_model_name=judge,
        dataset_name="t.yaml",
        prefill=PREFILL,
        max_completion_length=16,
        dtype="float32",
        device="cpu",
    )
    return [str(w) for name, value in (words | more).items() if value is not None for w in (f"--{name}", value)]


def results(folder):
    return sorted(folder.rglob("step_*.json"))


def pairs(path):
    return read_lines(path.with_name(path.name.removesuffix(".json") + ".pairs.jsonl"))


def test_two_models_without_a_run(here, tiny_folder, tiny_judge_folder, asked, capsys):
    assert run("evaluate", same_letters(tiny_folder, tiny_judge_folder, output_dir="out")) == 0
    assert asked == [4, 4]
    (path,) = results(here / "out")
    assert path.relative_to(here / "out").parts[0] == "t"
    found = json.loads(path.read_text())
    assert (found["n_prompts"], found["model"], found["opponent"]) == (4, str(tiny_folder), str(tiny_judge_folder))
    assert f"wrote {path.relative_to(here)}" in capsys.readouterr().out
    # another judge reads the same texts
    again = same_letters(tiny_folder, tiny_judge_folder, output_dir="out", judge_model_name=tiny_folder)
    assert run("evaluate", again) == 0
    assert asked == [4, 4]
    first, second = (pairs(p) for p in results(here / "out"))
    assert len(first) == 4
    assert [line["ours"] for line in first] == [line["ours"] for line in second]
    assert sorted(p.name for p in (here / "out").iterdir()) == ["t"], "nothing of a run"


def test_own_prompts_without_a_run(here, tiny_folder, tiny_judge_folder, asked):
    arguments = same_letters(tiny_folder, tiny_judge_folder, prompts="mine.txt")
    assert run("evaluate", arguments) == 0
    (path,) = results(here / "evaluations" / "t" / "mine")
    assert {line["subject"] for line in pairs(path)} == {"w8", "w9", "w1"}
    (here / "mine.txt").write_text("w8\nw10\n")
    assert run("evaluate", [*arguments, "--eval_prompts", "2"]) == 0
    assert asked == [3, 3, 1, 1], "only what was never answered"


def test_what_was_said_by_other_weights_or_asked_otherwise_is_not_taken(here, tiny_folder, tiny_judge_folder, asked):
    model = here / "model"
    shutil.copytree(tiny_folder, model)
    arguments = same_letters(model, tiny_judge_folder)
    assert run("evaluate", arguments) == 0
    os.utime(model / "model.safetensors", (1, 1))
    assert run("evaluate", arguments) == 0
    assert asked == [4, 4, 4]
    (here / "t.yaml").write_text(yaml.safe_dump({**TASK, "system": {"reasoning": "w1", "answer": "w2"}}))
    assert run("evaluate", arguments) == 0
    assert asked == [4] * 5


@pytest.fixture
def finished(here, tiny_folder, tiny_judge_folder):
    """A finished run on the task."""
    options = dict(dataset_name="t.yaml", num_train_iters=1, gradient_accumulation_steps=1)
    assert run("train", flags("run", tiny_folder, tiny_judge_folder, **options)) == 0
    return here / "run"


def test_a_runs_model_on_own_prompts_leaves_the_runs_curve_alone(
    finished, tiny_folder, tiny_judge_folder, asked, capsys
):
    before = {p: p.read_bytes() for p in results(finished / "evaluations")}
    own = ["--run", "run", "--prompts", "mine.txt"]
    assert run("evaluate", own) == 0
    assert asked == [3, 3]
    assert "warning: 1 of the 3 prompts" in capsys.readouterr().out
    assert run("evaluate", [*own, "--judge_model_name", str(tiny_folder)]) == 0
    assert asked == [3, 3], "another judge reads the same texts"
    found = results(finished / "evaluations" / "mine")
    assert len(found) == 2
    assert json.loads(found[0].read_text())["model"] == "final"
    assert {p: p.read_bytes() for p in (finished / "evaluations").glob("step_*.json")} == before
    assert run("evaluate", ["--run", "run", "--checkpoint", "base", "--output_dir", "aside"]) == 0
    assert asked == [3, 3], "the run's own evaluations have them"
    assert [p.parent.name for p in results(finished.parent / "aside")] == ["aside"]
    assert run("evaluate", ["--run", "run", "--compare_model_name", str(tiny_judge_folder)]) == 0
    assert asked == [3, 3, 4]
    assert len(list((finished / "evaluations").glob("against_*"))) == 1


def test_a_task_that_has_changed_is_refused_with_what_to_do(finished, tiny_folder, tiny_judge_folder, capsys):
    options = dict(dataset_name="t.yaml", num_train_iters=1, gradient_accumulation_steps=1)
    arguments = [*flags("run", tiny_folder, tiny_judge_folder, **options), "--resume"]
    page = finished.parent / "t.yaml"
    page.write_text(yaml.safe_dump({**TASK, "criteria": "Which is longer?"}))
    (finished / "finished").unlink()
    capsys.readouterr()
    assert run("train", arguments) == 2
    error = capsys.readouterr().err
    assert "the task 't' is not what it was" in error
    assert "choose another --output_dir" in error
    assert error.count("\n") == 1
    assert run("evaluate", ["--run", "run"]) == 2
    assert "--model_name run/final" in capsys.readouterr().err
    page.unlink()
    assert run("evaluate", ["--run", "run"]) == 2
    assert "t.yaml: there is no such file" in capsys.readouterr().err
    moved = finished.parent / "moved.yaml"
    moved.write_text(yaml.safe_dump({**TASK, "name": "t"}))
    assert run("evaluate", ["--run", "run", "--dataset_name", "moved.yaml"]) == 0
    page.write_text(yaml.safe_dump(TASK))
    assert run("train", arguments) == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--model_name M", "--compare_model_name must be given too"),
        ("--model_name M --compare_model_name M", "--judge_model_name must be given too"),
        ("--model_name M --run run", "--run run and --model_name"),
        ("--model_name M --checkpoint step-2", "--checkpoint step-2"),
        ("ALL --dataset_name poems", "unknown dataset 'poems'"),
        ("ALL --eval_prompts 9", "--eval_prompts 9: t.yaml has 4 held-out prompts; give --eval_prompts 4"),
        ("ALL --prompts nowhere.txt", "--prompts nowhere.txt: there is no such file"),
        ("ALL --prompts mine.txt --eval_prompts 4", "--eval_prompts 4: mine.txt has 3 prompts"),
        ("ALL --num_shots 1", "--num_shots 1: t has 0 worked examples"),
        ("ALL --output_dir t.yaml", "--output_dir t.yaml: is a file"),
        ("ALL --model_name ./nowhere", "'./nowhere' does not exist"),
        ("ALL --device abacus", "--device abacus"),
        ("--run nowhere", "--run nowhere: holds no run"),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(here, tiny_folder, asked, capsys, words, says):
    every = "--model_name M --compare_model_name M --judge_model_name M --dataset_name t.yaml"
    before = sorted(here.iterdir())
    assert run("evaluate", words.replace("ALL", every).replace(" M", f" {tiny_folder}").split()) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert sorted(here.iterdir()) == before
    assert asked == []


def test_a_run_has_its_own_settings(finished, capsys):
    assert run("evaluate", ["--run", "run", "--eval_temperature", "0.1"]) == 2
    assert "--eval_temperature 0.1: a run has its own" in capsys.readouterr().err
