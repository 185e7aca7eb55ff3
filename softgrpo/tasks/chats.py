"""Prompts and completions in the shapes in which others hold them: texts, chats, rows of a data set. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from softgrpo.errors import UserError
from softgrpo.records import FAILED, Completion, Message, Prompt
from softgrpo.tasks.own import as_text, questions_from, whole
from softgrpo.tasks.rows import show
from softgrpo.tasks.task import INSTRUCTIONS, Question, Task, digest

CHAT = ("messages", "prompt")
"""columns that hold a chat, or a text; the second is TRL's"""
NAMES = ("id", "prompt_id")
ROLES = ("system", "user", "assistant")
"""of a task's own chats: other ones no template and no service has in common"""


class PromptReader:
    """Makes a task's `Prompt` of what somebody calls a prompt.

    A text is the question. Of a chat the question is the user's turn; where there are several turns it is all of them
    but the system's, worked examples included. A question that is one of the task's own, word for word, has that one's
    subject and cue.

    >>> read = PromptReader(Task(name="t", system="", train=(), test=(), objectives=())).read
    >>> read("Why?").question, read([{"role": "user", "content": "Why?"}]).question
    ('Why?', 'Why?')
    >>> turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Yes?"), ("user", "Why?")]
    >>> print(read([{"role": role, "content": content} for role, content in turns]).question)
    user: Hi
    <BLANKLINE>
    assistant: Yes?
    <BLANKLINE>
    user: Why?
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        asked = (*task.train, *task.test)
        times = Counter(q.text for q in asked)  # chats may differ in what a judge is not told
        self._known = {q.text: q for q in asked if times[q.text] == 1}

    def read(self, given: Any) -> Prompt:
        """A `Prompt`, a `Question`, a text, a list of messages, or a mapping: of the task's fields, or with `messages`
        or `prompt`. Raises `UserError` for anything else."""
        if isinstance(given, Prompt):
            return given
        if isinstance(given, Question):
            return self.task.prompt(given)
        if isinstance(given, str):
            return self._asked([Message(role="user", content=given)], {})
        if isinstance(given, Mapping):
            return self._row(given)
        if isinstance(given, Sequence) and not isinstance(given, bytes | bytearray):
            return self._asked(as_messages(given, "prompt"), {})
        raise UserError(f"prompt is a {type(given).__name__}; give {self._wanted}")

    @property
    def _wanted(self) -> str:
        fields = f", a mapping of {', '.join(self.task.fields)}" if self.task.own and not self.task.chats else ""
        return f"a text, a list of messages{fields}, or a mapping with `messages` or `prompt`"

    def _row(self, row: Mapping[str, Any]) -> Prompt:
        # a task's own field may be called `prompt`
        fields = () if self.task.chats else self.task.fields
        column = chat_column(row, but=fields)
        if column is None and fields and self.task.own and all(as_text(row.get(name)) for name in fields):
            return self._of_fields(row)
        if column is None:
            there = ", ".join(map(str, row)) or "nothing"
            raise UserError(f"prompt is a mapping of {show(there)}; give {self._wanted}")
        return self._asked(chat_in(row, column, "prompt"), beside(row), row_id(row))

    def _of_fields(self, row: Mapping[str, Any]) -> Prompt:
        asked = questions_from(self.task, row, "prompt")
        if len(asked) != 1:
            what = "; ".join(f"{name} {show(row[name])}" for name in self.task.fields)
            raise UserError(
                f"prompt: {self.task.name} asks {len(asked)} questions about {what}; {_what_differs(asked)}"
            )
        (question,) = asked
        return self.task.prompt(replace(question, id=row_id(row) or question.id))

    def _asked(self, messages: Sequence[Message], rest: Mapping[str, Any], id: str = "") -> Prompt:
        question = question_of(messages)
        known = self._known.get(question, Question(id=digest(messages), subject=question, text=question))
        return Prompt(
            id=id or known.id,
            messages=tuple(messages),
            subject=as_text(rest.get("subject")) or known.subject,
            question=question,
            cue=known.cue,
            meta={**known.meta, **{name: value for name, value in rest.items() if name != "subject"}},
        )


def chat_question(row: Mapping[str, Any] | str, where: str) -> Question:
    """What a row with `messages` or `prompt` asks; a text is the user's turn. The subject: the row's, or that.

    Raises `UserError`, which begins with `where`, unless the last turn is the user's.

    >>> turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    >>> question = chat_question({"messages": [*turns, {"role": "user", "content": "Why?"}], "id": "c1"}, "row 1")
    >>> question.id, question.text.split("\\n\\n"), len(question.messages)
    ('c1', ['user: Hi', 'assistant: Yes?', 'user: Why?'], 3)
    >>> chat_question("Why?", "row 1").text, chat_question("Why?", "row 1").messages
    ('Why?', ())
    """
    row = {"prompt": row} if isinstance(row, str) else row
    column = chat_column(row)
    if column is None:
        there = show(", ".join(map(str, row)) or "nothing")
        raise UserError(
            f"{where}: has neither messages nor a prompt (it has {there}); give a chat, or the task a question"
        )
    if column != "prompt" and isinstance(row[column], str):
        raise UserError(
            f"{where}: {column} {show(row[column])} is one text; give a list of messages, or call it prompt"
        )
    numbered = [
        (i, m)
        for i, m in enumerate(chat_in(row, column, where), 1)
        if m["content"].strip() or m["role"] not in INSTRUCTIONS  # data sets hold many a system turn that says nothing
    ]
    messages = [_sound(m, f"{where}: {column!r}: message {i}") for i, m in numbered]
    if not messages or messages[-1]["role"] != "user":
        last = f"is of the {messages[-1]['role']}" if messages else "is missing"
        raise UserError(f"{where}: {column!r}: the last turn {last}; a chat ends with what the user asks")
    question = question_of(messages)
    return Question(
        id=row_id(row) or digest(messages),
        subject=as_text(row.get("subject")) or question,
        text=question,
        messages=tuple(messages) if len(messages) > 1 else (),
        meta={name: value for name, value in beside(row).items() if name not in ("subject", "split")},
    )


def chat_column(row: Mapping[str, Any], *, but: Sequence[str] = ()) -> str | None:
    """The column that holds a row's chat, if one does."""
    return next((name for name in CHAT if row.get(name) is not None and name not in but), None)


def chat_in(row: Mapping[str, Any], column: str, where: str) -> list[Message]:
    """A column's chat; a text is the user's turn."""
    turns = row[column]
    if isinstance(turns, str):
        return [Message(role="user", content=turns)]
    if not isinstance(turns, Sequence) or isinstance(turns, bytes | bytearray):
        raise UserError(f"{where}: {column!r} is a {type(turns).__name__}; give a text or a list of messages")
    return as_messages(turns, f"{where}: {column!r}")


def beside(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's columns beside its chat and its name."""
    return {str(name): value for name, value in row.items() if name not in (*CHAT, *NAMES)}


def row_id(row: Mapping[str, Any]) -> str:
    """A row's own name, if it has one."""
    return next((as_text(row[name]) for name in NAMES if as_text(row.get(name))), "")


def question_of(messages: Sequence[Message]) -> str:
    """What a judge is told of a chat: its one turn, or the transcript of several. Raises `UserError` without a user."""
    turns = [m for m in messages if m["role"] not in INSTRUCTIONS]
    if not any(m["role"] == "user" for m in turns):
        raise UserError("prompt is a chat without a turn of the user; give what is asked")
    return turns[0]["content"] if len(turns) == 1 else "\n\n".join(f"{m['role']}: {m['content']}" for m in turns)


def as_messages(given: Sequence[Any], where: str) -> list[Message]:
    """A chat's turns, each content as one text.

    >>> as_messages([{"role": "user", "content": [{"type": "text", "text": "Why?"}]}], "prompt")
    [{'role': 'user', 'content': 'Why?'}]
    """
    found = []
    for number, turn in enumerate(given, 1):
        what = f"{where}: message {number}"
        if not isinstance(turn, Mapping):
            raise UserError(f'{what} is a {type(turn).__name__}; give {{"role": ..., "content": ...}}')
        if not isinstance(turn.get("role"), str) or not turn.keys() & {"content", "tool_calls"}:
            raise UserError(f"{what} has {show(', '.join(map(str, turn)))}; give it a role and a content")
        found.append(Message(role=turn["role"], content=_content(turn.get("content"), what)))
    return found


def as_completion(given: Any) -> Completion:
    """A text; the assistant's turns of a list of messages; None where nothing was delivered, which is no forfeit.

    >>> as_completion("Yes."), as_completion(None).finish_reason
    (Completion(text='Yes.', token_ids=(), sampling_logprobs=(), loss_mask=(), finish_reason='stop'), 'failed')
    """
    if isinstance(given, Completion):
        return given
    if given is None:
        return Completion(text="", finish_reason=FAILED)
    if isinstance(given, str):
        return Completion(text=given)
    if isinstance(given, Sequence) and not isinstance(given, bytes | bytearray):
        turns = [m["content"] for m in as_messages(given, "a completion") if m["role"] == "assistant"]
        if given and not turns:
            raise UserError("a completion is a list of messages without a turn of the assistant; give what it said")
        return Completion(text="\n".join(turns))
    raise UserError(
        f"a completion is a {type(given).__name__}; give a text, a list of messages, or None for one not delivered"
    )


def _content(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if content is None:  # a turn that only calls a tool
        return ""
    parts = content if isinstance(content, list | tuple) else [content]
    for part in parts:
        if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise UserError(f"{where} holds {show(kind)}, and a judge reads text alone; give a text")
    return "\n".join(part["text"] for part in parts)


def _sound(message: Message, where: str) -> Message:
    """A turn that every template and service can be given."""
    role = "system" if message["role"] in INSTRUCTIONS else message["role"]
    if role not in ROLES:
        raise UserError(f"{where} is of the role {show(role)}; choose from {', '.join(ROLES)}")
    if not message["content"].strip():
        raise UserError(f"{where} is empty; write something there, or leave it out")
    return Message(role=role, content=whole(message["content"]))


def _what_differs(asked: Sequence[Question]) -> str:
    """The field that would leave one of several questions."""
    for name in dict.fromkeys(name for q in asked for name in q.meta):
        values = list(dict.fromkeys(as_text(q.meta.get(name)) for q in asked))
        if len(values) == len(asked):
            return f"add {name!r}, one of {', '.join(values)}"
    return "give one of its Questions"
