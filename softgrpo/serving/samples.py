"""A member of a cohort, and what can be said against it. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any


class Conflict(Exception):
    """What is asked does not go with what the cohort is."""


class Stopping(Exception):
    """The server ends."""


class Unjudged(Exception):
    """A cohort's judgement ended in an error, which is kept nowhere: whoever asks again lets it be judged again."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One member that asks for its reward."""

    cohort: str
    member: str
    size: int
    prompt: Any
    asked: str
    """a digest of the prompt"""
    completion: Any
    text: str
    """a digest of the completion"""
    attempt: int = 0
    rolling: bool = False
    """a new member that finds the cohort full or ended opens the next one of that id"""
    deadline_s: float | None = None


def in_order(members: Collection[str]) -> list[str]:
    """Members as a group: numbers by their size, then names; so a group is the same however its members came.

    >>> in_order(["b", "10", "9", "a"])
    ['9', '10', 'a', 'b']
    """
    is_number = lambda name: name.isascii() and name.isdigit() and len(name) < 20  # noqa: E731
    return sorted(members, key=lambda name: (not is_number(name), int(name) if is_number(name) else 0, name))


def check_text(text: str, sample: Sample) -> None:
    """Raises `Conflict` where the member came before with another text, by its digest."""
    if text != sample.text:
        raise Conflict(
            "this member came before with another completion; give each sample a member of its own, or a retry the same"
        )


def check(size: int, asked: str, sample: Sample) -> None:
    """Raises `Conflict` where the cohort has another size, or by its digest another prompt."""
    if size != sample.size:
        raise Conflict(f"this cohort has a size of {size}, not {sample.size}; give all its members one size")
    if asked != sample.asked:
        raise Conflict("this cohort has another prompt; give all its members one prompt")
