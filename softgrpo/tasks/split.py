"""A task's prompts, and which of them are kept for testing. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from softgrpo.errors import UserError
from softgrpo.tasks.fields import items, mapping, number
from softgrpo.tasks.own import as_text
from softgrpo.tasks.rows import Row, brief, show
from softgrpo.tasks.task import Question, digest, same_asked, same_letters, spaced

Ask = Callable[[Mapping[str, Any] | str, str], Question]
"""from fields, and what to call them in an error, to a question"""
Rows = Callable[[str, str], Sequence[Row | str]]
"""from a source's name, and what to call it in an error, to its rows"""


def split(top: Row, ask: Ask, where: str, rows: Rows) -> tuple[tuple[Question, ...], tuple[Question, ...]]:
    """Train and test: two lists, a `split` in each prompt, or a share of the subjects."""
    prompts, what = top["prompts"], f"{where}: prompts"
    if isinstance(prompts, dict):
        parts = mapping(prompts, ("train", "test"), what, needed=("train", "test"))
        if "test_share" in top:
            raise UserError(f"{where}: test_share and prompts of train and test are two splits; drop one of them")
        train, test = ([q for q, _ in _questions(parts[p], ask, f"{what}: {p}", rows)] for p in ("train", "test"))
    else:
        found = _questions(prompts, ask, what, rows)
        marks = {mark for _, mark in found}
        if marks == {""}:
            if "test_share" not in top:
                raise UserError(f"{what}: nothing says which are for testing; give test_share: 0.3, or each a split")
            chosen = _drawn([q for q, _ in found], _share(top["test_share"], where))
            found = [(q, "test" if same_letters(q.subject) in chosen else "train") for q, _ in found]
        elif "" in marks:
            raise UserError(f"{what}: some have a split and some have none; give every one split: train or split: test")
        elif "test_share" in top:
            raise UserError(f"{where}: test_share and a split in each prompt are two splits; drop one of them")
        train, test = ([q for q, mark in found if mark == part] for part in ("train", "test"))
    _apart(train, test, where)
    return _together(train), _together(test)


def _questions(source: Any, ask: Ask, what: str, rows: Rows) -> list[tuple[Question, str]]:
    """The questions of a list or a file, each with its split if it names one."""
    listed = (
        rows(source, f"{what}: {brief(source)}") if isinstance(source, str) and source.strip() else items(source, what)
    )
    if not listed:
        raise UserError(f"{what}: there are none; list some, or name a .jsonl or .csv file")
    found: dict[str, int] = {}
    out = []
    for i, row in enumerate(listed, 1):
        where = f"{what}: number {i}"
        if not isinstance(row, dict | str):
            raise UserError(f"{where}: {show(row)} is neither a text nor fields; write - product: umbrella")
        question = ask(row, where)
        key = same_asked(question)
        if key in found:
            raise UserError(f"{where}: {show(question.text)} repeats number {found[key]}; drop one of them")
        found[key] = i
        mark = as_text(row.get("split")) if isinstance(row, dict) else ""
        if mark not in ("", "train", "test"):
            raise UserError(f"{where}: split {show(mark)}: choose from train, test")
        out.append((question, mark))
    return out


def _apart(train: Sequence[Question], test: Sequence[Question], where: str) -> None:
    trained = {spaced(q.text) for q in train}
    subjects = {same_letters(q.subject) for q in train}
    for question in test:
        if spaced(question.text) in trained:
            raise UserError(f"{where}: prompts: {show(question.text)} is in train and test; keep it in one of them")
        if same_letters(question.subject) in subjects:
            raise UserError(
                f"{where}: prompts: subject {show(question.subject)} is in train and test; keep its prompts together"
            )


def _together(questions: Sequence[Question]) -> tuple[Question, ...]:
    """Prompts of one subject side by side, in the order in which subjects first occur."""
    first: dict[str, int] = {}
    for question in questions:
        first.setdefault(same_letters(question.subject), len(first))
    return tuple(sorted(questions, key=lambda q: first[same_letters(q.subject)]))


def _drawn(questions: Sequence[Question], share: float) -> set[str]:
    """The subjects to test on: those of the lowest hashes, so that it is always the same ones."""
    subjects = sorted({same_letters(q.subject) for q in questions}, key=digest)
    return set(subjects[: min(max(1, round(share * len(subjects))), max(1, len(subjects) - 1))])


def _share(value: Any, where: str) -> float:
    share = number(value, f"{where}: test_share")
    if not 0 < share < 1:
        raise UserError(f"{where}: test_share {show(value)}: must lie between 0 and 1, such as 0.3")
    return share
