"""The plan of the house and the tree: every room stands on the page, and nothing else does."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "softgrpo"
PLAN = re.search(
    r"## The house\n\n```\n(.*?)```", (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"), re.DOTALL
)
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")


def words() -> set[str]:
    assert PLAN
    return set(re.findall(r"\w+", PLAN[1]))


def test_every_file_and_folder_is_on_the_plan():
    there = {p.stem for p in HOUSE.rglob("*.py") if p.stem != "__init__"}
    there |= {p.name for p in HOUSE.rglob("*") if p.is_dir() and p.name != "__pycache__" and any(p.glob("*.py"))}
    assert there - words() == set()


def test_every_folder_and_file_of_the_plan_is_there():
    assert PLAN
    for folder in re.findall(r"([a-z_]+(?:/[a-z_]+)?)/ ", PLAN[1]):
        assert (HOUSE / folder).is_dir() or (ROOT / folder).is_dir() or list(HOUSE.rglob(folder)), folder
    for file in re.findall(r"(\w+\.py)", PLAN[1]):
        assert (ROOT / file).exists() or list(HOUSE.rglob(file)), file


def test_every_room_of_the_glossary_is_there():
    for row in GLOSSARY.splitlines():
        if row.startswith("| ") and row.count("|") == 4:
            room = row.split("|")[3]
            for place in re.findall(r"`([\w/]+(?:\.py|/))`", room):
                assert list(HOUSE.rglob(place.rstrip("/"))) or (HOUSE / place).exists(), place
