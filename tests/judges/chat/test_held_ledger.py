"""A ledger that another process holds for a while: calls go on, nothing is paid twice, nothing that came is lost."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager

import pytest

from softgrpo.errors import UserError
from softgrpo.judges.chat.judge import ChatJudge
from softgrpo.models.api.openai import OpenAIModel
from softgrpo.models.names import parse
from softgrpo.spending.ledger import SqliteLedger
from tests.fakes.builders import contest
from tests.fakes.chat_models import read
from tests.fakes.openai_server import FakeOpenAI

TEXTS = ("good", "bad", "ugly", "dull", "odd")  # 20 matches
AT_ONCE = 4


def better(messages):
    sheet = read(messages)
    return sheet.answer("good" in sheet.texts[0])


@pytest.fixture
def server(monkeypatch):
    with FakeOpenAI(answer=better, delay=0.2) as fake:
        monkeypatch.setenv("OPENAI_API_KEY", fake.key)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield fake


def judge_of(server, ledger):
    model = OpenAIModel(parse(f"openai:gpt-4o@{server.url}"), max_concurrency=AT_ONCE, timeout=1.0, backoff=0.01)
    return ChatJudge("api", model, methods=["text"], ledger=ledger)


def wait_for(holds, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextmanager
def held(path, server, *, after, seconds):
    """Another connection takes the file once so many requests have come, and gives it back so many seconds later."""
    found = {}

    def hold():
        wait_for(lambda: len(server.replies_asked) >= after)
        with closing(sqlite3.connect(path, isolation_level=None, timeout=20)) as other:
            other.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            kept = other.execute("SELECT count(*) FROM judgements").fetchone()[0]
            found["unkept"] = len(server.replies_asked) - kept
            other.execute("ROLLBACK")

    thread = threading.Thread(target=hold)
    thread.start()
    yield found
    thread.join()


def test_no_request_times_out_while_another_process_holds_the_ledger(server, tmp_path):
    with SqliteLedger(tmp_path / "l") as ledger, held(tmp_path / "l", server, after=9, seconds=3.0) as found:
        judge = judge_of(server, ledger)
        (verdicts,) = judge.judge([contest(*TEXTS)])
        assert [v.failure for v in verdicts] == [""] * 20
        assert len(server.replies_asked) == judge.model.usage.requests == 20, "none is sent twice"
        assert ledger.spent()[judge.model.identity].judgements == 20
        judge.model.close()
    assert 0 < found["unkept"] <= AT_ONCE, "no reply is asked for while as many wait to be kept"


def test_a_ledger_that_stays_held_ends_the_batch_with_its_clear_error(server, tmp_path, monkeypatch):
    monkeypatch.setattr("softgrpo.spending.ledger.PATIENCE", 1.0)
    with SqliteLedger(tmp_path / "l") as ledger, held(tmp_path / "l", server, after=5, seconds=4.0):
        judge, began = judge_of(server, ledger), time.monotonic()
        with pytest.raises(UserError, match="another process holds it"):
            judge.judge([contest(*TEXTS)])
        assert time.monotonic() - began < 3.5, "those that wait behind the first are not tried as long each"
        assert len(server.replies_asked) <= 5 + 2 * AT_ONCE
        judge.model.close()


JUDGE = """
import signal, sys
from tests.judges.chat.test_held_ledger import TEXTS, SqliteLedger, contest, judge_of
signal.signal(signal.SIGINT, signal.default_int_handler)  # where the suite was started in the background it is ignored
class Server:
    url = sys.argv[1]
judge_of(Server, SqliteLedger(sys.argv[2])).judge([contest(*TEXTS)])
"""


def test_an_interrupt_loses_no_reply_that_has_come(server, tmp_path):
    path = tmp_path / "l"
    SqliteLedger(path).close()
    judging = subprocess.Popen([sys.executable, "-c", JUDGE, server.url, str(path)], stderr=subprocess.PIPE)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        wait_for(lambda: len(server.replies_asked) >= 9, 60)
        other.execute("BEGIN IMMEDIATE")
        time.sleep(0.7)  # what is under way is answered
        judging.send_signal(signal.SIGINT)
        time.sleep(0.5)
        kept = other.execute("SELECT count(*) FROM judgements").fetchone()[0]
        other.execute("ROLLBACK")
        assert b"KeyboardInterrupt" in judging.communicate(timeout=30)[1]
        assert other.execute("SELECT count(*) FROM judgements").fetchone()[0] == len(server.replies_asked) > kept
