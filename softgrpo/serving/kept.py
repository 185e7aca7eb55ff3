"""Finished cohorts in a small file: a member that asks again after a kill gets its reward, and nothing is judged."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softgrpo.errors import UserError
from softgrpo.files import hold_beside, transaction
from softgrpo.serving.rewards import Reward

MARK = int.from_bytes(b"sgco", "big")
"""SQLite's `application_id` of such a file"""
MOST = 20_000
"""cohorts; older ones give way"""
SWEEP = 100  # cohorts between two looks for what is too old
PATIENCE = 5.0  # seconds that another process may hold the file
TABLES = """
CREATE TABLE IF NOT EXISTS cohorts (
    id TEXT NOT NULL, attempt INTEGER NOT NULL, round INTEGER NOT NULL, size INTEGER NOT NULL,
    prompt TEXT NOT NULL,       -- a digest
    failure TEXT NOT NULL,      -- why nothing was judged, or nothing
    at REAL NOT NULL,           -- when it ended, in seconds since 1970
    PRIMARY KEY (id, attempt, round)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ended ON cohorts (at);
CREATE TABLE IF NOT EXISTS members (
    id TEXT NOT NULL, attempt INTEGER NOT NULL, member TEXT NOT NULL, round INTEGER NOT NULL,
    text TEXT NOT NULL,         -- a digest
    reward TEXT NOT NULL,       -- JSON
    answered INTEGER NOT NULL,  -- its answer is known to have been sent
    PRIMARY KEY (id, attempt, member, round)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A cohort as it is kept."""

    attempt: int
    round: int
    size: int
    prompt: str
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedMember:
    """A member as it is kept."""

    of: Ended
    text: str
    reward: Reward


class KeptCohorts:
    """Cohorts by id, attempt and round: digests of what was asked, and rewards, but no texts. The file is one
    server's alone: of two, each would judge what the other does, and spend for it.

    >>> kept = KeptCohorts(":memory:")
    >>> kept.keep("c", Ended(attempt=0, round=0, size=2, prompt="d"), {"m": ("t", Reward(reward=1.5))})
    >>> kept.find("c", 0, "m").reward.reward, kept.newest("c").size, kept.find("c", 0, "other")
    (1.5, 2, None)
    """

    def __init__(self, path: str | Path, *, hours: float = 48.0, most: int = MOST, serves: str = "") -> None:
        """`serves`: a digest of what judges here; what another one judged is not found.

        Raises `UserError` for a file that is something else, or that another server has."""
        self.path, self.hours, self.most, self.serves = Path(path), hours, most, serves
        self._unswept = 0
        self._held: int | None = None
        with self._clear_errors():
            if str(path) != ":memory:":
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
            try:
                self._open()
            except BaseException:
                self.close()
                raise

    def keep(self, id: str, ended: Ended, members: Mapping[str, tuple[str, Reward]]) -> None:
        """All of a cohort or, killed meanwhile, nothing. `members`: the digest of each one's text, and its reward.

        What was judged is never replaced by a failure."""
        key = self._key(id)
        rows = [
            (key, ended.attempt, member, ended.round, text, json.dumps(reward.to_keep()), 0)
            for member, (text, reward) in members.items()
        ]
        cohort = (key, ended.attempt, ended.round, ended.size, ended.prompt, ended.failure, time.time())
        judged = "SELECT 1 FROM cohorts WHERE id=? AND attempt=? AND round=? AND failure=''"
        with self._clear_errors(), transaction(self._file):
            if ended.failure and self._file.execute(judged, cohort[:3]).fetchone():
                return
            self._file.execute("INSERT OR REPLACE INTO cohorts VALUES (?,?,?,?,?,?,?)", cohort)
            self._file.executemany("INSERT OR REPLACE INTO members VALUES (?,?,?,?,?,?,?)", rows)
        self._unswept += 1
        if self._unswept >= SWEEP:
            self.sweep()

    def newest(self, id: str) -> Ended | None:
        """The last cohort of that id that has ended."""
        query = "SELECT attempt, round, size, prompt, failure FROM cohorts WHERE id=? ORDER BY attempt DESC, round DESC"
        with self._clear_errors():
            row = self._file.execute(f"{query} LIMIT 1", (self._key(id),)).fetchone()
        return _ended(row) if row else None

    def find(self, id: str, attempt: int, member: str) -> EndedMember | None:
        """A member of a cohort that has ended, the last of that name."""
        query = (
            "SELECT text, reward, attempt, round, size, prompt, failure FROM members JOIN cohorts "
            "USING (id, attempt, round) WHERE id=? AND attempt=? AND member=? ORDER BY round DESC LIMIT 1"
        )
        with self._clear_errors():
            row = self._file.execute(query, (self._key(id), attempt, member)).fetchone()
        return EndedMember(text=row[0], reward=Reward(**json.loads(row[1])), of=_ended(row[2:])) if row else None

    def answered(self, id: str, member: str) -> bool:
        """Whoever asked for that member has been answered; whether there is such a one."""
        change = "UPDATE members SET answered=1 WHERE id=? AND member=?"
        with self._clear_errors():
            return self._file.execute(change, (self._key(id), member)).rowcount > 0

    def beginning(self, id: str, with_: str, *, within: float) -> dict[str, bool]:
        """Members whose names begin so, and whether one's answer is still to be fetched: it was judged within so many
        seconds, and not answered."""
        query = (
            "SELECT member, answered=0 AND failure='' AND at>=? FROM members JOIN cohorts USING (id, attempt, round) "
            "WHERE id=? AND attempt=0 AND member>=? AND member<? ORDER BY round"
        )
        with self._clear_errors():
            bounds = time.time() - within, self._key(id), with_, with_ + "\x7f"
            rows = self._file.execute(query, bounds).fetchall()
        return {member: bool(is_due) for member, is_due in rows}

    def sweep(self) -> None:
        """Drop what is too old, and the oldest where there are too many."""
        self._unswept = 0
        with self._clear_errors(), transaction(self._file):
            left = "SELECT at FROM cohorts ORDER BY at DESC LIMIT 1 OFFSET ?"
            row = self._file.execute(left, (self.most,)).fetchone()
            since = time.time() - 3600 * self.hours
            before = max(since, row[0]) if row else since
            old = "(id, attempt, round) IN (SELECT id, attempt, round FROM cohorts WHERE at<=?)"
            self._file.execute(f"DELETE FROM members WHERE {old}", (before,))
            self._file.execute("DELETE FROM cohorts WHERE at<=?", (before,))

    def close(self) -> None:
        """Everything is in the file already; another server may have it."""
        self._file.close()
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _key(self, id: str) -> str:
        return f"{self.serves}/{id}"

    def _open(self) -> None:
        tables, mark = (
            self._file.execute(query).fetchone()[0]
            for query in ("SELECT count(*) FROM sqlite_master", "PRAGMA application_id")
        )
        if tables and mark != MARK:
            raise UserError(f"cohorts {self.path}: is a database of something else; name another file with --cohorts")
        if str(self.path) != ":memory:":
            self._held = hold_beside(self.path)
            if self._held is None:
                raise UserError(
                    f"cohorts {self.path}: another server has this file; stop that one, or name another file with "
                    "--cohorts"
                )
        self._file.execute("PRAGMA journal_mode=WAL")
        self._file.execute("PRAGMA synchronous=NORMAL")  # a kill costs nothing; only a power cut may cost the last rows
        self._file.execute(f"PRAGMA application_id={MARK}")
        for statement in TABLES.split(";"):
            self._file.execute(statement)
        self.sweep()

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            said = str(error) or type(error).__name__
            raise UserError(
                f"cohorts {self.path}: {said}; see that it can be written, or name another file with --cohorts"
            ) from error


def _ended(row: Any) -> Ended:
    attempt, round_, size, prompt, failure = row
    return Ended(attempt=attempt, round=round_, size=size, prompt=prompt, failure=failure)
