"""What a task is: prompts of two splits, the form of a reply, and criteria for a judge."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from itertools import takewhile
from typing import Any

from softgrpo.errors import UserError
from softgrpo.records import NOTHING, Completion, Message, Objective, Prompt

ExtraReward = Callable[[Prompt, Completion], float]
TAKEN = tuple("answer reasoning strict_format soft_format tag_count sameness reward length sampled_logprob".split())
"""names of reward parts and metrics that a task's own may not have"""

FORMATS = ("reasoning_answer", "none")
"""what a task may ask of a reply: two sections between tags, or nothing"""

INSTRUCTIONS = ("system", "developer")
"""roles whose turns say how to answer, of which a judge is not told"""

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
    """what is asked, as a judge is told it: the user's turn, or the transcript of several turns"""
    messages: tuple[Message, ...] = ()
    """the chat, where it is more than the user's one turn"""
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
    format: str | None = "reasoning_answer"
    """the form of a reply; None: there is none, the whole reply is judged and no format reward is given"""
    extra_rewards: Mapping[str, ExtraReward] = field(default_factory=lambda: NOTHING)
    """rewards from code, by name; one that raises or gives no number leaves its completion without a reward"""
    extra_weights: Mapping[str, float] = field(default_factory=lambda: NOTHING)
    """weights of the extra rewards; 1 where none is given"""
    fields: tuple[str, ...] = ()
    """what `own` must be told about a question of the user's own"""
    own: Callable[[Mapping[str, Any]], tuple[Question, ...]] | None = None
    """what the task asks about such fields"""
    chats: bool = False
    """a prompt is a chat: `own` is given rows that hold `messages` or `prompt`, as they are"""

    @property
    def weights(self) -> dict[str, float]:
        """The task's own weight of each objective and extra reward; the configuration's win over it."""
        return {o.name: o.weight for o in self.objectives} | {
            name: self.extra_weights.get(name, 1.0) for name in self.extra_rewards
        }

    def prompt(self, question: Question, *, num_shots: int = 0) -> Prompt:
        """The chat for a question: system text, worked examples, the question.

        A chat that opens with a system turn keeps that one alone, unless a form must be asked for: then the task's
        system text follows in the same turn.
        """
        chat: list[Message] = list(question.messages) or [{"role": "user", "content": question.text}]
        own = [m["content"] for m in takewhile(lambda m: m["role"] in INSTRUCTIONS, chat)]
        system = [*own, self.system] if self.system and (self.format is not None or not own) else own
        messages: list[Message] = [{"role": "system", "content": "\n\n".join(system)}] if system else []
        for example in self.examples[:num_shots]:
            messages.append({"role": "user", "content": example.question})
            messages.append({"role": "assistant", "content": example.reply})
        messages += chat[len(own) :]
        return Prompt(
            id=question.id,
            messages=tuple(messages),
            subject=question.subject,
            question=question.text,
            cue=question.cue,
            meta=question.meta,
        )


def of_criteria(criteria: str, form: str | None) -> Task:
    """No more of a task than what makes a text better: it has no prompts of its own."""
    if not criteria.strip():
        raise UserError("criteria are empty; say what makes a text better")
    whole = criteria.encode("utf-8", "replace").decode()  # no service takes half a character
    objective = Objective(name="answer", criteria=whole)
    return Task(name="criteria", system="", train=(), test=(), objectives=(objective,), format=form)


def with_format(task: Task, form: str | None) -> Task:
    """The task with another form of the replies it scores; without one, its criteria for the reasoning are dropped."""
    kept = tuple(o for o in task.objectives if form is not None or o.section != "reasoning")
    if not kept:
        raise UserError(f"{task.name} judges the reasoning alone, which format none does not have; take another task")
    return replace(task, format=form, objectives=kept)


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


def same_letters(text: str) -> str:
    """Letters and digits alone, so that punctuation and case make no new subject.

    >>> same_letters("Subject, 0!") == same_letters("subject 0")
    True
    """
    return "".join(c for c in text.casefold() if c.isalnum()) or text


def spaced(text: str) -> str:
    """A text without differences of case and white space.

    >>> spaced(" One   two ") == spaced("one two")
    True
    """
    return " ".join(text.casefold().split())


def same_asked(question: Question) -> str:
    """Equal for questions that ask the same: every turn of a chat counts."""
    return spaced("\n\n".join(m["content"] for m in question.messages) or question.text)


def digest(*what: Any) -> str:
    """A short name for a content: the same content, the same name.

    >>> digest("a", 1) == digest("a", 1) != digest("a", 2)
    True
    """
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=repr).encode()).hexdigest()[:12]


def fingerprint(task: Task) -> str:
    """Changes when what is asked, shown or judged changes."""
    asked = [
        [q.id, q.subject, q.text, q.cue, *([q.messages] if q.messages else [])]
        for part in (task.train, task.test)
        for q in part
    ]
    judged = [[o.name, o.criteria, o.section, *(["ties"] if o.ties else [])] for o in task.objectives]
    examples = [[e.question, e.reply] for e in task.examples]
    form = ["no format"] if task.format is None else []
    return digest(task.system, len(task.train), asked, judged, examples, task.weights, *form)


def name_fault(name: str) -> str:
    """What is wrong with a reward's name, if anything is.

    >>> name_fault("short"), name_fault("tag_count")
    ('', "a reward cannot be called 'tag_count'; take another name, of small letters, digits and _")
    """
    if name not in TAKEN and re.fullmatch(r"[a-z][a-z0-9_]*", name):
        return ""
    return f"a reward cannot be called {name!r}; take another name, of small letters, digits and _"


def faults(task: Task) -> Sequence[str]:
    """What is wrong with a task's data: repeated ids or prompts, subjects on both sides of the split."""
    both = (*task.train, *task.test)
    ids = Counter(q.id for q in both)
    wrong = [f"question {i!r} occurs {n} times" for i, n in sorted(ids.items()) if n > 1]
    texts = Counter(same_asked(q) for q in {q.id: q for q in both}.values())
    wrong += [f"prompt {text!r} occurs {n} times" for text, n in sorted(texts.items()) if n > 1]
    shared = {same_letters(q.subject) for q in task.train} & {same_letters(q.subject) for q in task.test}
    return wrong + [f"subject {s!r} is in train and test" for s in sorted(shared)]


def checked(task: Task, where: str) -> Task:
    """The task, if a run can use it; what is wrong with it is one line that begins with where it was written."""
    wrong = [*_not_usable(task), *faults(task)]
    if wrong:
        raise UserError(f"{where}: {' '.join(wrong[0].split())}")
    return task


def _not_usable(task: Task) -> list[str]:
    wrong = [f"no {name} prompts; give some" for name in ("train", "test") if not getattr(task, name)]
    if not task.objectives:
        wrong.append("no criteria; say what makes an answer better")
    own = [o.name for o in task.objectives[1:] if o.name != "reasoning"] + list(task.extra_rewards)
    wrong += [
        f"criteria of {o.name!r} are empty; say what makes a text better"
        for o in task.objectives
        if not o.criteria.strip()
    ]
    wrong += [fault for name in own if (fault := name_fault(name))]
    if task.format not in (None, "reasoning_answer"):
        wrong.append(f"format {task.format!r}: choose from reasoning_answer, None")
    wrong += [
        f"criteria of {o.name!r} are for the reasoning section, which format none does not have; leave them out"
        for o in task.objectives
        if task.format is None and o.section == "reasoning"
    ]
    wrong += [f"two rewards are called {name!r}; rename one" for name, n in Counter(own).items() if n > 1]
    wrong += [f"weight of {n!r} is {w}; give a finite number" for n, w in task.weights.items() if not math.isfinite(w)]
    tested = {spaced(q.text) for q in task.test}
    wrong += [
        f"the example {e.question!r} is also a test prompt; take another example"
        for e in task.examples
        if spaced(e.question) in tested
    ]
    return wrong
