"""The tasks by name. A new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Callable

from softgrpo.errors import UserError
from softgrpo.tasks import comedy, debate, recipes
from softgrpo.tasks.task import Example, Question, Task

__all__ = ["TASKS", "Example", "Question", "Task", "load_task", "own_questions"]

TASKS: dict[str, tuple[Callable[[], Task], Callable[[str], tuple[Question, ...]]]] = {
    "debate": (debate.debate, debate.questions),
    "comedy": (comedy.comedy, comedy.questions),
    "recipes": (recipes.recipes, recipes.questions),
}


def load_task(name: str) -> Task:
    """The task of that name.

    >>> load_task("debate").train[0].text.splitlines()[0].split(":")[0]
    'Debate Topic'
    """
    return _entry(name)[0]()


def own_questions(name: str, topic: str) -> tuple[Question, ...]:
    """What a task asks about a topic of the user's own."""
    return _entry(name)[1](topic)


def _entry(name: str) -> tuple[Callable[[], Task], Callable[[str], tuple[Question, ...]]]:
    if name not in TASKS:
        raise UserError(f"unknown dataset {name!r}; choose from {', '.join(sorted(TASKS))}")
    return TASKS[name]
