"""The seed's own roles: a judge and an opponent behind an API, a policy on this machine."""

from __future__ import annotations

import json

import pytest

from softgrpo.cli import run
from softgrpo.files import read_lines
from tests.fakes.chat_models import read
from tests.fakes.openai_server import FakeOpenAI
from tests.training.runs import flags

FORMED = "<reasoning>\nbecause\n</reasoning>\n<answer>\nw1 w2\n</answer>"


def answer(messages):
    """The judge prefers the text with more different words; a player answers in form."""
    if not judging(messages):
        return FORMED
    sheet = read(messages)
    first, second = (len(set(text.split())) for text in sheet.texts)
    return sheet.answer(first > second)


def judging(messages):
    return "You compare two texts" in messages[0]["content"]


@pytest.fixture
def server(monkeypatch):
    with FakeOpenAI(answer=answer) as fake:
        monkeypatch.setenv("OPENAI_API_KEY", fake.key)
        monkeypatch.setenv("OPENAI_BASE_URL", fake.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield fake


def test_the_seeds_command_against_an_api(server, tmp_path, tiny_folder, capsys):
    folder = tmp_path / "run"
    roles = dict(judge_model_name="gpt-4o", compare_model_name="gpt-4o-mini")
    assert run("train", flags(folder, tiny_folder, tiny_folder, num_chains=8, **roles)) == 0
    output = capsys.readouterr().out
    assert "gpt-4o will be asked about" in output
    assert "shut" in output.casefold(), "an announced shutdown is said"
    verdicts = [v for p in (folder / "groups").iterdir() for line in read_lines(p) for v in line["verdicts"]]
    asked = [v for v in verdicts if v["how"] == "log_odds"]
    assert asked
    assert all(len(v["reply"]) == 1 and abs(v["p_first"] - 0.5) > 0.4 for v in asked), "soft verdicts of one letter"
    assert not any(v["objective"] == "reasoning" for v in verdicts), "a paid judge is not asked about reasoning"
    evaluation = json.loads((folder / "evaluations" / "step_000006.gpt-4o.json").read_text())
    assert evaluation["opponent_format_adherence"] == 1
    assert (folder / "figures" / "win_rate.png").exists()
    paths = [p for p in folder.rglob("*") if p.is_file()]
    assert not any(server.key.encode() in p.read_bytes() for p in paths), "keys reach no file"


def test_unreadable_replies_are_counted_and_never_scored(server, tmp_path, tiny_folder):
    server.answer = lambda messages: "Both are fine." if judging(messages) else FORMED
    folder = tmp_path / "run"
    roles = dict(judge_model_name="gpt-4o", compare_model_name="gpt-4o-mini")
    assert run("train", flags(folder, tiny_folder, tiny_folder, num_train_iters=4, num_chains=8, **roles)) == 0
    verdicts = [v for p in (folder / "groups").iterdir() for line in read_lines(p) for v in line["verdicts"]]
    asked = [v for v in verdicts if v["how"] == "text"]
    assert asked
    assert all(v["p_first"] is None and "not one of" in v["failure"] for v in asked)
    metrics = read_lines(folder / "metrics.jsonl")
    assert sum(m["n_unjudged"] for m in metrics) == len(asked)


def test_a_key_that_is_refused_ends_the_run_before_it_starts(server, tmp_path, tiny_folder, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-0123456789")
    roles = dict(judge_model_name="gpt-4o", compare_model_name="gpt-4o-mini")
    assert run("train", flags(tmp_path / "run", tiny_folder, tiny_folder, **roles)) == 2
    error = capsys.readouterr().err
    assert "OPENAI_API_KEY" in error
    assert "sk-wrong" not in error
    assert not (tmp_path / "run").exists()
