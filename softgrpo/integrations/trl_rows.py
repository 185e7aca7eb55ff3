"""What TRL hands to a reward function, put in order: rows, what a group of them has in common, how large one is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from softgrpo.errors import UserError
from softgrpo.integrations.groups import plain

Row = tuple[dict[str, Any], Any]
"""a prompt with the other columns of its row, and a completion"""
NO_COLUMNS = ("completion_ids", "trainer_state", "environments")
"""what TRL gives beside the data set's own"""


def check_version(oldest: tuple[int, int] = (1, 6)) -> None:
    """An older TRL takes a completion whose only reward is None for one of zero. Raises `UserError` for that."""
    try:
        found = version("trl")
    except PackageNotFoundError:
        return
    if tuple(map(int, re.findall(r"\d+", found)[:2])) < oldest:
        needed = ".".join(map(str, oldest))
        raise UserError(f"trl {found}: it takes a missing reward for zero; install trl>={needed}")


def group_size(log_metric: Any) -> int | None:
    """The trainer's own number, which evaluations have another of. Reward functions are not told; but what they are
    given to log with is the trainer's."""
    trainer = getattr(log_metric, "__self__", None)
    in_training = getattr(getattr(trainer, "model", None), "training", True)
    return getattr(trainer, "num_generations" if in_training else "num_generations_eval", None)


def common(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A group's prompt, with the columns that all its rows agree on: a rollout may have brought others."""
    first = rows[0]
    return {k: v for k, v in first.items() if k == "messages" or all(row.get(k) == v for row in rows)}


def rows_of(prompts: Sequence[Any], completions: Sequence[Any], columns: Mapping[str, Any]) -> list[Row]:
    """This process's rows: each prompt, as a chat, with its row's other columns as far as they are text and numbers."""
    chats = [[{"role": "user", "content": p}] if isinstance(p, str) else p for p in prompts]
    beside = {
        name: values
        for name, values in columns.items()
        if name not in NO_COLUMNS and isinstance(values, list | tuple) and len(values) == len(prompts)
    }
    return [
        ({**plain({name: values[i] for name, values in beside.items()}), "messages": chat}, completion)
        for i, (chat, completion) in enumerate(zip(chats, completions, strict=True))
    ]
