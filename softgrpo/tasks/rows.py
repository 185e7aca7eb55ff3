"""Rows of text from where they lie: JSON lines, CSV, one topic per line, a data set of the Hugging Face hub."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from reprlib import Repr
from typing import Any

from softgrpo.errors import UserError

Row = dict[str, Any]
SUFFIXES = (".jsonl", ".csv", ".txt")
_short = Repr()
_short.maxstring = _short.maxother = 80
_short.maxlevel = 2


def show(value: Any) -> str:
    """A value in an error's one line: short, without line breaks, whatever was written."""
    return " ".join(_short.repr(value).split())


def brief(text: str) -> str:
    """A name in an error's one line."""
    return " ".join(text.split())[:100]


def nearest(name: str, known: Sequence[str]) -> str:
    """What somebody may have meant.

    >>> nearest("criterion", ["criteria", "cue"])
    "did you mean 'criteria'?"
    """
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(known)}"


def read_text(path: Path, what: str) -> str:
    """A file's text; whatever is wrong with it is the user's to mend."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{what}: there is no such file; see to its name and folder") from None
    except UnicodeDecodeError:
        raise UserError(f"{what}: is no UTF-8 text; save it as UTF-8") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise UserError(f"{what}: cannot be read ({error.__class__.__name__}); name a file") from None
    if not text.strip():
        raise UserError(f"{what}: is empty; write something into it")
    return text


def read_rows(path: Path, what: str) -> list[Row | str]:
    """A row per line of a `.jsonl` or `.csv` file, a text per line of a `.txt` file."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{what}: is of no known kind; give a {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file")
    text = read_text(path, what)
    if path.suffix.lower() == ".txt":
        return [line.strip() for line in text.splitlines() if line.strip()]
    return csv_rows(text, what) if path.suffix.lower() == ".csv" else json_rows(text, what)


def json_rows(text: str, what: str) -> list[Row | str]:
    """One JSON object (or one text) per line.

    >>> json_rows('{"product": "umbrella"}', "p.jsonl")
    [{'product': 'umbrella'}]
    """
    rows: list[Row | str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise UserError(f"{what}, line {number}: is not JSON: {show(line)}; write one object per line") from None
        if not isinstance(row, dict | str):
            raise UserError(f'{what}, line {number}: {show(row)} is no object; write {{"field": "value"}}')
        rows.append(row)
    return rows


def csv_rows(text: str, what: str) -> list[Row | str]:
    """One row per record, under the names of the first line.

    >>> csv_rows("product,split\\numbrella,train\\n", "p.csv")
    [{'product': 'umbrella', 'split': 'train'}]
    """
    try:
        names, *records = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (csv.Error, ValueError) as error:
        raise UserError(f"{what}: is not CSV ({error}); quote values that hold commas or line breaks") from None
    names = [name.strip() for name in names]
    if not all(names) or len(set(names)) < len(names):
        raise UserError(f"{what}: its first line must name every column, each once, not {show(','.join(names))}")
    for number, record in enumerate(records, 2):
        if record and len(record) != len(names):
            raise UserError(f"{what}, record {number}: has {len(record)} values for {len(names)} columns; quote commas")
    return [dict(zip(names, record, strict=True)) for record in records if record]


@cache
def hub_rows(name: str, what: str) -> tuple[Row, ...]:
    """The rows of `owner/name` or `owner/name:split`; without a split, those called train and test, marked so."""
    try:
        from datasets import load_dataset
    except ImportError:
        raise UserError(f"{what}: a data set of the hub needs a package; pip install datasets") from None
    dataset, _, split = name.partition(":")
    try:
        found = load_dataset(dataset, split=split or None)
    except Exception as error:  # the library has dozens
        said = " ".join(str(error).split())[:120]
        raise UserError(f"{what}: is neither a file here nor a data set that can be loaded ({said})") from None
    if split:
        return tuple(dict(row) for row in found)
    both = [part for part in ("train", "test") if part in found]
    if not both:
        raise UserError(f"{what}: has no split called train; name one of {', '.join(found)} as {dataset}:SPLIT")
    mark = {"split": both[0]} if len(both) == 2 else {}
    return tuple({**row, **(mark and {"split": part})} for part in both for row in found[part])


def rows_at(source: str, folder: Path, what: str) -> Sequence[Row | str]:
    """A file beside the task's own, or a data set of the hub: whichever the text names."""
    path = folder / source
    looks_like_file = source.lower().endswith(SUFFIXES) or source.startswith((".", "/")) or _exists(path.parent)
    if not looks_like_file and re.fullmatch(r"[\w.-]+/[\w.-]+(:[\w.-]+)?", source):
        return hub_rows(source, what)
    return read_rows(path, what)


def _exists(folder: Path) -> bool:
    try:
        return folder.is_dir()
    except (OSError, ValueError):  # too long for a path, or no path at all
        return True
