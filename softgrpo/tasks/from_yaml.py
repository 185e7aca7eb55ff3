"""A task from a page of YAML. `load` reads the files; everything else is pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from softgrpo.errors import UserError
from softgrpo.records import Objective
from softgrpo.tasks.fields import Template, flag, items, mapping, number, template, text
from softgrpo.tasks.own import as_text
from softgrpo.tasks.rows import Row, brief, read_text, rows_at, show
from softgrpo.tasks.split import Ask, Rows, split
from softgrpo.tasks.task import (
    Example,
    ExtraReward,
    Question,
    Task,
    checked,
    digest,
    filled,
    form,
    plain,
    reasoning_objective,
)

NEEDED = ("system", "question", "prompts", "criteria")
FIELDS = (
    *("name", "system", "format", "question", "subject", "cue", "prompts", "test_share"),
    *("criteria", "reasoning_criteria", "objectives", "ties", "extra_rewards", "examples"),
)
Functions = Callable[[str, str], ExtraReward]
"""from `file.py:name`, and what to call it in an error, to the function"""


def load(path: Path, given: str) -> Task:
    """The task of a file; `given` is how the user named it."""
    from softgrpo.tasks.from_code import load_function

    def function(name: str, what: str) -> ExtraReward:
        file, _, called = name.rpartition(":")
        if not file or not called:
            raise UserError(f"{what}: {show(name)} names no function; write file.py:function")
        return load_function(path.parent / file, called, what)

    document = read_yaml(read_text(path, given), given)
    return parse(document, given, name=path.stem, rows=partial(_rows_beside, path.parent), function=function)


def read_yaml(page: str, where: str) -> Any:
    """Lists and mappings of texts: `yes`, `1.0` and `2020-01-01` stay as they are written."""
    import yaml

    class Loader(yaml.BaseLoader):
        """Refuses a field that is there twice, of which YAML would take the last."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [key.value for key, _ in getattr(node, "value", ()) if isinstance(key, yaml.ScalarNode)]
            if twice := [key for key in keys if keys.count(key) > 1]:
                raise yaml.constructor.ConstructorError(None, None, f"{twice[0]!r} occurs twice", node.start_mark)
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(page, Loader=Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{where}: is not YAML: {' '.join(str(error).split())[:200]}") from None


def parse(document: Any, where: str, *, name: str, rows: Rows, function: Functions) -> Task:
    """The task that a YAML document describes."""
    top = mapping(document, FIELDS, where, needed=NEEDED)
    kind = text(top.get("format", "reasoning_answer"), f"{where}: format")
    if kind != "reasoning_answer":
        raise UserError(f"{where}: format {show(kind)}: choose from reasoning_answer, or leave it out")
    question = template(top["question"], f"{where}: question")
    if not question.fields:
        raise UserError(f'{where}: question {show(question.text)} has no field; write, say, "Product: {{product}}"')
    default = ", ".join("{%s}" % name for name in question.fields)  # noqa: UP031
    subject = template(top.get("subject", default), f"{where}: subject")
    cue = template(top["cue"], f"{where}: cue") if "cue" in top else Template("", ())
    ask = partial(_question, question, subject, cue)
    train, test = split(top, ask, where, rows)
    examples = [
        _example(ask, example, f"{where}: examples: number {i}", {plain(q.subject) for q in test})
        for i, example in enumerate(items(top.get("examples", []), f"{where}: examples"), 1)
    ]
    rewards = _extra_rewards(top.get("extra_rewards", {}), f"{where}: extra_rewards", function)
    task = Task(
        name=text(top.get("name", name), f"{where}: name"),
        system=_system(top["system"], f"{where}: system"),
        train=train,
        test=test,
        objectives=tuple(_objectives(top, where)),
        examples=tuple(examples),
        extra_rewards={name: reward for name, (reward, _) in rewards.items()},
        extra_weights={name: weight for name, (_, weight) in rewards.items()},
        fields=tuple(dict.fromkeys((*question.fields, *subject.fields, *cue.fields))),
        own=lambda fields: (ask(fields, "your prompt"),),
    )
    return checked(task, where)


def _question(
    question: Template, subject: Template, cue: Template, row: Mapping[str, Any] | str, where: str
) -> Question:
    if isinstance(row, str):
        if len(question.fields) > 1:
            raise UserError(f"{where}: {show(row)} is one text, but the question needs {', '.join(question.fields)}")
        row = {question.fields[0]: row}
    values = {name: as_text(value) for name, value in row.items()}
    for wanted in (question, subject, cue):
        for name in wanted.fields:
            if not values.get(name):
                has = ", ".join(str(n) for n in row) or "nothing"
                raise UserError(f"{where}: has no {name!r}, which {show(wanted.text)} needs (it has {show(has)})")
    asked = question(values)
    return Question(
        id=values.get("id") or digest(asked),
        subject=subject(values),
        text=asked,
        cue=cue(values),
        meta={name: value for name, value in row.items() if name not in ("id", "split")},
    )


def _example(ask: Ask, row: Any, where: str, tested: set[str]) -> Example:
    if not isinstance(row, dict):
        raise UserError(f"{where}: {show(row)}: write the question's fields, a reasoning and an answer")
    for name in ("reasoning", "answer"):
        if name not in row:
            raise UserError(f"{where}: has no {name!r}; an example shows the whole reply")
    question = ask({name: value for name, value in row.items() if name != "split"}, where)
    if plain(question.subject) in tested:
        raise UserError(f"{where}: {show(question.text)} is also tested on; take another example")
    reasoning, answer = (text(row[name], f"{where}: {name}") for name in ("reasoning", "answer"))
    if tag := re.search(r"</?(reasoning|answer)>", reasoning + answer):
        raise UserError(f"{where}: holds {tag[0]}; leave the tags out, they are added")
    return Example(question=question.text, reply=filled(reasoning, answer))


def _system(value: Any, where: str) -> str:
    if isinstance(value, dict):
        parts = mapping(value, ("text", "reasoning", "answer"), where, needed=("reasoning", "answer"))
        reasoning, answer = (text(parts[name], f"{where}: {name}") for name in ("reasoning", "answer"))
        opening = text(parts["text"], f"{where}: text") + " " if "text" in parts else ""
        return opening + form(reasoning, answer)
    said = text(value, where)
    missing = [tag for tag in ("<reasoning>", "</reasoning>", "<answer>", "</answer>") if tag not in said]
    if missing:
        raise UserError(
            f"{where}: never asks for {missing[0]}, so every reply would forfeit; "
            "write text:, reasoning: and answer: under it, and the form is added"
        )
    return said


def _objectives(top: Row, where: str) -> list[Objective]:
    found = [Objective(name="answer", criteria=text(top["criteria"], f"{where}: criteria"))]
    if "reasoning_criteria" in top:
        found.append(reasoning_objective(text(top["reasoning_criteria"], f"{where}: reasoning_criteria")))
    for i, item in enumerate(items(top.get("objectives", []), f"{where}: objectives"), 1):
        what = f"{where}: objectives: number {i}"
        fields = mapping(item, ("name", "criteria", "section", "weight"), what, needed=("name", "criteria"))
        section = text(fields.get("section", "answer"), f"{what}: section")
        if section not in ("answer", "reasoning"):
            raise UserError(f"{what}: section {show(section)}: choose from answer, reasoning")
        found.append(
            Objective(
                name=text(fields["name"], f"{what}: name"),
                criteria=text(fields["criteria"], f"{what}: criteria"),
                section=section,
                weight=number(fields.get("weight", "1"), f"{what}: weight"),
            )
        )
    ties = flag(top.get("ties", "false"), f"{where}: ties")
    return [replace(objective, ties=ties) for objective in found]


def _extra_rewards(value: Any, where: str, function: Functions) -> dict[str, tuple[ExtraReward, float]]:
    """Functions and weights by name: `brevity: file.py:brevity`, or its `function:` and `weight:`."""
    if not isinstance(value, dict):
        raise UserError(f"{where}: {show(value)}: write lines of `name: file.py:function`")
    found = {}
    for name, item in value.items():
        what = f"{where}: {brief(name)}"
        fields = {"function": item} if isinstance(item, str) else item
        fields = mapping(fields, ("function", "weight"), what, needed=("function",))
        weight = number(fields.get("weight", "1"), f"{what}: weight")
        found[name] = (function(text(fields["function"], what), what), weight)
    return found


def _rows_beside(folder: Path, source: str, what: str) -> Sequence[Row | str]:
    return rows_at(source, folder, what)
