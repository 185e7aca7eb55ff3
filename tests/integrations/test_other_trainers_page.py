"""The page on other trainers: its table is the record's, its examples are there, its extras are the project's."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "other_trainers.md").read_text(encoding="utf-8")
RECORD = json.loads((ROOT / "benchmarks" / "trl_tournament.json").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_table_is_what_was_recorded():
    rows = {
        "adapter": "`scorer.for_trl()`, both orders",
        "loop": "a loop of calls, one order",
        "threads": "a pool of 64 threads, one order",
    }
    for side, words in rows.items():
        found = RECORD["sides"][side]
        seconds = found["seconds"]
        spread = f"{found['median_seconds']:.1f} [{min(seconds):.1f}, {max(seconds):.1f}]"
        row = f"| {words} | {found['calls_per_step']} | {spread} |"
        assert row in PAGE, row
    machine = f"({RECORD['environment']['processor']}, {RECORD['environment']['cpu_count']} cores, TRL {RECORD['trl']};"
    assert machine in " ".join(PAGE.split())


def test_every_example_is_on_the_page_and_no_other():
    there = {path.name for path in (ROOT / "examples").iterdir() if path.is_file()}
    assert set(re.findall(r"\.\./examples/([\w.]+)\)", PAGE)) == there


def test_each_host_is_an_extra_of_the_versions_it_was_tested_with():
    extras = PROJECT["project"]["optional-dependencies"]
    assert extras["trl"] == ["trl>=1.6,<1.17"]
    assert "| 1.6 to 1.16 |" in PAGE
    assert {"tinker", "verifiers", "verl", "serve"} <= extras.keys()
    pinned = (ROOT / "requirements-hosts.txt").read_text() + (ROOT / "requirements-verifiers.txt").read_text()
    assert "trl==1.16.0" in pinned
    assert "verifiers==0.4.0" in pinned


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([\w./]+\.md)(?:#[\w-]+)?\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
