"""Pairs of texts of which everybody knows the better one; the packaged set of them. The user's own: `gold_file`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from softgrpo.records import Contest, Objective, Prompt
from softgrpo.tasks.debate import debate, question
from softgrpo.tasks.task import digest, same_letters


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldPair:
    """Two texts that answer one prompt."""

    prompt: Prompt
    objective: Objective
    """what makes the one better"""
    better: str
    worse: str
    kind: str
    """what is wrong with the worse one"""

    @property
    def contest(self) -> Contest:
        """The better text and the worse, with no matches yet."""
        return Contest(prompt=self.prompt, objective=self.objective, texts=(self.better, self.worse), matches=())

    @property
    def unit(self) -> str:
        """What it is about: pairs of one subject are no separate witnesses."""
        return same_letters(self.prompt.subject)


def packaged(split: str = "held_out") -> tuple[GoldPair, ...]:
    """Debate: a sound argument against texts with one fault each, on motions that no judge here was tuned on."""
    text = (resources.files("softgrpo.judges.embedded") / "data" / "gold.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines() if line]
    return tuple(_of_debate(line) for line in lines if line["split"] == split)


def _of_debate(line: Mapping) -> GoldPair:
    motion, side = line["prompt"]["motion"], line["prompt"]["side"]
    return GoldPair(
        prompt=debate().prompt(question(motion, side, digest(motion))),
        objective=debate().objectives[0],
        better=line["better"],
        worse=line["worse"],
        kind=line["kind"],
    )
