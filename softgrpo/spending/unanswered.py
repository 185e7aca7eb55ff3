"""The ledger's second table: what it takes to ask again each judgement that has no verdict yet.

An earlier softgrpo reads a ledger with this table as one without it; what it answers meanwhile is cleared away when the
file is next opened.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TABLE = "CREATE TABLE IF NOT EXISTS asked (key TEXT PRIMARY KEY, question TEXT NOT NULL) WITHOUT ROWID"
CLEAR = """
DELETE FROM asked WHERE EXISTS
(SELECT 1 FROM judgements WHERE judgements.key = asked.key AND p_first IS NOT NULL)
"""
READ = "SELECT key, judge, question FROM judgements LEFT JOIN asked USING (key) WHERE p_first IS NULL ORDER BY at, key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """A judgement without a verdict."""

    key: str
    judge: str
    """who was asked, as the judgement's key means it"""
    asked: Mapping[str, Any] | None
    """None of one that an earlier softgrpo kept, or that no service was asked for"""


def prepare(file: sqlite3.Connection) -> None:
    """The table is there, and holds nothing that has been answered."""
    file.execute(TABLE)
    file.execute(CLEAR)


def keep_question(file: sqlite3.Connection, key: str, asked: Mapping[str, Any] | None, *, answered: bool) -> None:
    """With a judgement, in its transaction: the question of one that failed; none of one that is answered."""
    if answered:
        file.execute("DELETE FROM asked WHERE key=?", (key,))
    elif asked is not None:
        # in ASCII: half a surrogate pair, which JSON can hold, is no text to SQLite
        file.execute("INSERT OR REPLACE INTO asked VALUES (?, ?)", (key, json.dumps(dict(asked))))


def read_unanswered(file: sqlite3.Connection) -> list[Unanswered]:
    """All of them, oldest first. Raises `sqlite3.DatabaseError` where a question is no JSON."""
    try:
        return [
            Unanswered(key=key, judge=judge, asked=None if question is None else json.loads(question))
            for key, judge, question in file.execute(READ)
        ]
    except ValueError as error:
        raise sqlite3.DatabaseError(f"the table `asked` is damaged ({error})") from error
