"""A run that pays: it stops at its budget, resumes, and pays for no judgement twice."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing

import pytest

from softgrpo.cli import main, run
from softgrpo.config import TrainConfig
from softgrpo.files import read_lines
from softgrpo.flags import parse, parser_for
from softgrpo.spending.estimate import estimate
from softgrpo.spending.ledger import SqliteLedger
from softgrpo.tasks.task import digest
from tests.fakes.openai_server import FakeOpenAI
from tests.training.runs import flags, start, steady
from tests.training.test_paid_judge import answer, judging

ROLES = dict(judge_model_name="gpt-4o", compare_model_name="gpt-4o-mini", num_chains=8)


@pytest.fixture
def server(monkeypatch):
    with FakeOpenAI(answer=answer) as fake:
        monkeypatch.setenv("OPENAI_API_KEY", fake.key)
        monkeypatch.setenv("OPENAI_BASE_URL", fake.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield fake


def asked_of_judge(server):
    return sum(judging(seen.body["messages"]) for seen in server.replies_asked)


def test_a_budget_stops_the_run_and_a_higher_one_goes_on(server, tmp_path, tiny_folder, capsys):
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert run("train", flags(whole, tiny_folder, tiny_folder, **ROLES)) == 0
    calls = len(server.replies_asked)
    server.seen.clear()
    limit = calls // 2
    arguments = flags(folder, tiny_folder, tiny_folder, **ROLES)
    assert run("train", [*arguments, "--budget_calls", str(limit)]) == 1
    assert len(server.replies_asked) <= limit, "never exceeded"
    output = capsys.readouterr().out
    assert f"--budget_calls {limit} is reached" in output
    assert f"softgrpo train --config {folder}/config.yaml --resume" in output
    assert run("train", [*arguments, "--budget_calls", str(limit), "--resume"]) == 1, "spent is spent"
    assert len(server.replies_asked) <= limit
    assert run("train", [*arguments, "--budget_calls", str(2 * calls), "--resume"]) == 0
    assert len(server.replies_asked) == calls, "no call is paid for twice"
    assert steady(folder) == steady(whole)


def resumed(arguments):
    return run("train", [*arguments, "--resume"])


def spent(folder):
    return json.loads((folder / "spending.json").read_text())["calls"]


def test_spending_belongs_to_the_folder_whatever_the_ledger(server, tmp_path, tiny_folder):
    folder = tmp_path / "run"
    arguments = [*flags(folder, tiny_folder, tiny_folder, **ROLES), "--budget_calls", "8"]
    assert run("train", arguments) == 1
    assert len(server.replies_asked) == 8
    assert resumed([*arguments, "--ledger", str(tmp_path / "other.sqlite")]) == 1
    assert len(server.replies_asked) == 8, "another ledger, the same budget"
    assert spent(folder) == 8


def test_spending_moves_with_its_folder(server, tmp_path, tiny_folder):
    extra = ["--ledger", str(tmp_path / "shared.sqlite"), "--budget_calls", "8"]
    assert run("train", [*flags(tmp_path / "run", tiny_folder, tiny_folder, **ROLES), *extra]) == 1
    (tmp_path / "run").rename(tmp_path / "renamed")
    arguments = [*flags(tmp_path / "renamed", tiny_folder, tiny_folder, **ROLES), *extra]
    assert resumed(arguments) == 1
    assert len(server.replies_asked) == 8
    assert run("train", [*flags(tmp_path / "run", tiny_folder, tiny_folder, **ROLES), *extra]) == 0
    assert len(server.replies_asked) == 8 + spent(tmp_path / "run"), "a new run under an old name has its own budget"


def test_two_runs_at_once_with_one_ledger_keep_a_budget_each(server, tmp_path, tiny_folder):
    """Told apart by the model that they ask."""
    extra = ["--ledger", str(tmp_path / "shared.sqlite"), "--budget_calls"]
    limits = {"gpt-4o": 7, "gpt-4o-mini": 9}
    runs = []
    for name, limit in limits.items():
        roles = ROLES | {"judge_model_name": name, "compare_model_name": name}
        runs.append(start([*flags(tmp_path / name, tiny_folder, tiny_folder, **roles), *extra, str(limit)]))
    for one in runs:
        output, _ = one.communicate(timeout=120)
        assert (one.returncode, "is reached" in output) == (1, True), output
    asked = Counter(seen.body["model"] for seen in server.replies_asked)
    assert asked == limits
    assert {name: spent(tmp_path / name) for name in limits} == limits


@pytest.mark.parametrize("limit", [0, 1, 7])
def test_what_the_start_up_check_asks_counts(server, tmp_path, tiny_folder, capsys, limit):
    server.lists_models = False  # then each model is asked for a few tokens
    arguments = [*flags(tmp_path / "run", tiny_folder, tiny_folder, **ROLES), "--budget_calls", str(limit)]
    assert run("train", arguments) == (2 if limit < 2 else 1)
    said = capsys.readouterr()
    assert f"--budget_calls {limit} is reached" in (said.err if limit < 2 else said.out)
    assert said.err.count("\n") <= 1
    assert len(server.replies_asked) == limit
    assert resumed(arguments) == 2
    assert len(server.replies_asked) == limit


@pytest.mark.parametrize("compare", ["gpt-4o", "openai:gpt-4o"])
def test_a_service_with_two_roles_has_one_budget(server, tmp_path, tiny_folder, compare):
    roles = ROLES | {"compare_model_name": compare}
    assert run("train", [*flags(tmp_path / "run", tiny_folder, tiny_folder, **roles), "--budget_calls", "7"]) == 1
    assert len(server.replies_asked) == spent(tmp_path / "run") == 7


def test_a_kill_forgets_no_attempt_that_was_sent(server, tmp_path, tiny_folder):
    folder, release = tmp_path / "run", threading.Event()
    server.answer = lambda messages: answer(messages) if not judging(messages) or release.wait(60) else ""
    arguments = [*flags(folder, tiny_folder, tiny_folder, **ROLES), "--budget_calls", "8"]
    killed = start(arguments)
    while len(server.replies_asked) <= 4 and killed.poll() is None:  # the opponent's four, then the judge's
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    sent = len(server.replies_asked)
    assert sent == spent(folder) > 4, "what was under way counts"
    release.set()
    assert resumed(arguments) == 1
    assert len(server.replies_asked) == spent(folder) == 8


def as_an_earlier_version(folder, ledger, name):
    """Its spending is a note in its ledger."""
    values = (folder / "spending.json").read_text()
    with closing(sqlite3.connect(ledger, isolation_level=None)) as file:
        file.execute("INSERT INTO notes VALUES (?, ?)", (name, values))
    (folder / "spending.json").unlink()


@pytest.mark.parametrize("shared", [False, True])
def test_a_run_of_an_earlier_version_goes_on_from_its_note(server, tmp_path, tiny_folder, shared):
    folder = tmp_path / "run"
    arguments = [*flags(folder, tiny_folder, tiny_folder, **ROLES), "--budget_calls", "8"]
    arguments += ["--ledger", str(tmp_path / "shared.sqlite")] * shared
    assert run("train", arguments) == 1
    name = f"spent/{digest(str(folder.resolve()))}" if shared else "spent"
    ledger = tmp_path / "shared.sqlite" if shared else folder / "verdicts.sqlite"
    as_an_earlier_version(folder, ledger, name)
    other = ["--ledger", str(tmp_path / "other.sqlite")]
    assert resumed([*arguments, *other]) == 1
    assert len(server.replies_asked) == 8, "also with another ledger"
    assert resumed([*arguments, *other, "--budget_calls", "9"]) == 1
    assert len(server.replies_asked) == spent(folder) == 9
    assert resumed([*arguments, "--budget_calls", "9"]) == 1
    assert len(server.replies_asked) == 9, "the file holds, whatever the note says"


def test_spending_that_cannot_be_read_is_never_nothing(server, tmp_path, tiny_folder, capsys):
    folder = tmp_path / "run"
    arguments = [*flags(folder, tiny_folder, tiny_folder, **ROLES), "--budget_calls", "8"]
    assert run("train", arguments) == 1
    (folder / "spending.json").write_text("{}")
    capsys.readouterr()
    assert resumed(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"softgrpo: {folder}/spending.json: does not say what the run has spent")
    assert error.count("\n") == 1
    assert len(server.replies_asked) == 8


def test_a_run_without_services_has_no_spending(tmp_path, tiny_folder):
    folder = tmp_path / "run"
    assert run("train", flags(folder, tiny_folder, tiny_folder, num_train_iters=1)) == 0
    assert not (folder / "spending.json").exists()


def test_an_evaluation_is_not_the_runs_spending(server, tmp_path, tiny_folder):
    folder = tmp_path / "run"
    assert run("train", [*flags(folder, tiny_folder, tiny_folder, **ROLES), "--budget_calls", "50"]) == 0
    before, asked = (folder / "spending.json").read_bytes(), len(server.replies_asked)
    assert spent(folder) == asked
    assert run("evaluate", ["--run", str(folder), "--judge_model_name", "gpt-4o-mini"]) == 0
    assert len(server.replies_asked) > asked
    assert (folder / "spending.json").read_bytes() == before


def test_another_run_of_the_same_kind_asks_nothing_again(server, tmp_path, tiny_folder):
    ledger = tmp_path / "shared.sqlite"
    for name in ("one", "two"):
        assert run("train", [*flags(tmp_path / name, tiny_folder, tiny_folder, **ROLES), "--ledger", str(ledger)]) == 0
        if name == "one":
            first = asked_of_judge(server)
    assert asked_of_judge(server) == first > 0
    assert steady(tmp_path / "one") == steady(tmp_path / "two")
    with SqliteLedger(ledger) as kept:
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
