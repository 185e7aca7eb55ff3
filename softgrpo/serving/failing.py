"""What went wrong, as a status and one line. Nothing of a text that was sent stands in it unescaped."""

from __future__ import annotations

import logging
import sqlite3
import traceback

from softgrpo.errors import UserError
from softgrpo.models.api.errors import APIStop, BudgetReached
from softgrpo.serving.limits import TooLarge
from softgrpo.serving.samples import Conflict, Stopping, Unjudged

LOG = logging.getLogger("softgrpo.serving")
STOPPING = "the server ends; ask again when it is back"


def answer_to(error: BaseException) -> tuple[int, str]:
    """The status and the words for an error.

    >>> answer_to(BudgetReached("budget_calls 5 is reached"))[0], answer_to(Unjudged(ValueError("what a text said")))
    (402, (500, 'ValueError in the server; its log says where'))
    """
    match error:
        case Unjudged():
            return answer_to(error.cause)
        case Stopping():
            return 503, STOPPING
        case Conflict():
            return 409, str(error)
        case TooLarge():
            return 413, str(error)
        case BudgetReached():
            return 402, one_line(error)
        case APIStop():
            return 503, one_line(error)
        case UserError() if isinstance(error.__cause__, sqlite3.Error | OSError):  # our own files
            return 503, one_line(error)
        case UserError():
            return 422, one_line(error)
    return 500, f"{type(error).__name__} in the server; its log says where"


def one_line(error: BaseException) -> str:
    """What an error says, with nothing in it that moves a terminal."""
    return "".join(c if c.isprintable() else " " for c in str(error))[:500]


def log(error: BaseException) -> None:
    """An error that nobody foresaw, by its kind and place alone: its words may be a model's."""
    error = error.cause if isinstance(error, Unjudged) else error
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    places = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames))
    LOG.error("%s at %s", type(error).__name__, places or "an unknown place")
