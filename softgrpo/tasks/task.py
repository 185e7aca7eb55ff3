"""What a task is: prompts of two splits, the form of a reply, and criteria for a judge."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from softgrpo.records import NOTHING, Message, Objective, Prompt

FORM = """Reply in exactly this form:
<reasoning>
{reasoning}
</reasoning>
<answer>
{answer}
</answer>"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One thing to ask, before it becomes a prompt for a particular model."""

    id: str
    subject: str
    text: str
    """the user's turn"""
    cue: str = ""
    meta: Mapping[str, Any] = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A worked example: a user's turn and the reply one would like."""

    question: str
    reply: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task. `train` and `test` share no subject; a test subject's questions are always the same."""

    name: str
    system: str
    train: tuple[Question, ...]
    test: tuple[Question, ...]
    objectives: tuple[Objective, ...]
    """the first is the task's own; the others carry their names as weights' names"""
    examples: tuple[Example, ...] = ()

    def prompt(self, question: Question, *, num_shots: int = 0) -> Prompt:
        """The chat for a question: system text, worked examples, the question."""
        messages: list[Message] = [{"role": "system", "content": self.system}]
        for example in self.examples[:num_shots]:
            messages.append({"role": "user", "content": example.question})
            messages.append({"role": "assistant", "content": example.reply})
        messages.append({"role": "user", "content": question.text})
        return Prompt(
            id=question.id,
            messages=tuple(messages),
            subject=question.subject,
            question=question.text,
            cue=question.cue,
            meta=question.meta,
        )


def form(reasoning: str, answer: str) -> str:
    """The reply's form, for a system text or a worked example."""
    return FORM.format(reasoning=reasoning, answer=answer)


def filled(reasoning: str, answer: str) -> str:
    """A reply in that form."""
    return form(reasoning, answer).split("\n", 1)[1]


def packaged_lines(name: str) -> list[dict[str, Any]]:
    """The JSON lines of a packaged data file."""
    text = (resources.files("softgrpo.tasks") / "data" / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line]


def reasoning_objective(criteria: str) -> Objective:
    """Reasoning quality: a second tournament over the reasoning sections."""
    return Objective(name="reasoning", section="reasoning", criteria=criteria)


def check(task: Task) -> Sequence[str]:
    """What is wrong with a task's data: repeated ids, subjects on both sides of the split."""
    ids = [q.id for q in (*task.train, *task.test)]
    wrong = [f"question {i!r} occurs {ids.count(i)} times" for i in sorted(set(ids)) if ids.count(i) > 1]
    plain = lambda q: "".join(c for c in q.subject.casefold() if c.isalnum())  # noqa: E731
    both = {plain(q) for q in task.train} & {plain(q) for q in task.test}
    return wrong + [f"subject {s!r} is in train and test" for s in sorted(both)]
