"""Pairs of texts of which everybody knows the better one: the packaged set, or the user's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from softgrpo.errors import UserError
from softgrpo.records import Contest, Objective, Prompt
from softgrpo.tasks.debate import CRITERIA, debate, question
from softgrpo.tasks.rows import read_rows
from softgrpo.tasks.task import digest

UNDECIDED = frozenset({"wrong_side"})
"""kinds that are reported and not counted: no judge here is fit for them"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldPair:
    """Two texts that answer one prompt."""

    prompt: Prompt
    criteria: str
    better: str
    worse: str
    kind: str
    """what is wrong with the worse one"""

    @property
    def contest(self) -> Contest:
        """The better text and the worse, with no matches yet."""
        objective = Objective(name="answer", criteria=self.criteria)
        return Contest(prompt=self.prompt, objective=objective, texts=(self.better, self.worse), matches=())


def packaged(split: str = "held_out") -> tuple[GoldPair, ...]:
    """Debate: a sound argument against texts with one fault each, on motions that no judge here was tuned on."""
    text = (resources.files("softgrpo.judges.embedded") / "data" / "gold.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines() if line]
    return tuple(_of_debate(line) for line in lines if line["split"] == split)


def from_file(path: Path) -> tuple[GoldPair, ...]:
    """Pairs of the user's own: a `.csv` or `.jsonl` file with prompt, better, worse and, by wish, criteria and kind."""
    where = f"--gold {path}"
    found = []
    for number, row in enumerate(read_rows(path, where), 1):
        if not isinstance(row, Mapping):
            raise UserError(f"{where}: give a .csv or .jsonl file with the columns prompt, better and worse")
        values = {str(k): "" if v is None else str(v).strip() for k, v in row.items()}
        for name in ("prompt", "better", "worse"):
            if name not in values or (name != "worse" and not values[name]):
                raise UserError(f"{where}, pair {number}: has no {name!r}; give the columns prompt, better and worse")
        found.append(_of_row(values))
    if not found:
        raise UserError(f"{where}: holds no pairs")
    return tuple(found)


def _of_debate(line: Mapping) -> GoldPair:
    motion, side = line["prompt"]["motion"], line["prompt"]["side"]
    return GoldPair(
        prompt=debate().prompt(question(motion, side, digest(motion))),
        criteria=CRITERIA,
        better=line["better"],
        worse=line["worse"],
        kind=line["kind"],
    )


def _of_row(row: Mapping[str, str]) -> GoldPair:
    asked = row["prompt"]
    return GoldPair(
        prompt=Prompt(
            id=f"gold/{digest(asked)}",
            messages=({"role": "user", "content": asked},),
            subject=asked,
            question=asked,
        ),
        criteria=row.get("criteria") or "Which text answers the task better?",
        better=row["better"],
        worse=row["worse"],
        kind=row.get("kind") or "gold",
    )
