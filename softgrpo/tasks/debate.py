"""Debate: one speech for or against a motion."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from softgrpo.errors import UserError
from softgrpo.records import Objective
from softgrpo.tasks.task import Example, Question, Task, filled, form, packaged_lines, reasoning_objective

SYSTEM = "You debate. Argue only for your position. " + form(
    "what matters most, in one or two sentences", "your speech, in two to four sentences"
)
CRITERIA = (
    "Which speech argues its position on the topic more convincingly? Weigh clear reasons, evidence and examples, "
    "and how well it stays with the topic and its side. Length alone is no merit."
)
REASONING = "Which reasoning prepares a speech for this position better: coherent, relevant, with the stronger grounds?"
CUES = {
    "PRO": "This argument speaks in favour of the motion:",
    "CON": "This argument speaks against the motion:",
}


def question(motion: str, side: str, id: str) -> Question:
    """One side of a motion."""
    return Question(
        id=f"{id}/{side.lower()}",
        subject=motion,
        text=f"Debate Topic: {motion}\nPosition: {side}",
        cue=CUES[side],
        meta={"motion": motion, "side": side},
    )


def questions(fields: Mapping[str, Any]) -> tuple[Question, ...]:
    """Both sides of a motion of the user's own, or the `side` that is named."""
    side = str(fields.get("side", "")).strip().upper()
    if side and side not in CUES:
        raise UserError(f"side {fields['side']!r} of {fields['motion']!r}: choose from {', '.join(CUES)}, or name none")
    return tuple(question(fields["motion"], s, "own") for s in ([side] if side else CUES))


EXAMPLES = (
    Example(
        question=question("Public transport should be free for everyone", "PRO", "example").text,
        reply=filled(
            "Fares keep poor people at home and push others into cars.",
            "Free buses let everyone reach work, school and friends. When a ride costs nothing, people leave the car "
            "at home, so streets grow quiet and the air grows clean.",
        ),
    ),
    Example(
        question=question("Schools should start the day at ten", "CON", "example").text,
        reply=filled(
            "Parents start work at eight, and clubs need the afternoon.",
            "A school that opens at ten leaves young children alone while their parents work. Lessons would end in the "
            "evening, so clubs and homework would fall into the dark.",
        ),
    ),
)


@cache
def debate() -> Task:
    """240 motions, both sides of each; the split is fixed by the data."""
    by_split: dict[str, list[Question]] = {"train": [], "test": []}
    for line in packaged_lines("debate.jsonl"):
        by_split[line["split"]] += [question(line["motion"], side, line["id"]) for side in CUES]
    return Task(
        name="debate",
        system=SYSTEM,
        train=tuple(by_split["train"]),
        test=tuple(by_split["test"]),
        objectives=(Objective(name="answer", criteria=CRITERIA), reasoning_objective(REASONING)),
        examples=EXAMPLES,
        fields=("motion",),
        own=questions,
    )
