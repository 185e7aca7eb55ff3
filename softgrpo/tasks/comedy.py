"""Comedy: a short bit in the first person, in the manner of a man who is bothered by everything."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from softgrpo.records import Objective
from softgrpo.tasks.task import Example, Question, Task, filled, form, packaged_lines, reasoning_objective

SYSTEM = (
    "You write short comedy bits in the first person, in the manner of Larry David: petty, exasperated, exact about "
    "small social rules. "
    + form("what is absurd about the subject, in one sentence", "your bit, in two to four sentences")
)
CRITERIA = (
    "Which bit is funnier about its subject? Weigh surprise, exact observation, an exasperated first-person voice, and "
    "a last line that lands. Length alone is no merit."
)
REASONING = (
    "Which reasoning finds the better comic angle on the subject: specific, surprising, playable in the first person?"
)


def question(subject: str, id: str) -> Question:
    """One subject."""
    return Question(
        id=id,
        subject=subject,
        text=f"Roast Subject: {subject}",
        cue="This comedy bit makes fun of:",
        meta={"subject": subject},
    )


def questions(fields: Mapping[str, Any]) -> tuple[Question, ...]:
    """A subject of the user's own."""
    return (question(fields["subject"], "own"),)


EXAMPLES = (
    Example(
        question=question("birthday songs in restaurants", "example").text,
        reply=filled(
            "Strangers are made to sing for a man who is ashamed of his age.",
            "I'm eating my soup, and suddenly I'm in a choir. I don't know this man! He is forty-six, he is hiding "
            "behind a sundae, and I am the monster because my lips aren't moving.",
        ),
    ),
    Example(
        question=question("saving a seat with a scarf", "example").text,
        reply=filled(
            "A piece of wool is treated as a person with rights.",
            "There's a scarf on the chair, so the chair is taken. By a scarf! I waited ten minutes for that scarf to "
            "come back with its popcorn. I should send my coat to work and stay in bed.",
        ),
    ),
)


@cache
def comedy() -> Task:
    """190 subjects; the split is fixed by the data."""
    by_split: dict[str, list[Question]] = {"train": [], "test": []}
    for line in packaged_lines("comedy.jsonl"):
        by_split[line["split"]].append(question(line["subject"], line["id"]))
    return Task(
        name="comedy",
        system=SYSTEM,
        train=tuple(by_split["train"]),
        test=tuple(by_split["test"]),
        objectives=(Objective(name="answer", criteria=CRITERIA), reasoning_objective(REASONING)),
        examples=EXAMPLES,
        fields=("subject",),
        own=questions,
    )
