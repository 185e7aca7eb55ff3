"""The ledger: every judgement once, in a file that survives a kill and that several runs may share."""

from __future__ import annotations

import json
import random
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from softgrpo.errors import UserError
from softgrpo.files import transaction
from softgrpo.models import names
from softgrpo.models.api.calls import add
from softgrpo.records import LedgerEntry, Usage
from softgrpo.spending.budget import NO_PRICES, Prices
from softgrpo.spending.unanswered import Unanswered, keep_question, prepare, read_unanswered

MARK = int.from_bytes(b"sgrp", "big")
"""SQLite's `application_id` of a ledger"""
VERSION = 1
PATIENCE = 60.0  # seconds that another process may hold the file
CHUNK = 500  # keys per query; SQLite allows 999 variables in older versions
TABLES = """
CREATE TABLE judgements (
    key TEXT PRIMARY KEY,
    judge TEXT NOT NULL,
    text TEXT NOT NULL,
    logprobs TEXT,              -- JSON, or NULL where there were none
    p_first REAL,               -- NULL where nothing could be read
    failure TEXT NOT NULL,
    finish_reason TEXT NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    usd REAL,                   -- at the price when it was paid, NULL where that is unknown
    seconds REAL NOT NULL,
    at REAL NOT NULL            -- when it was written, in seconds since 1970
) WITHOUT ROWID;
-- of version 1, and written no more: a run's spending is in its folder
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
ENTRY = "text, logprobs, p_first, failure, finish_reason, input_tokens, output_tokens, requests, judge, seconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What one judge's judgements have cost, over the ledger's life."""

    judgements: int
    failures: int
    """those without a probability"""
    usage: Usage
    usd: float | None
    """None where a price was unknown"""
    seconds: float
    """from calls to answers, added up"""


class SqliteLedger:
    """Judgements by key in one SQLite file; `with` closes it. May be used from any thread and shared by processes.

    >>> with SqliteLedger(":memory:") as ledger:
    ...     paid = Usage(input_tokens=9, requests=1)
    ...     ledger.put("k", LedgerEntry(text="A", p_first=1.0, judge="openai:m", usage=paid))
    ...     ledger.get(["k", "other"])["k"].p_first, ledger.spent()["openai:m"].usage.input_tokens
    (1.0, 9)
    """

    def __init__(self, path: str | Path, *, prices: Prices = NO_PRICES) -> None:
        """Opens the file or makes it. Raises `UserError` when it is no ledger, or one of a newer version."""
        self.path = Path(path)
        self.prices = prices
        self._lock = threading.RLock()
        with self._clear_errors():
            if str(path) != ":memory:":
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
            try:
                self._open_in_turn()
            except BaseException:
                self._file.close()
                raise

    def _open_in_turn(self) -> None:
        """`_open`, again while another process opens it too: SQLite's own patience has no say where a file becomes WAL,
        since two that read may not both wait to write."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self._open()
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(random.uniform(0.005, 0.05))

    def _open(self) -> None:
        with transaction(self._file, "DEFERRED"):  # one moment's view: another process may be making the file
            self._check(self._mark())
        self._file.execute("PRAGMA journal_mode=WAL")
        self._file.execute("PRAGMA synchronous=NORMAL")  # a kill costs nothing; only a power cut may cost the last rows
        with transaction(self._file):
            if not self._check(self._mark()):
                for statement in TABLES.split(";"):
                    self._file.execute(statement)
                self._file.execute(f"PRAGMA application_id={MARK}")
                self._file.execute(f"PRAGMA user_version={VERSION}")
            prepare(self._file)  # beside the tables of version 1, which stays readable for who knows no more
        self._file.execute("SELECT count(*) FROM judgements").fetchone()

    def _mark(self) -> tuple[int, int, int]:
        """How many tables the file has, whose it is, and of which version."""
        tables = self._file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        owner, version = (
            self._file.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        return tables, owner, version

    def _check(self, mark: tuple[int, int, int]) -> bool:
        """It is a ledger; False where it is nothing yet."""
        tables, owner, version = mark
        if mark == (0, 0, 0):
            return False
        if owner != MARK:
            what = f"is a database of something else ({tables} tables)"
            raise UserError(f"ledger {self.path}: {what}; name another file with --ledger")
        if version > VERSION:
            raise UserError(
                f"ledger {self.path}: is of version {version} and this softgrpo reads {VERSION}; update softgrpo, or "
                "name another file with --ledger"
            )
        return True

    def get(self, keys: Sequence[str]) -> dict[str, LedgerEntry]:
        """What is known of these keys."""
        found: dict[str, LedgerEntry] = {}
        wanted = list(dict.fromkeys(keys))
        with self._lock, self._clear_errors():
            for i in range(0, len(wanted), CHUNK):
                chunk = wanted[i : i + CHUNK]
                places = ",".join("?" * len(chunk))
                rows = self._file.execute(f"SELECT key, {ENTRY} FROM judgements WHERE key IN ({places})", chunk)
                found |= {key: _entry(row) for key, *row in rows}
        return found

    def put(self, key: str, entry: LedgerEntry) -> None:
        """Keep a judgement; when this returns, it outlives the process. See `kept` for a key that is there already."""
        self.put_all({key: entry})

    def put_all(self, entries: Mapping[str, LedgerEntry]) -> None:
        """Keep judgements that belong together: all of them or, killed meanwhile, none."""
        with self._lock, self._clear_errors(), transaction(self._file):
            for key, entry in entries.items():
                self._put(key, entry)

    def _put(self, key: str, entry: LedgerEntry) -> None:
        row = self._file.execute(f"SELECT {ENTRY} FROM judgements WHERE key=?", (key,)).fetchone()
        asked, entry = entry.asked, kept(_entry(row), entry) if row else entry
        values = (
            key,
            entry.judge,
            _text(entry.text),
            None if entry.logprobs is None else json.dumps(dict(entry.logprobs)),
            entry.p_first,
            _text(entry.failure),
            entry.finish_reason,
            entry.usage.input_tokens,
            entry.usage.output_tokens,
            entry.usage.requests,
            self._usd(entry),
            entry.seconds,
            time.time(),
        )
        self._file.execute(f"INSERT OR REPLACE INTO judgements VALUES ({','.join('?' * len(values))})", values)
        keep_question(self._file, key, asked, answered=entry.p_first is not None)

    def unanswered(self) -> list[Unanswered]:
        """Every judgement without a verdict, oldest first."""
        with self._lock, self._clear_errors():
            return read_unanswered(self._file)

    def spent(self) -> dict[str, Bill]:
        """The bill of every judge in the ledger."""
        sums = "count(*), sum(p_first IS NULL), sum(input_tokens), sum(output_tokens), sum(requests)"
        money = "CASE WHEN sum(usd IS NULL) THEN NULL ELSE sum(usd) END, sum(seconds)"
        with self._lock, self._clear_errors():
            rows = self._file.execute(f"SELECT judge, {sums}, {money} FROM judgements GROUP BY judge").fetchall()
        return {
            judge: Bill(
                judgements=n,
                failures=failed,
                usage=Usage(input_tokens=read, output_tokens=written, requests=requests),
                usd=usd,
                seconds=seconds,
            )
            for judge, n, failed, read, written, requests, usd, seconds in rows
        }

    def noted(self, name: str) -> dict[str, Any]:
        """What an earlier version, which kept a run's spending here, noted under that name; empty where it did not."""
        with self._lock, self._clear_errors():
            row = self._file.execute("SELECT value FROM notes WHERE name=?", (name,)).fetchone()
        return json.loads(row[0]) if row else {}

    def close(self) -> None:
        """Close the file; everything is in it already."""
        with self._lock:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _usd(self, entry: LedgerEntry) -> float | None:
        if not entry.usage.requests:
            return 0.0
        try:
            return self.prices.cost(names.parse(entry.judge), entry.usage)
        except UserError:  # no provider of ours
            return None

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            said, other = str(error) or type(error).__name__, "name another file with --ledger"
            remedy = {
                "locked": f"another process holds it; wait for it, or {other}",
                "full": "make room, then run again",
                "unable to open": f"see that its folder can be written, or {other}",
                "readonly": f"see that it can be written, or {other}",
            }
            what = next((r for words, r in remedy.items() if words in said), f"move it away, or {other}")
            raise UserError(f"ledger {self.path}: {said}; {what}") from error


def kept(old: LedgerEntry, new: LedgerEntry) -> LedgerEntry:
    """Of two entries under one key: what was read is never replaced, least of all by a failure.

    A caller that knew the old entry has added its usage to the new one. Where the old one stays, somebody else was
    faster and both have paid.

    >>> good, bad = LedgerEntry(text="A", p_first=1.0, usage=Usage(requests=1)), LedgerEntry(text="", failure="500")
    >>> kept(bad, good) == good, kept(good, bad) == good, kept(good, good).usage.requests
    (True, True, 2)
    """
    if _worth(new) > _worth(old) or not _worth(new) + _worth(old):
        return new
    return replace(old, usage=add(old.usage, new.usage))


def _worth(entry: LedgerEntry) -> int:
    """0 nothing came, 1 something unreadable, 2 a verdict."""
    return 2 if entry.p_first is not None else int(bool(entry.text))


def _text(text: str) -> str:
    """As SQLite can hold it: half a surrogate pair, which a reply's JSON may hold, is spelled out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _entry(row: Sequence[Any]) -> LedgerEntry:
    text, logprobs, p_first, failure, finish_reason, read, written, requests, judge, seconds = row
    return LedgerEntry(
        text=text,
        logprobs=None if logprobs is None else json.loads(logprobs),
        p_first=p_first,
        failure=failure,
        finish_reason=finish_reason,
        usage=Usage(input_tokens=read, output_tokens=written, requests=requests),
        judge=judge,
        seconds=seconds,
    )
