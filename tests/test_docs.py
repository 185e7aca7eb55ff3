"""What the docs print is what runs: the YAML as it stands there, the Python variants, every command line."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from softgrpo.cli import COMMANDS, run
from softgrpo.files import read_lines
from softgrpo.flags import parse, parser_for
from softgrpo.tasks import load_task
from softgrpo.tasks.task import faults
from tests.training.runs import PREFILL

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
TINY = (
    "--num_train_iters 2 --num_chains 4 --max_completion_length 24 --gradient_accumulation_steps 1 "
    "--dtype float32 --device cpu --learning_rate 0.003"
)


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def commands():
    text = "".join(blocks("bash")).replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if line.strip()]


@pytest.fixture
def written(tmp_path, monkeypatch):
    """The files that the page tells to write, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    task, chats, reward = blocks("yaml")
    code = blocks("python")
    (tmp_path / "taglines.yaml").write_text(task)
    (tmp_path / "my_rewards.py").write_text(code[0])
    (tmp_path / "my_task.py").write_text(code[1])
    (tmp_path / "with_reward.yaml").write_text(task + reward)
    (tmp_path / "replies.yaml").write_text(chats)
    (tmp_path / "chats.jsonl").write_text("".join(blocks("json")))
    (tmp_path / "my_products.txt").write_text("a teapot for one\nw1 w2\n")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    return tmp_path


def shrunk(argv, model):
    """A training command of the page on a tiny model."""
    roles = [word for role in ("model", "judge_model", "compare_model") for word in (f"--{role}_name", str(model))]
    return [*argv[2:], *roles, "--prefill", PREFILL, *TINY.split()]


def test_the_yaml_task_trains_as_printed(written, tiny_folder, capsys):
    folder = written
    argv = next(c for c in commands() if "taglines.yaml" in c)
    assert run("train", shrunk(argv, tiny_folder)) == 0
    out = folder / "output" / "taglines"
    task = load_task("taglines.yaml")
    assert len(task.train) >= 8
    assert len(task.test) >= 4
    groups = [read_lines(path)[0] for path in (out / "groups").iterdir()]
    assert {g["subject"] for g in groups} <= {q.subject for q in task.train}
    assert json.loads((out / "evaluations" / "opponent.jsonl").read_text().splitlines()[0])["prompt_id"]
    assert "trained on taglines with GRPO" in (out / "final" / "README.md").read_text()
    assert (out / "figures" / "win_rate.png").exists()
    capsys.readouterr()
    assert run("sample", ["--run", "output/taglines", "a teapot for one"]) == 0
    assert capsys.readouterr().out.count("--- trained") == 1
    assert run("evaluate", ["--run", "output/taglines", "--prompts", "my_products.txt"]) == 0
    assert list((out / "evaluations" / "my_products").glob("step_000002.*.json"))


@pytest.mark.parametrize("name", ["with_reward.yaml", "my_task.py"])
def test_the_variants_with_code_train_as_printed(written, tiny_folder, name):
    folder = written
    assert faults(load_task(name)) == []
    argv = next(c for c in commands() if "taglines.yaml" in c)
    argv = shrunk([name if word == "taglines.yaml" else word for word in argv], tiny_folder)
    assert run("train", argv) == 0
    lines = [read_lines(path)[0] for path in (folder / "output" / "taglines" / "groups").iterdir()]
    weights = json.loads((folder / "output" / "taglines" / "task.json").read_text())["weights"]
    assert weights["brevity"] == 0.5
    for completion in (c for line in lines for c in line["completions"]):
        parts = completion["reward_parts"]
        assert parts["brevity"] == -len(completion["text"].split()) / 100
        assert completion["reward"] == pytest.approx(sum(weights[name] * parts[name] for name in parts))
    assert "brevity_mean" in read_lines(folder / "output" / "taglines" / "metrics.jsonl")[0]


def test_the_task_of_chats_trains_as_printed(written, tiny_folder, capsys):
    """Whole replies are judged: no form, no rewards of it, no opening."""
    task = load_task("replies.yaml")
    assert (len(task.train), len(task.test)) == (6, 2)
    argv = shrunk(next(c for c in commands() if "replies.yaml" in c), tiny_folder)
    assert run("train", [*argv, "--prefill", "", "--num_train_iters", "6"]) == 0
    out = written / "output" / "replies"
    groups = [read_lines(path)[0] for path in sorted((out / "groups").iterdir())]
    chats = [g["messages"] for g in groups]
    assert {chat[0]["content"] for chat in chats} == {"You are kind, plain and brief."}
    assert task.prompt(task.test[0]).messages[0]["content"] == "You are a gardener."
    assert {tuple(m["role"] for m in chat) for chat in chats} == {
        ("system", "user"),
        ("system", "user", "assistant", "user"),
    }
    assert {n for g in groups for c in g["completions"] for n in c["reward_parts"]} == {"answer"}
    assert all(c["reward"] == c["reward_parts"]["answer"] for g in groups for c in g["completions"])
    recorded = json.loads((out / "task.json").read_text())
    assert (recorded["format"], recorded["weights"]) == (None, {"answer": 1.0})
    assert not any("format" in name or "tag" in name for line in read_lines(out / "metrics.jsonl") for name in line)
    evaluation = json.loads(next((out / "evaluations").glob("step_000006.*.json")).read_text())
    assert (evaluation["format_adherence"], evaluation["n_forfeits"]) == (None, 0)
    assert "beside format rewards" not in (out / "final" / "README.md").read_text()
    assert "with nothing added" in (out / "final" / "README.md").read_text()
    assert (out / "report.html").exists()
    assert "format" not in capsys.readouterr().out
    assert run("sample", ["--run", "output/replies", "What helps?"]) == 0
    assert capsys.readouterr().out.count("--- trained") == 1
    assert run("evaluate", ["--run", "output/replies", "--prompts", "chats.jsonl"]) == 0
    assert list((out / "evaluations" / "chats").glob("step_000006.*.json"))
    assert run("rescore", ["--run", "output/replies"]) == 0
    assert "largest change of a reward           0.0000" in capsys.readouterr().out


@pytest.mark.parametrize("argv", commands(), ids=" ".join)
def test_every_command_line_parses(written, argv):
    assert argv[0] == "softgrpo"
    cls, description = COMMANDS[argv[1]]
    rest = argv[2:]
    if argv[1] == "sample":
        rest = [*rest[:-1], "--topic", rest[-1]]
    parse(cls, parser_for(cls, "softgrpo", description), rest)
