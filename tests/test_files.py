"""Files and folders that are whole or absent."""

from __future__ import annotations

import json
import math
import os
import stat
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgrpo import files


def there(folder):
    return sorted(p.name for p in folder.iterdir())


def half_written(target, error):
    with files.whole_folder(target) as aside:
        (aside / "new").write_text("half")
        raise error


def test_write_text_makes_the_folder_and_replaces_what_was_there(tmp_path):
    path = tmp_path / "a" / "b.txt"
    files.write_text(path, "one\n")
    files.write_text(path, "zwei ü\n")
    assert path.read_bytes() == "zwei ü\n".encode()
    assert there(path.parent) == ["b.txt"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("broken", ["replace", "fsync"])
def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(tmp_path, monkeypatch, broken):
    path = tmp_path / "b.txt"
    files.write_text(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, broken, full)
    with pytest.raises(OSError, match="No space"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert there(tmp_path) == ["b.txt"]


def test_whole_folder_appears_when_the_block_has_ended_well(tmp_path):
    target = tmp_path / "checkpoints" / "step-1"
    with files.whole_folder(target) as aside:
        (aside / "deep").mkdir()
        (aside / "deep" / "x").write_text("1")
        assert not target.exists()
    assert (target / "deep" / "x").read_text() == "1"
    assert there(target.parent) == ["step-1"]


@pytest.mark.parametrize(
    ("error", "seen"), [(OSError, OSError), (KeyboardInterrupt, KeyboardInterrupt), (RuntimeError, OSError)]
)
def test_whole_folder_leaves_nothing_on_an_exception(tmp_path, error, seen):
    """What a library says of a full disk in its own words arrives as a write error."""
    with pytest.raises(seen):
        half_written(tmp_path / "step-1", error)
    assert there(tmp_path) == []


def test_whole_folder_keeps_the_old_one_until_the_new_one_is_whole(tmp_path):
    target = tmp_path / "final"
    with files.whole_folder(target) as aside:
        (aside / "old").write_text("1")
    with pytest.raises(OSError, match="disk full"):
        half_written(target, OSError("disk full"))
    assert there(target) == ["old"]
    with files.whole_folder(target) as aside:
        (aside / "new").write_text("2")
    assert there(target) == ["new"]


def test_whole_folder_forgets_what_a_crash_left_aside(tmp_path):
    (tmp_path / ".step-1.partial").mkdir()
    (tmp_path / ".step-1.partial" / "half").write_text("x")
    with files.whole_folder(tmp_path / "step-1") as aside:
        (aside / "whole").write_text("y")
    assert there(tmp_path / "step-1") == ["whole"]


def test_lines_come_back_in_order(tmp_path):
    path = tmp_path / "m.jsonl"
    assert files.read_lines(path) == []
    files.append_line(path, {"step": 1})
    files.append_line(path, {"step": 2, "text": "a\nb\r\n\u2028c"})
    assert files.read_lines(path) == [{"step": 1}, {"step": 2, "text": "a\nb\r\n\u2028c"}]
    files.write_lines(path, [[1], None])
    assert files.read_lines(path) == [[1], None]


@pytest.mark.parametrize("text", ["plain", "naïve 語 🙂"])
def test_a_last_line_cut_off_anywhere_is_left_out(tmp_path, text):
    path = tmp_path / "m.jsonl"
    files.append_line(path, {"step": 1})
    whole = path.read_bytes()
    last = files.line({"text": text}).encode()
    for cut in range(len(last)):
        path.write_bytes(whole + last[:cut])
        assert files.read_lines(path) == [{"step": 1}], f"cut after {cut} bytes"


any_text = st.text(st.characters(), max_size=20)


@given(st.dictionaries(any_text, st.one_of(any_text, st.integers(), st.floats(), st.none(), st.booleans())))
def test_any_line_can_be_written_and_read(tmp_path_factory, value):
    """Lone surrogates, which a model's tokens may decode to, included."""
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    files.write_lines(path, [value])
    (found,) = files.read_lines(path)
    assert list(found.values()) == [
        None if isinstance(v, float) and not math.isfinite(v) else v for v in value.values()
    ]


def test_plain_makes_lists_dicts_numbers_and_text():
    value = {
        "nan": float("nan"),
        "inf": -math.inf,
        "array": np.array([1.5, np.nan]),
        "scalar": np.float32(0.5),
        "int": np.int64(3),
        "bool": np.bool_(True),
        "tuple": (1, "a", None),
        "mapping": MappingProxyType({"k": np.nan}),
        3: "key",
    }
    assert files.plain(value) == {
        "nan": None,
        "inf": None,
        "array": [1.5, None],
        "scalar": 0.5,
        "int": 3,
        "bool": True,
        "tuple": [1, "a", None],
        "mapping": {"k": None},
        "3": "key",
    }


def test_write_json_is_strict_json(tmp_path):
    files.write_json(tmp_path / "x.json", {"low": float("nan")})
    assert json.loads((tmp_path / "x.json").read_text(), parse_constant=pytest.fail) == {"low": None}
