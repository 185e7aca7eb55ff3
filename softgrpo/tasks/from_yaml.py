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
from softgrpo.tasks.chats import CHAT, chat_question
from softgrpo.tasks.fields import Template, flag, items, mapping, number, template, text
from softgrpo.tasks.own import as_text
from softgrpo.tasks.rows import Row, brief, read_text, rows_at, show
from softgrpo.tasks.split import Ask, Rows, split
from softgrpo.tasks.task import (
    FORMATS,
    Example,
    ExtraReward,
    Question,
    Task,
    checked,
    digest,
    filled,
    form,
    reasoning_objective,
    same_letters,
)

NEEDED = ("prompts", "criteria")
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
    kind = text(top.get("format", FORMATS[0]), f"{where}: format")
    if kind not in FORMATS:
        raise UserError(f"{where}: format {show(kind)}: choose from {', '.join(FORMATS)}, or leave it out")
    tagged = kind != "none"
    chats = "question" not in top
    if "system" not in top and (tagged or not chats):
        why = "; the form of a reply is asked for there" if tagged else ""
        raise UserError(f"{where}: field 'system' is missing{why}; see docs/tasks.md")
    ask, asks = _asks(top, where)
    train, test = split(top, ask, where, rows)
    examples = [
        _example(ask, example, f"{where}: examples: number {i}", {same_letters(q.subject) for q in test}, tagged)
        for i, example in enumerate(items(top.get("examples", []), f"{where}: examples"), 1)
    ]
    rewards = _extra_rewards(top.get("extra_rewards", {}), f"{where}: extra_rewards", function)
    task = Task(
        name=text(top.get("name", name), f"{where}: name"),
        system=(_system if tagged else _plain_system)(top["system"], f"{where}: system") if "system" in top else "",
        train=train,
        test=test,
        objectives=tuple(_objectives(top, where, tagged)),
        examples=tuple(examples),
        format=kind if tagged else None,
        extra_rewards={name: reward for name, (reward, _) in rewards.items()},
        extra_weights={name: weight for name, (_, weight) in rewards.items()},
        fields=asks,
        own=lambda fields: (ask(fields, "the chat" if chats else "your prompt"),),
        chats=chats,
    )
    return checked(task, where)


def _asks(top: Row, where: str) -> tuple[Ask, tuple[str, ...]]:
    """How a prompt becomes a question, and the fields that it needs for that."""
    cue = template(top["cue"], f"{where}: cue") if "cue" in top else Template("", ())
    if "question" not in top:
        subject = template(top["subject"], f"{where}: subject") if "subject" in top else Template("", ())
        return partial(_chat, subject, cue), tuple(dict.fromkeys(("prompt", *subject.fields, *cue.fields)))
    question = template(top["question"], f"{where}: question")
    if not question.fields:
        raise UserError(f'{where}: question {show(question.text)} has no field; write, say, "Product: {{product}}"')
    default = ", ".join("{%s}" % name for name in question.fields)  # noqa: UP031
    subject = template(top.get("subject", default), f"{where}: subject")
    fields = (*question.fields, *subject.fields, *cue.fields)
    return partial(_question, question, subject, cue), tuple(dict.fromkeys(fields))


def _chat(subject: Template, cue: Template, row: Mapping[str, Any] | str, where: str) -> Question:
    question = chat_question(row, where)
    row = {"prompt": row} if isinstance(row, str) else row
    values = _values({n: v for n, v in row.items() if n not in CHAT or isinstance(v, str)}, (subject, cue), where)
    return replace(question, subject=subject(values) or question.subject, cue=cue(values))


def _question(
    question: Template, subject: Template, cue: Template, row: Mapping[str, Any] | str, where: str
) -> Question:
    if isinstance(row, str):
        if len(question.fields) > 1:
            raise UserError(f"{where}: {show(row)} is one text, but the question needs {', '.join(question.fields)}")
        row = {question.fields[0]: row}
    values = _values(row, (question, subject, cue), where)
    asked = question(values)
    return Question(
        id=values.get("id") or digest(asked),
        subject=subject(values),
        text=asked,
        cue=cue(values),
        meta={name: value for name, value in row.items() if name not in ("id", "split")},
    )


def _values(row: Mapping[str, Any], templates: Sequence[Template], where: str) -> dict[str, str]:
    """A row's fields as texts, those that the templates need among them."""
    values = {name: as_text(value) for name, value in row.items()}
    for wanted in templates:
        for name in wanted.fields:
            if not values.get(name):
                has = ", ".join(str(n) for n in row) or "nothing"
                raise UserError(f"{where}: has no {name!r}, which {show(wanted.text)} needs (it has {show(has)})")
    return values


def _example(ask: Ask, row: Any, where: str, tested: set[str], tagged: bool) -> Example:
    sections = ("reasoning", "answer") if tagged else ("answer",)
    if not isinstance(row, dict):
        wanted = "a reasoning and an answer" if tagged else "and an answer"
        raise UserError(f"{where}: {show(row)}: write the question's fields, {wanted}")
    for name in sections:
        if name not in row:
            raise UserError(f"{where}: has no {name!r}; an example shows the whole reply")
    if not tagged and "reasoning" in row:
        raise UserError(f"{where}: has a reasoning, which replies of format none do not show; leave it out")
    question = ask({name: value for name, value in row.items() if name != "split"}, where)
    if question.messages:
        raise UserError(
            f"{where}: is a chat of several turns; an example is a prompt, which is one text, and its answer"
        )
    if same_letters(question.subject) in tested:
        raise UserError(f"{where}: {show(question.text)} is also tested on; take another example")
    if not tagged:
        return Example(question=question.text, reply=text(row["answer"], f"{where}: answer"))
    reasoning, answer = (text(row[name], f"{where}: {name}") for name in sections)
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
            "write text:, reasoning: and answer: under it, and the form is added; or ask for format: none"
        )
    return said


def _plain_system(value: Any, where: str) -> str:
    """Without a form nothing is added to what is written."""
    if not isinstance(value, dict):
        return text(value, where)
    for name in ("reasoning", "answer"):
        if name in value:
            raise UserError(
                f"{where}: says what belongs into {name!r}, and format none has no sections; write one text"
            )
    return text(mapping(value, ("text",), where, needed=("text",))["text"], f"{where}: text")


def _objectives(top: Row, where: str, tagged: bool) -> list[Objective]:
    no_reasoning = "format none has no reasoning section; leave it out, or take another format"
    found = [Objective(name="answer", criteria=text(top["criteria"], f"{where}: criteria"))]
    if "reasoning_criteria" in top:
        if not tagged:
            raise UserError(f"{where}: reasoning_criteria: {no_reasoning}")
        found.append(reasoning_objective(text(top["reasoning_criteria"], f"{where}: reasoning_criteria")))
    for i, item in enumerate(items(top.get("objectives", []), f"{where}: objectives"), 1):
        what = f"{where}: objectives: number {i}"
        fields = mapping(item, ("name", "criteria", "section", "weight"), what, needed=("name", "criteria"))
        section = text(fields.get("section", "answer"), f"{what}: section")
        if section not in ("answer", "reasoning"):
            raise UserError(f"{what}: section {show(section)}: choose from answer, reasoning")
        if section == "reasoning" and not tagged:
            raise UserError(f"{what}: section: {no_reasoning}")
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
