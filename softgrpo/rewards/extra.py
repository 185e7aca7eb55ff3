"""Rewards from a task's own code. Pure but for what that code does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from softgrpo.records import Completion, Prompt


def extra_part(
    reward: Callable[[Prompt, Completion], float], prompt: Prompt, completions: Sequence[Completion]
) -> tuple[np.ndarray, str]:
    """[G] what the function gives each completion, NaN where it gives no number, and what went wrong first.

    >>> from softgrpo.records import Prompt, Completion
    >>> prompt = Prompt(id="p", messages=(), subject="s", question="q")
    >>> extra_part(lambda p, c: 1 / len(c.text), prompt, [Completion(text="ab"), Completion(text="")])
    (array([0.5, nan]), 'ZeroDivisionError: division by zero')
    """
    values, wrong = [], ""
    for completion in completions:
        value, said = _one(reward, prompt, completion)
        values.append(value)
        wrong = wrong or said
    return np.array(values), wrong


def _one(reward: Callable[[Prompt, Completion], float], prompt: Prompt, completion: Completion) -> tuple[float, str]:
    try:
        given = reward(prompt, completion)
        value = math.nan if given is None or isinstance(given, str | bytes) else float(given)
        said = f"it gave {' '.join(repr(given).split())[:80]}, no number"
    except Exception as error:  # anybody's code: a failure is data, never a zero
        return math.nan, " ".join(f"{error.__class__.__name__}: {error}".split())[:200]
    return (value, "") if math.isfinite(value) else (math.nan, said)
