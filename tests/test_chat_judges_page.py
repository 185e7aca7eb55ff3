"""The page on chat judges quotes what was recorded."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))


@pytest.mark.parametrize("name", ["label_log_odds", "attacks"])
def test_the_recorded_tables_are_on_the_page(name):
    recorded = json.loads((ROOT / "benchmarks" / f"{name}.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "chat_judges.md").read_text(encoding="utf-8")
    assert import_module(name).as_markdown(recorded) in page


def test_no_attack_changed_a_verdict():
    recorded = json.loads((ROOT / "benchmarks" / "attacks.json").read_text(encoding="utf-8"))["scripted"]
    assert (recorded["n"], recorded["n_changed"]) == (10_000, 0)


def test_texts_that_say_nothing_win_at_most_one_in_twenty():
    recorded = json.loads((ROOT / "benchmarks" / "attacks.json").read_text(encoding="utf-8"))
    for kind in ("null_texts", "openers"):
        shown = recorded["embedded"]["after"]["kinds"][kind]
        assert shown["n"] >= 75
        assert shown["win_rate"] <= 0.05
