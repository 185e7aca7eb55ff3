"""A run that pays: it stops at its budget, resumes, and pays for no judgement twice."""

from __future__ import annotations

import json

import pytest
from runs import flags, steady

from softgrpo import model_interface
from softgrpo.cli import main, run
from softgrpo.config import TrainConfig
from softgrpo.estimate import estimate
from softgrpo.files import read_lines
from softgrpo.flags import parse, parser_for
from softgrpo.judging.ledger import Ledger
from tests.fakes.openai_server import FakeOpenAI
from tests.training.test_paid_judge import answer, judging

ROLES = dict(judge_model_name="gpt-4o", compare_model_name="gpt-4o-mini", num_chains=8)


@pytest.fixture
def server(monkeypatch):
    with FakeOpenAI(answer=answer) as fake:
        monkeypatch.setenv("OPENAI_API_KEY", fake.key)
        monkeypatch.setenv("OPENAI_BASE_URL", fake.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield fake


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Each run has services of its own, as in a process of its own."""
    monkeypatch.setattr(model_interface, "_loaded", {})


def asked_of_judge(server):
    return sum(judging(seen.body["messages"]) for seen in server.replies_asked)


def test_a_budget_stops_the_run_and_a_higher_one_goes_on(server, tmp_path, tiny_folder, capsys, monkeypatch):
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert run("train", flags(whole, tiny_folder, tiny_folder, **ROLES)) == 0
    calls = len(server.replies_asked)
    server.seen.clear()
    monkeypatch.setattr(model_interface, "_loaded", {})
    limit = calls // 2
    arguments = flags(folder, tiny_folder, tiny_folder, **ROLES)
    assert run("train", [*arguments, "--budget_calls", str(limit)]) == 1
    assert len(server.replies_asked) <= limit, "never exceeded"
    output = capsys.readouterr().out
    assert f"--budget_calls {limit} is reached" in output
    assert f"softgrpo train --config {folder}/config.yaml --resume" in output
    monkeypatch.setattr(model_interface, "_loaded", {})
    assert run("train", [*arguments, "--budget_calls", str(limit), "--resume"]) == 1, "spent is spent"
    assert len(server.replies_asked) <= limit
    monkeypatch.setattr(model_interface, "_loaded", {})
    assert run("train", [*arguments, "--budget_calls", str(2 * calls), "--resume"]) == 0
    assert len(server.replies_asked) == calls, "no call is paid for twice"
    assert steady(folder) == steady(whole)


def test_another_run_of_the_same_kind_asks_nothing_again(server, tmp_path, tiny_folder, monkeypatch):
    ledger = tmp_path / "shared.sqlite"
    for name in ("one", "two"):
        monkeypatch.setattr(model_interface, "_loaded", {})
        assert run("train", [*flags(tmp_path / name, tiny_folder, tiny_folder, **ROLES), "--ledger", str(ledger)]) == 0
        if name == "one":
            first = asked_of_judge(server)
    assert asked_of_judge(server) == first > 0
    assert steady(tmp_path / "one") == steady(tmp_path / "two")
    with Ledger(ledger) as kept:
        assert sum(bill.judgements for bill in kept.spent().values()) >= first


def test_what_was_estimated_is_what_is_spent(server, tmp_path, tiny_folder, capsys):
    arguments = flags(tmp_path / "run", tiny_folder, tiny_folder, **ROLES, num_train_iters=8, canary_rate=0.0)
    config, _ = parse(TrainConfig, parser_for(TrainConfig, "train", ""), arguments)
    planned = estimate(config)
    assert run("train", arguments) == 0
    metrics = read_lines(tmp_path / "run" / "metrics.jsonl")
    assert metrics[-1]["spent_calls"] <= planned.calls
    verdicts = [
        v
        for path in sorted((tmp_path / "run" / "groups").iterdir())
        for line in read_lines(path)
        for v in line["verdicts"]
    ]
    forfeits = sum(v["how"] == "forfeit" for v in verdicts)
    judge = next(r for r in planned.roles if r.role == "judge")
    assert asked_of_judge(server) + 2 * forfeits <= 1.05 * judge.usage.requests
    assert main(["estimate", *arguments]) == 0
    assert "gpt-4o" in capsys.readouterr().out


def test_spending_is_in_the_metrics_and_on_the_console(server, tmp_path, tiny_folder, capsys):
    folder = tmp_path / "run"
    assert run("train", flags(folder, tiny_folder, tiny_folder, **ROLES)) == 0
    metrics = read_lines(folder / "metrics.jsonl")
    assert metrics[-1]["spent_calls"] == len(server.replies_asked)
    assert metrics[0]["calls_to_come"] > 0 == metrics[-1]["calls_to_come"]
    assert "USD to come" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (["--budget_usd", "1", "--judge_model_name", "o9-unheard-of"], "the price of o9-unheard-of is unknown"),
        (["--prices", "/no/such/file.yaml"], "--prices /no/such/file.yaml: cannot be read"),
        (["--ledger", "/"], "--ledger /: is a folder"),
    ],
)
def test_what_cannot_be_kept_is_said_before_anything_is_asked(server, tmp_path, tiny_folder, capsys, extra, says):
    assert run("train", [*flags(tmp_path / "run", tiny_folder, tiny_folder, **ROLES), *extra]) == 2
    assert says in capsys.readouterr().err
    assert server.replies_asked == []
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_no_ledger_is_one_clear_line(server, tmp_path, tiny_folder, capsys):
    other = tmp_path / "notes.txt"
    other.write_text(json.dumps({"no": "ledger"}) * 100)
    assert run("train", [*flags(tmp_path / "run", tiny_folder, tiny_folder, **ROLES), "--ledger", str(other)]) == 2
    assert f"ledger {other}" in capsys.readouterr().err
