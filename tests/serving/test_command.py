"""`softgrpo serve` in a process of its own: its line, its errors, its end, and what a kill leaves."""

from __future__ import annotations

import asyncio
import signal
import socket
import sqlite3
import threading
import time
from collections import Counter

import aiohttp
import pytest

from softgrpo.cli import run
from softgrpo.scorer import Scorer
from tests.fakes.chat_models import read
from tests.fakes.openai_server import FakeOpenAI
from tests.serving.running import Process, client

CRITERIA = ["--criteria", "The longer word.", "--canary_rate", "0"]
TOKEN = "SOFTGRPO_SERVE_TOKEN"


def answer(messages):
    sheet = read(messages)
    return sheet.answer(len(sheet.texts[0]) > len(sheet.texts[1]))


@pytest.fixture
def fake(monkeypatch):
    with FakeOpenAI(answer=answer, delay=0.02) as server:
        monkeypatch.setenv("OPENAI_API_KEY", server.key)
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server


def sends(cohorts, size):
    return [
        dict(cohort=f"c{c}", member=m, size=size, prompt=f"Question {c}?", completion=f"answer {'x' * m} to {c}")
        for c in range(cohorts)
        for m in range(size)
    ]


async def asked(url, bodies):
    """What each is answered; None where the connection broke."""

    async def one(post, body):
        try:
            return await post("/v1/cohort", body)
        except aiohttp.ClientError:
            return None

    async with client(url) as post:
        return await asyncio.gather(*(one(post, body) for body in bodies))


def test_a_kill_in_the_middle_costs_no_verdict_and_no_reward(fake, tmp_path):
    """What the ledger had is not paid for again; at most what was under way is paid for twice."""
    bodies, flags = sends(10, 4), [*CRITERIA, "--judge_model_name", "gpt-4o", "--max_concurrency", "8"]

    def kill_in_the_middle(process):
        while len(fake.replies_asked) < 50:
            time.sleep(0.005)
        process.kill()

    with Process(tmp_path, *flags) as first:
        killer = threading.Thread(target=kill_in_the_middle, args=[first.process])
        killer.start()
        before = asyncio.run(asked(first.url, bodies))
        killer.join()
    time.sleep(0.2)  # what the fake was asked last
    paid = [str(seen.body) for seen in fake.replies_asked]
    with sqlite3.connect(tmp_path / "verdicts.sqlite") as ledger:
        (kept,) = ledger.execute("SELECT count(*) FROM judgements WHERE p_first IS NOT NULL").fetchone()
    assert None in before
    assert 0 < kept <= len(paid) < 120
    with Process(tmp_path, *flags) as second:
        after = asyncio.run(asked(second.url, reversed(bodies)))[::-1]
        again = asyncio.run(asked(second.url, bodies[::4]))
        status, said = second.end(signal.SIGTERM)
    assert (status, said) == (0, second.said)
    calls = Counter(str(seen.body) for seen in fake.replies_asked)
    assert len(calls) == 120, "every match of every group"
    twice = calls.total() - len(calls)
    assert twice <= len(paid) - kept, "only what was under way at the kill"
    assert calls.total() - len(paid) == 120 - kept, "what the ledger had is not asked again"
    direct = Scorer(criteria=CRITERIA[1], judge=lambda p, a, b: float(len(a) > len(b)))
    expected = [
        reward
        for i in range(0, len(bodies), 4)
        for reward in direct.score(bodies[i]["prompt"], [b["completion"] for b in bodies[i : i + 4]]).rewards
    ]
    assert [found["reward"] for _, found in after] == pytest.approx(expected, abs=0.05)
    assert all(one == other for one, other in zip(before, after, strict=True) if one)
    assert again == after[::4]


def test_a_group_that_nobody_asks_for_again_is_kept_for_the_one_who_was_not_answered(fake, tmp_path):
    """All but one member get their answer; after a kill that one does, too, with no call more."""
    bodies, flags = sends(1, 3), [*CRITERIA, "--judge_model_name", "gpt-4o"]
    with Process(tmp_path, *flags) as first:
        found = asyncio.run(asked(first.url, bodies))
        first.process.kill()
    calls = len(fake.replies_asked)
    with Process(tmp_path, *flags) as second:
        assert asyncio.run(asked(second.url, bodies[:1])) == found[:1]
    assert len(fake.replies_asked) == calls == 6


def test_a_budget_is_told_to_all_and_a_higher_one_goes_on(fake, tmp_path):
    bodies, flags = sends(1, 3), [*CRITERIA, "--judge_model_name", "gpt-4o", "--max_concurrency", "2"]
    with Process(tmp_path, *flags, "--budget_calls", "4") as first:
        found = asyncio.run(asked(first.url, bodies))
    assert {(status, body["detail"].split(" (")[0]) for status, body in found} == {(402, "--budget_calls 4 is reached")}
    with Process(tmp_path, *flags, "--budget_calls", "2") as second:
        assert [status for status, _ in asyncio.run(asked(second.url, bodies))] == [200] * 3
    assert len(fake.replies_asked) == 6


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signals_end_it_and_whoever_waits_is_told(fake, tmp_path, number, status):
    judge = ["--judge_model_name", "gpt-4o", "--ledger", "kept/ledger.sqlite"]
    with Process(tmp_path, "--dataset_name", "debate", *judge, **{TOKEN: "geheim"}) as server:
        host, port = server.url.removeprefix("http://").split(":")
        idle = socket.create_connection((host, int(port)))

        async def wait():
            async with client(server.url, headers={"Authorization": "Bearer geheim"}) as post:
                waiting = asyncio.ensure_future(post("/v1/cohort", sends(1, 2)[0]))
                await asyncio.sleep(0.3)
                assert (await post("/v1/rank", prompt="a", completions=["b", "c"]))[0] == 200
                server.process.send_signal(number)
                return await waiting

        assert asyncio.run(wait()) == (503, {"detail": "the server ends; ask again when it is back"})
        out, err = server.process.communicate(timeout=40)
        idle.close()
    assert server.process.returncode == status
    assert server.said.endswith(f"softgrpo serves debate under gpt-4o at {server.url} (docs at /docs)\n")
    assert (out, err) == ("", "")
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        "cohorts.sqlite",
        "cohorts.sqlite.lock",
        "ledger.sqlite",
    ]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "--dataset_name or --criteria: neither is given"),
        (["--dataset_name", "debate", *CRITERIA], "--dataset_name or --criteria: both are given"),
        (["--dataset_name", "poems"], "unknown dataset 'poems'"),
        ([*CRITERIA, "--host", "0.0.0.0"], "--host 0.0.0.0: others could reach it"),
        ([*CRITERIA, "--host", "no.such.host.invalid"], "is no address of this machine"),
        ([*CRITERIA, "--judge_model_name", "gpt-4o"], "OPENAI_API_KEY"),
        ([*CRITERIA, "--judge_model_name", "embedded:oracle"], "unknown judge"),
        ([*CRITERIA, "--format", "json"], "format 'json'"),
        ([*CRITERIA, "--shrink_advantages"], "--shrink_advantages"),
        ([*CRITERIA, "--sameness_weight", "1"], "--sameness_weight 1: "),
        ([*CRITERIA, "--cohorts", "."], "--cohorts .: is a folder"),
        ([*CRITERIA, "--port", "70000"], "--port 70000: must be at most 65535"),
        ([*CRITERIA, "--max_group", "1"], "--max_group 1: must be at least 2"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_one_line_before_anything_listens(capsys, monkeypatch, tmp_path, flags, words):
    monkeypatch.chdir(tmp_path)
    for name in (TOKEN, "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    assert run("serve", ["--port", "0", *flags]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert words in err
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_something_else_is_no_file_of_cohorts(fake, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text("mine" * 500)
    assert run("serve", [*CRITERIA, "--judge_model_name", "gpt-4o", "--port", "0", "--cohorts", "mine.txt"]) == 2
    assert "cohorts mine.txt: file is not a database; " in capsys.readouterr().err
    assert (tmp_path / "mine.txt").read_text() == "mine" * 500


def test_a_file_that_another_server_has_is_said_and_free_after_a_kill(fake, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    flags = [*CRITERIA, "--judge_model_name", "gpt-4o", "--cohorts", "mine.sqlite"]
    with Process(tmp_path, *flags):
        assert run("serve", [*flags, "--port", "0"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "cohorts mine.sqlite: another server has this file; stop that one, or name another file" in err
    with Process(tmp_path, *flags) as after:
        assert after.end(signal.SIGTERM)[0] == 0


@pytest.mark.parametrize("token", ["geheim und so", "geheim\x07", "geheimé", "geheim\nso"])
def test_a_token_that_no_header_can_bear_is_said_and_not_shown(capsys, monkeypatch, tmp_path, token):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TOKEN, token)
    assert run("serve", [*CRITERIA, "--port", "0"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"{TOKEN}: holds what is no printable ASCII, or a space" in err
    assert "geheim" not in err


def test_white_space_is_no_token(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TOKEN, " \n")
    assert run("serve", [*CRITERIA, "--port", "0", "--host", "0.0.0.0"]) == 2
    assert "others could reach it" in capsys.readouterr().err


def test_a_token_is_what_stands_between_white_space(fake, tmp_path):
    async def scored(url):
        async with client(url, headers={"Authorization": "Bearer geheim"}) as post:
            return (await post("/v1/rank", prompt="a", completions=["b", "c"]))[0]

    with Process(tmp_path, *CRITERIA, "--judge_model_name", "gpt-4o", **{TOKEN: " geheim\n"}) as server:
        assert asyncio.run(scored(server.url)) == 200


def test_a_port_that_is_taken_is_said(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert run("serve", [*CRITERIA, "--port", port]) == 2
    assert f"--port {port}: cannot listen there (Address already in use)" in capsys.readouterr().err
