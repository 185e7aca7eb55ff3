"""The tasks by name. A new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Callable

from softgrpo.errors import UserError
from softgrpo.tasks import debate
from softgrpo.tasks.task import Example, Question, Task

__all__ = ["TASKS", "Example", "Question", "Task", "load_task", "own_questions"]

TASKS: dict[str, Callable[[], Task]] = {"debate": debate.debate}
OWN: dict[str, Callable[[str], tuple[Question, ...]]] = {"debate": debate.questions}


def load_task(name: str) -> Task:
    """The task of that name."""
    if name not in TASKS:
        raise UserError(f"unknown dataset {name!r}; choose from {', '.join(sorted(TASKS))}")
    return TASKS[name]()


def own_questions(name: str, topic: str) -> tuple[Question, ...]:
    """What a task asks about a topic of the user's own."""
    return OWN[name](topic)
