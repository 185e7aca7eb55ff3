"""The page on speed quotes what was recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["step", "fast_paths", "judging", "memory", "overlap", "threads"])
def test_the_page_on_speed_tells_what_was_recorded(name, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import speed_tables

    source, table = speed_tables.TABLES[name]
    page = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    assert table(speed_tables.record(source)) in page
