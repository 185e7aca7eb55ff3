"""What one request may bring, and how long things are waited for and kept. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MEGABYTE = 1 << 20


class TooLarge(Exception):
    """A text is longer than is allowed; says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of a server."""

    max_body_mb: float = 16.0
    max_text_chars: int = 200_000
    """of a prompt, and of each completion"""
    max_group: int = 256
    """completions of one group"""
    cohort_deadline_s: float = 600.0
    """seconds from a cohort's first member, within which all must have come; a request may ask for fewer"""
    cohorts: str = ":memory:"
    """the SQLite file of finished cohorts"""
    keep_hours: float = 48.0
    """how long a finished cohort is kept"""

    @property
    def max_body(self) -> int:
        """In bytes."""
        return int(self.max_body_mb * MEGABYTE)

    def check_text(self, name: str, given: Any) -> None:
        """Raises `TooLarge` where the texts in it have more characters than are allowed.

        >>> Limits(max_text_chars=3).check_text("prompt", {"question": "Why?"})
        Traceback (most recent call last):
        softgrpo.serving.limits.TooLarge: prompt has more than 3 characters; shorten it, or serve with a higher \
--max_text_chars
        """
        if not at_most(self.max_text_chars, given):
            raise TooLarge(
                f"{name} has more than {self.max_text_chars} characters; shorten it, or serve with a higher "
                "--max_text_chars"
            )


def at_most(most: int, given: Any) -> bool:
    """The texts in it, however deep they lie, have no more characters than that; a value of another kind is one.

    >>> at_most(5, [{"a": "bc"}]), at_most(4, [{"a": "bc"}])
    (True, False)
    """
    waiting = [given]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            most -= len(value)
        else:
            most -= 1
            if isinstance(value, dict):
                waiting += [*value, *value.values()]
            elif isinstance(value, list | tuple):
                waiting += value
        if most < 0:
            return False
    return True
