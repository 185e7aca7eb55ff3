"""The ledger: what is put is kept, by whomever, whatever happens to the process."""

from __future__ import annotations

import json
import math
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgrpo.errors import UserError
from softgrpo.records import LedgerEntry, Usage
from softgrpo.spending.budget import Price, Prices
from softgrpo.spending.ledger import CHUNK, VERSION, SqliteLedger, kept

PAID = Usage(input_tokens=100, output_tokens=2, requests=1)
VERDICT = LedgerEntry(
    text="K", logprobs={"first": -0.1, "second": -math.inf}, usage=PAID, p_first=0.9, judge="openai:m", seconds=0.5
)
UNREADABLE = LedgerEntry(text="Both.", failure="not one of K, T", usage=PAID, judge="openai:m")
NOTHING = LedgerEntry(text="", failure="503 overloaded", usage=PAID, judge="openai:m")


def test_what_was_put_comes_back_also_after_closing(tmp_path):
    with SqliteLedger(tmp_path / "new" / "verdicts.sqlite") as ledger:
        for key, entry in {"a": VERDICT, "b": UNREADABLE, "c": NOTHING}.items():
            ledger.put(key, entry)
        assert ledger.get(["a", "x"]) == {"a": VERDICT}
    with SqliteLedger(tmp_path / "new" / "verdicts.sqlite") as ledger:
        assert ledger.get(["c", "b", "a", "b"]) == {"a": VERDICT, "b": UNREADABLE, "c": NOTHING}
        assert ledger.get([]) == {}


def test_half_a_surrogate_pair_is_spelled_out(tmp_path):
    with SqliteLedger(tmp_path / "l") as ledger:
        ledger.put("k", replace(UNREADABLE, text="K\ud800\0 ö", failure="\udfff"))
        found = ledger.get(["k"])["k"]
    assert (found.text, found.failure) == ("K\\ud800\0 ö", "\\udfff")


def test_many_keys_at_once(tmp_path):
    with SqliteLedger(tmp_path / "l") as ledger:
        keys = [f"k{i}" for i in range(2 * CHUNK + 7)]
        for key in keys:
            ledger.put(key, VERDICT)
        assert len(ledger.get([*keys, "absent"])) == len(keys)


def test_what_belongs_together_is_kept_whole_or_not_at_all(tmp_path, monkeypatch):
    plain, calls = SqliteLedger._put, []

    def fails(self, key, entry):
        calls.append(key)
        if key == "c":
            raise KeyboardInterrupt
        plain(self, key, entry)

    with SqliteLedger(tmp_path / "l") as ledger:
        ledger.put_all({"a": VERDICT, "b": VERDICT})
        monkeypatch.setattr(SqliteLedger, "_put", fails)
        with pytest.raises(KeyboardInterrupt):
            ledger.put_all({"d": VERDICT, "c": VERDICT})
        assert calls == ["d", "c"]
        assert sorted(ledger.get(["a", "b", "c", "d"])) == ["a", "b"]


def test_the_bill():
    prices = Prices(known={("openai", "gpt-4o"): Price(input=2.0, output=10.0)})
    address = "openai:gpt-4o@http://127.0.0.1:1/v1"
    with SqliteLedger(":memory:", prices=prices) as ledger:
        ledger.put("a", replace(VERDICT, judge=address))
        ledger.put("b", replace(NOTHING, judge=address))
        ledger.put("c", VERDICT)
        ledger.put("d", replace(VERDICT, judge="embedded:prompt#0123", usage=Usage()))
        spent = ledger.spent()
    assert spent[address].judgements == 2
    assert spent[address].failures == 1
    assert spent[address].usage == Usage(input_tokens=200, output_tokens=4, requests=2)
    assert spent[address].usd == pytest.approx(2 * (100 * 2.0 + 2 * 10.0) / 1e6)
    assert spent["openai:m"].usd is None, "an unknown price is unknown, not nothing"
    assert spent["embedded:prompt#0123"].usd == 0.0


def test_a_verdict_replaces_a_failure_and_never_the_reverse():
    with SqliteLedger(":memory:") as ledger:
        ledger.put("k", NOTHING)
        ledger.put("k", replace(NOTHING, usage=Usage(requests=3)))
        assert ledger.get(["k"])["k"].usage.requests == 3, "who fails again knows what it cost before"
        ledger.put("k", UNREADABLE)
        assert ledger.get(["k"])["k"].text == "Both."
        ledger.put("k", VERDICT)
        for worse in (NOTHING, UNREADABLE, replace(VERDICT, p_first=0.1)):
            ledger.put("k", worse)
        found = ledger.get(["k"])["k"]
    assert found == replace(VERDICT, usage=Usage(input_tokens=400, output_tokens=8, requests=4)), "all have paid"


@given(st.lists(st.sampled_from([VERDICT, UNREADABLE, NOTHING]), min_size=1, max_size=6))
def test_the_best_of_what_came_is_kept(entries):
    found = entries[0]
    for entry in entries[1:]:
        found = kept(found, entry)
    best = next(e for e in (VERDICT, UNREADABLE, NOTHING) if e in entries)
    assert (found.text, found.p_first, found.failure) == (best.text, best.p_first, best.failure)


def test_what_an_earlier_version_noted_is_read(tmp_path):
    with SqliteLedger(tmp_path / "l") as ledger:
        with closing(sqlite3.connect(tmp_path / "l", isolation_level=None)) as earlier:
            earlier.execute("INSERT INTO notes VALUES ('spent', '{\"calls\": 4, \"usd\": 0.75}')")
        assert ledger.noted("spent") == {"calls": 4, "usd": 0.75}
        assert ledger.noted("spent/other") == {}


def test_threads_share_one_ledger(tmp_path):
    with SqliteLedger(tmp_path / "l") as ledger, SqliteLedger(tmp_path / "l") as other:

        def work(name: str) -> None:
            for i in range(50):
                (ledger if i % 2 else other).put(f"{name}{i}", VERDICT)
                ledger.get([f"{name}{i}"])

        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ledger.spent()["openai:m"].judgements == 200


def test_one_file_opened_by_many_at_once(tmp_path):
    for k in range(10):
        ready, wrong = threading.Barrier(6), []

        def work(path, ready, wrong) -> None:
            ready.wait()
            try:
                with SqliteLedger(path) as ledger:
                    ledger.put(str(threading.get_ident()), VERDICT)
            except UserError as error:
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(tmp_path / f"l{k}", ready, wrong)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


def test_who_finds_the_file_locked_on_opening_comes_again(tmp_path, monkeypatch):
    turns, plain = [], SqliteLedger._open

    def busy(self) -> None:
        turns.append(self)
        if len(turns) < 3:
            raise sqlite3.OperationalError("database is locked")
        plain(self)

    monkeypatch.setattr(SqliteLedger, "_open", busy)
    with SqliteLedger(tmp_path / "l") as ledger:
        ledger.put("k", VERDICT)
    assert len(turns) == 3
    turns.clear()
    monkeypatch.setattr("softgrpo.spending.ledger.PATIENCE", -1.0)
    with pytest.raises(UserError, match="another process holds it"):
        SqliteLedger(tmp_path / "l")


def test_a_file_that_is_no_ledger(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("not a database, " * 100)
    foreign = tmp_path / "foreign.sqlite"
    with sqlite3.connect(foreign) as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    other.close()
    newer = tmp_path / "newer.sqlite"
    SqliteLedger(newer).close()
    with sqlite3.connect(newer) as other:
        other.execute(f"PRAGMA user_version={VERSION + 1}")
    other.close()
    broken = tmp_path / "broken.sqlite"
    SqliteLedger(broken).close()
    broken.write_bytes(broken.read_bytes()[:4096] + b"\xff" * 8192)
    words = {
        text: "not a database",
        foreign: "of something else",
        newer: "update softgrpo",
        broken: "malformed",
        tmp_path: "unable to open",
    }
    for path, said in words.items():
        with pytest.raises(UserError, match=said) as error, SqliteLedger(path) as ledger:
            ledger.get(["k"])
        assert "\n" not in str(error.value)
        assert str(path) in str(error.value)
        assert "--ledger" in str(error.value)
    assert text.read_text() == "not a database, " * 100, "what is not ours is left as it was"


def test_a_full_disk_is_said_and_loses_nothing(tmp_path):
    with SqliteLedger(tmp_path / "l") as ledger:
        ledger._file.execute("PRAGMA max_page_count=12")
        with pytest.raises(UserError, match="full; make room"):
            for i in range(1000):
                ledger.put(f"k{i}", replace(VERDICT, text="long " * 100))
        n = ledger.spent()["openai:m"].judgements
        assert n == i > 0
        ledger._file.execute("PRAGMA max_page_count=1000")
        ledger.put("more", VERDICT)
        assert ledger.spent()["openai:m"].judgements == n + 1


WRITER = """
import sys
from softgrpo.spending.ledger import SqliteLedger
from softgrpo.records import LedgerEntry, Usage
path, name = sys.argv[1:]
with SqliteLedger(path) as ledger:
    for i in range(10**9):
        entry = LedgerEntry(text="K" * (i % 500), p_first=0.5, judge=name, usage=Usage(requests=1))
        ledger.put(f"{name}/{i}", entry)
        print(i, flush=True)
"""


def killed_writers(path, n: int, seed: int) -> dict[str, int]:
    """Pairs of processes that write the same ledger, all killed; how much each had been told is kept."""
    draw, told = random.Random(seed), {}
    for k in range(n):
        names = [f"w{k}-{j}" for j in range(2)]
        start = [[sys.executable, "-c", WRITER, str(path), name] for name in names]
        writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in start]
        for writer in writers:
            assert writer.stdout.readline() == "0\n"  # both are at work
        time.sleep(draw.uniform(0, 0.1))
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
        for name, writer in zip(names, writers, strict=True):
            rest = writer.stdout.read()
            told[name] = 1 + rest.count("\n")
            writer.wait()
            writer.stdout.close()
    return told


def check_after_kills(path, n: int, seed: int) -> None:
    told = killed_writers(path, n, seed)
    with sqlite3.connect(path) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    file.close()
    with SqliteLedger(path) as ledger:
        bills = ledger.spent()
        for name, count in told.items():
            # the last one may have been written and not yet told
            assert count <= bills[name].judgements <= count + 1
            assert len(ledger.get([f"{name}/{i}" for i in range(count)])) == count


def test_a_kill_loses_nothing_that_was_put(tmp_path):
    check_after_kills(tmp_path / "l", 3, seed=0)


@pytest.mark.long
def test_many_kills_lose_nothing_that_was_put(tmp_path):
    check_after_kills(tmp_path / "l", 100, seed=1)


def test_the_table_can_be_read_without_this_project(tmp_path):
    with SqliteLedger(tmp_path / "l") as ledger:
        ledger.put("k", VERDICT)
        file = sqlite3.connect(tmp_path / "l")
        row = file.execute("SELECT judge, text, p_first, logprobs, requests, usd FROM judgements").fetchone()
        file.close()
    assert row[:3] == ("openai:m", "K", 0.9)
    assert json.loads(row[3])["first"] == -0.1
    assert row[4:] == (1, None)
