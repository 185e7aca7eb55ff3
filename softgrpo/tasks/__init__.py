"""The tasks by name. A new one is a file and a line here, or a YAML or Python file of the user's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from softgrpo.errors import UserError
from softgrpo.tasks import comedy, debate, recipes
from softgrpo.tasks.own import questions_about, questions_in
from softgrpo.tasks.task import Example, Question, Task

__all__ = ["TASKS", "Example", "Question", "Task", "Tasks", "load_task", "own_questions", "questions_in"]

TASKS: dict[str, Callable[[], Task]] = {
    "debate": debate.debate,
    "comedy": comedy.comedy,
    "recipes": recipes.recipes,
}


def load_task(name: str) -> Task:
    """The task of that name, or in that `.yaml` or `.py` file.

    >>> load_task("debate").train[0].text.splitlines()[0].split(":")[0]
    'Debate Topic'
    """
    if name in TASKS:
        return TASKS[name]()
    suffix = Path(name).suffix.lower()
    if suffix in (".yaml", ".yml"):
        from softgrpo.tasks.from_yaml import load

        return load(Path(name), name)
    if suffix == ".py":
        from softgrpo.tasks.from_code import load_code

        return load_code(Path(name), name)
    raise UserError(f"unknown dataset {name!r}; choose from {', '.join(sorted(TASKS))}, or name a .yaml or .py file")


def own_questions(name: str, topic: str) -> tuple[Question, ...]:
    """What a task asks about a topic of the user's own."""
    return questions_about(load_task(name), topic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tasks:
    """The task that gives the prompts, and the one that scores the texts: usually the same."""

    dataset: Task
    scoring: Task

    @classmethod
    def load(cls, dataset: str, scoring: str) -> Tasks:
        """By name, each once. Raises `UserError` where one cannot be used."""
        found = load_task(dataset)
        return cls(dataset=found, scoring=found if scoring == dataset else load_task(scoring))
