"""Prompts of the user's own for a task that is there: one topic from the command line, or a file of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from softgrpo.errors import UserError
from softgrpo.tasks.rows import read_rows, show
from softgrpo.tasks.task import Question, Task, digest


def questions_about(task: Task, topic: str, where: str = "") -> tuple[Question, ...]:
    """What the task asks about a topic: the value of its one field, or `field=value` pairs parted by `;`."""
    return questions_from(task, _fields(task.fields, topic), where or f"topic {show(topic)}")


def questions_in(task: Task, path: Path) -> tuple[Question, ...]:
    """What the task asks about the rows of a `.jsonl`, `.csv` or `.txt` file."""
    found: dict[str, Question] = {}
    for number, row in enumerate(read_rows(path, f"--prompts {path}"), 1):
        where = f"--prompts {path}, prompt {number}"
        asked = questions_about(task, row, where) if isinstance(row, str) else questions_from(task, row, where)
        for question in asked:
            if question.id in found:
                raise UserError(f"{where}: {show(question.text)} was there before; drop one of them")
            found[question.id] = question
    if not found:
        raise UserError(f"--prompts {path}: holds no prompts; write one per line")
    return tuple(found.values())


def as_text(value: Any) -> str:
    """A field's value as it is written into a prompt; a list is parted by commas.

    >>> as_text(["figs", "rye"]), as_text(3), as_text(" a ")
    ('figs, rye', '3', 'a')
    """
    if isinstance(value, list | tuple):
        return ", ".join(as_text(item) for item in value if not isinstance(item, list | tuple))
    return "" if value is None or isinstance(value, dict) else whole(str(value).strip())


def whole(text: str) -> str:
    """Without half characters, which JSON can hold and no model read."""
    return text.encode("utf-8", "replace").decode()


def questions_from(task: Task, row: Mapping[str, Any], where: str) -> tuple[Question, ...]:
    """What the task asks about a row's fields; other columns are ignored. Raises `UserError` where one is missing."""
    if task.own is None:
        raise UserError(f"{where}: task {task.name!r} does not say how it asks; give its Task `fields` and `own`")
    fields = dict(row) if task.chats else {name: as_text(value) for name, value in row.items()}
    for name in () if task.chats else task.fields:
        if not fields.get(name):
            form = "; ".join(f"{field}=..." for field in task.fields)
            raise UserError(f'{where}: {task.name} needs the field {name!r}; write "{form}", or a column of that name')
    try:
        asked = task.own(fields)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    # an id that follows from what is asked: recorded answers are found by it
    return tuple(replace(q, id=f"own/{digest(*q.messages or [q.text])}") for q in asked)


def _fields(names: tuple[str, ...], topic: str) -> dict[str, Any]:
    """A topic's fields.

    >>> _fields(("product",), "an umbrella; large")
    {'product': 'an umbrella; large'}
    >>> _fields(("product", "buyer"), "product=umbrella; buyer=sailors")
    {'product': 'umbrella', 'buyer': 'sailors'}
    """
    if len(names) == 1 and not topic.replace(" ", "").startswith(f"{names[0]}="):
        return {names[0]: topic}
    pairs = [part.partition("=") for part in topic.split(";")]
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}
