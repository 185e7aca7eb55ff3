"""Gold pairs of the user's own: a file with free prompts, or with the fields of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from softgrpo.auditing.gold import GoldPair
from softgrpo.errors import UserError
from softgrpo.records import Objective, Prompt
from softgrpo.rewards.format import TAGS, judged_text
from softgrpo.tasks import Task, Tasks
from softgrpo.tasks.chats import CHAT, NAMES, PromptReader
from softgrpo.tasks.own import as_text, questions_from
from softgrpo.tasks.rows import Row, brief, read_rows, show
from softgrpo.tasks.task import digest

PAIR = ("better", "worse", "kind")
"""columns of the pair itself; the others say what is asked"""
FREE = ("prompt", "messages", "criteria")
"""columns that a task's own fields stand in place of"""
KIND = "gold"
CRITERIA = "Which text answers the task better?"


def from_file(path: Path, tasks: Tasks | None = None) -> tuple[GoldPair, ...]:
    """The pairs of a `.csv` or `.jsonl` file. Raises `UserError`, which names the pair.

    Without `tasks` it has the columns prompt, better, worse and, by wish, criteria and kind. With them, the fields of
    the task that asks stand in place of prompt and criteria; the main criteria of the one that scores judge.
    """
    where = f"--gold {path}"
    if tasks is None:
        read = _free
    else:
        if taken := {"better", "worse"} & set(tasks.dataset.fields):
            raise UserError(
                f"{where}: {tasks.dataset.name} has a field {min(taken)!r}, which is a column of the pairs; rename it"
            )
        read = partial(_of_task, PromptReader(tasks.dataset), tasks.scoring)
    pairs = tuple(_pair(row, read, f"{where}, pair {i}") for i, row in enumerate(read_rows(path, where), 1))
    if not pairs:
        raise UserError(f"{where}: holds no pairs; write one per line")
    return pairs


def _pair(row: Row | str, read: Any, where: str) -> GoldPair:
    if not isinstance(row, Mapping):
        raise UserError(f"{where}: is one text; give a .csv or .jsonl file with the columns better and worse")
    return read(row, where)


def _free(row: Row, where: str) -> GoldPair:
    """A pair with its prompt, and perhaps its criteria."""
    columns = ("prompt", *PAIR[:2])
    if "prompt" not in row:
        hint = "; where they are a task's own fields, name it, such as --dataset_name debate"
        raise _missing("prompt", row, columns, where, hint)
    asked, *texts = (_text(name, row, columns, where) for name in columns)
    prompt = Prompt(
        id=f"gold/{digest(asked)}", messages=({"role": "user", "content": asked},), subject=asked, question=asked
    )
    objective = Objective(name="answer", criteria=as_text(row.get("criteria")) or CRITERIA)
    return _made(row, prompt, objective, texts, where)


def _of_task(reader: PromptReader, scoring: Task, row: Row, where: str) -> GoldPair:
    """A pair with the fields of a task, which asks and judges as it does in a run."""
    columns = (*(reader.task.fields or ("prompt",)), *PAIR[:2])
    asked = _asked(reader.task, row, columns, where)
    objective = scoring.objectives[0]
    texts = [
        _shown(_text(name, row, columns, where), scoring.format, objective.section, f"{where}: {name}")
        for name in PAIR[:2]
    ]
    return _made(row, _prompt(reader, asked, where), objective, texts, where)


def _asked(task: Task, row: Row, columns: Sequence[str], where: str) -> Row:
    """The columns that say what is asked. The row's own name is none: pairs of one question are known as such by it."""
    of_chats = task.chats or task.own is None
    fields = (*task.fields, *CHAT) if of_chats else task.fields
    free = [name for name in FREE if name not in fields]
    for name in () if of_chats else fields:
        if not as_text(row.get(name)):
            hint = "; for pairs with a prompt leave --dataset_name out" if "prompt" in free and "prompt" in row else ""
            raise _missing(name, row, columns, where, hint)
    for name in free:
        if str(row.get(name) or "").strip():
            raise UserError(
                f"{where}: has a {name!r} beside the fields of {task.name}, which says that itself; "
                "drop that column, or leave --dataset_name out"
            )
    return {name: value for name, value in row.items() if name in fields or name not in (*PAIR, *NAMES, *free)}


def _prompt(reader: PromptReader, row: Row, where: str) -> Prompt:
    """As a `Scorer` is told it; a chat's row as `train` reads it, by the templates of its page."""
    try:
        return reader.read(questions_from(reader.task, row, "prompt")[0] if reader.task.chats else row)
    except UserError as error:
        raise UserError(f"{where}: {str(error).removeprefix('prompt: ')}") from None


def _made(row: Row, prompt: Prompt, objective: Objective, texts: Sequence[str], where: str) -> GoldPair:
    better, worse = texts
    if better == worse:
        raise UserError(f"{where}: better and worse are the same text {show(better)}; give two, or drop the pair")
    kind = brief(as_text(row.get("kind"))) or KIND
    return GoldPair(prompt=prompt, objective=objective, better=better, worse=worse, kind=kind)


def _text(name: str, row: Row, columns: Sequence[str], where: str) -> str:
    """A column that holds a text; the worse one may be empty."""
    value = row.get(name)
    if isinstance(value, list | dict | bool):
        raise UserError(f"{where}: {name} is {show(value)}; give a text")
    found = as_text(value)
    if name not in row or (not found and name != "worse"):
        raise _missing(name, row, columns, where)
    return found


def _shown(text: str, form: str | None, section: str, where: str) -> str:
    """What a judge is shown: a text without tags as it stands, and the judged section of a whole reply.

    >>> [_shown(text, "reasoning_answer", "answer", "pair 1") for text in ("Yes.", "<answer>Yes.</answer>")]
    ['Yes.', 'Yes.']
    """
    if form is None or not any(tag in text for tag in TAGS):
        return text
    found = judged_text(text, form, section)
    if found is None:
        raise UserError(
            f"{where} has tags, but not exactly one filled <{section}>, so that no judge would be asked; "
            "give the text without tags, or drop the pair"
        )
    return found


def _missing(name: str, row: Row, columns: Sequence[str], where: str, hint: str = "") -> UserError:
    if name in row:
        return UserError(f"{where}: has an empty {name!r}; write something there, or drop the pair")
    names = [str(n) for n in row]
    if len(names) == 1 and (mark := next((m for m in ";\t" if m in names[0]), "")):
        hint = f"; its columns are parted by {mark!r}, and must be by commas"
    *first, last = columns
    there = show(", ".join(names)) if names else "nothing"
    return UserError(f"{where}: has no {name!r} (it has {there}); give the columns {', '.join(first)} and {last}{hint}")
