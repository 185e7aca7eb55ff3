"""Recipes: a dish from a mystery basket of four."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from softgrpo.records import Objective
from softgrpo.tasks.task import Example, Question, Task, filled, form, packaged_lines, reasoning_objective

SYSTEM = "You cook. Make one dish that uses all four ingredients of the basket. " + form(
    "how the ingredients fit together, in one sentence", "the dish and how to make it, in three or four sentences"
)
CRITERIA = (
    "Which recipe would you rather eat? All four ingredients of the basket must be used, in a way that makes sense "
    "together; the steps must work; an inventive idea counts. Length alone is no merit."
)
REASONING = "Which reasoning plans the better dish: how the four ingredients balance in taste, texture and cooking?"


def question(ingredients: Sequence[str], id: str) -> Question:
    """One basket."""
    return Question(
        id=id,
        subject=", ".join(ingredients),
        text="Mystery Basket:\n" + "\n".join(f"- {ingredient}" for ingredient in ingredients),
        cue="This recipe is made from:",
        meta={"ingredients": list(ingredients)},
    )


def questions(fields: Mapping[str, Any]) -> tuple[Question, ...]:
    """A basket of the user's own, its ingredients parted by commas."""
    return (question([part.strip() for part in fields["ingredients"].split(",") if part.strip()], "own"),)


EXAMPLES = (
    Example(
        question=question(["oysters", "polenta", "sorrel", "endive"], "example").text,
        reply=filled(
            "Sorrel's sourness lifts the oysters, and polenta carries what they give.",
            "Oysters on soft polenta. Stir the polenta in stock until it falls from the spoon. Char the endive in a "
            "dry pan and warm the oysters in its heat. Lay both on the polenta and cut raw sorrel over it.",
        ),
    ),
    Example(
        question=question(["plantain", "veal", "orzo", "lovage"], "example").text,
        reply=filled(
            "Sweet plantain stands in for a fruit sauce, and orzo drinks the juices.",
            "Veal with plantain orzo. Brown thin slices of veal with lovage and set them aside. Fry diced plantain in "
            "the same pan, add the orzo and stock, and simmer until it is creamy. Serve the veal on top.",
        ),
    ),
)


@cache
def recipes() -> Task:
    """190 baskets, train and test ingredients from disjoint pools; the split is fixed by the data."""
    by_split: dict[str, list[Question]] = {"train": [], "test": []}
    for line in packaged_lines("recipes.jsonl"):
        by_split[line["split"]].append(question(line["ingredients"], line["id"]))
    return Task(
        name="recipes",
        system=SYSTEM,
        train=tuple(by_split["train"]),
        test=tuple(by_split["test"]),
        objectives=(Objective(name="answer", criteria=CRITERIA), reasoning_objective(REASONING)),
        examples=EXAMPLES,
        fields=("ingredients",),
        own=questions,
    )
