"""Files that are whole or absent."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Write aside, flush to the disk, rename: a reader sees the old content or the new, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(aside, 0o644)
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """One JSON document; NaN and infinity become null."""
    write_text(path, json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_lines(path: Path, values: list[Any]) -> None:
    """JSON lines, the whole file at once."""
    write_text(path, "".join(line(value) for value in values))


def append_line(path: Path, value: Any) -> None:
    """One more JSON line, on the disk when this returns."""
    with open(path, "a", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        file.write(line(value))
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[Any]:
    """The JSON lines of a file; a last line that a crash cut off is left out."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")  # the cut may go through a character
    return [json.loads(text) for text in lines[:-1] if text]


def line(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """Lists, dicts, numbers and text only; what is not a number becomes null.

    >>> plain({"a": float("nan"), "b": (1, 2.5)})
    {'a': None, 'b': [1, 2.5]}
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if abs(value) != float("inf") and value == value else None
    if hasattr(value, "items"):
        return {str(key): plain(item) for key, item in value.items()}
    return str(value)


def file_name(name: str) -> str:
    """A model's name as part of a file's name.

    >>> file_name("openai:a/b@http://x:1/v1")
    'openai_a_b_http_x_1_v1'
    """
    return re.sub(r"[^A-Za-z0-9-]+", "_", name).strip("_")[:80]


def hold(folder: Path) -> int | None:
    """A handle whose closing (`os.close`), or a kill, lets the folder go; None where another process holds it.

    Where the disk knows no such locks, nobody is kept out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return _locked(os.open(folder, os.O_RDONLY))


def hold_beside(path: Path) -> int | None:
    """The same for a single file, by an empty `NAME.lock` beside it.

    That one stays: were it removed, two could hold a lock of that name, one of them on a file that is gone.
    """
    return _locked(os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644))


def _locked(handle: int) -> int | None:
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError:
        pass
    return handle


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder that appears under its name only when the block has ended well and its files are on the disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.parent / f".{target.name}.partial"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
        for path in sorted(aside.rglob("*")):
            if path.is_file():
                with open(path, "rb") as file:
                    os.fsync(file.fileno())
        if target.exists():
            shutil.rmtree(target)
        aside.rename(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        if isinstance(error, Exception) and not isinstance(error, OSError):  # libraries have errors of their own
            raise OSError(f"{target} could not be written: {error}") from error
        raise


@contextlib.contextmanager
def transaction(file: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """All that is done to an SQLite file within or, where an error comes, nothing.

    `IMMEDIATE` takes the lock before anything is read; `DEFERRED` only sees one moment of the file.
    """
    file.execute(f"BEGIN {kind}")
    try:
        yield
        file.execute("COMMIT")
    except BaseException:
        if file.in_transaction:
            file.execute("ROLLBACK")
        raise
