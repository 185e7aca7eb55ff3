"""What a `Scorer` judges by: a task or free criteria, the form of a reply, rewards from code, and their weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from softgrpo.config.judging import JudgingFlags
from softgrpo.config.players import TASK_ALIASES
from softgrpo.errors import UserError
from softgrpo.records import NOTHING
from softgrpo.rewards.compose import FORMAT_PARTS
from softgrpo.tasks import Task, load_task
from softgrpo.tasks.rows import nearest
from softgrpo.tasks.task import FORMATS, ExtraReward, name_fault, of_criteria, with_format

OWN = "own"
"""the format that the task itself asks for"""


def scoring_task(
    task: str | Task | None, criteria: str | None, form: str | None = OWN, rewards: Mapping[str, ExtraReward] = NOTHING
) -> Task:
    """The task, or one of the criteria alone, with rewards from code beside its own. Raises `UserError`.

    >>> short = lambda prompt, completion: -len(completion.text)
    >>> found = scoring_task(None, "The better reason.", rewards={"short": short})
    >>> found.format, found.weights
    (None, {'answer': 1.0, 'short': 1.0})
    """
    if (task is None) == (criteria is None):
        raise UserError("a scorer judges by a task or by criteria; give exactly one of task=... and criteria=...")
    if form not in (OWN, None, *FORMATS):
        raise UserError(f"format {form!r}: choose from {', '.join(FORMATS)}, or leave it out")
    form = None if form == "none" else form
    if criteria is not None:
        found = of_criteria(criteria, None if form == OWN else form)
    else:
        found = load_task(TASK_ALIASES.get(task, task)) if isinstance(task, str) else cast(Task, task)
        found = found if form == OWN else with_format(found, form)
    for name, reward in rewards.items():
        if wrong := name_fault(name):
            raise UserError(f"rewards: {wrong}")
        if name in found.weights:
            raise UserError(f"rewards: {found.name} has a reward {name!r} already; take another name")
        if not callable(reward):
            raise UserError(f"rewards: {name} is a {type(reward).__name__}; give a function of (prompt, completion)")
    return replace(found, extra_rewards={**found.extra_rewards, **rewards}) if rewards else found


def weights_for(task: Task, given: Mapping[str, float], *, judge_is_local: bool) -> dict[str, float]:
    """The task's own, with the defaults of `softgrpo train` for what it leaves to them, and what is given over both."""
    defaults = JudgingFlags().weights(judge_is_local=judge_is_local)
    found = task.weights
    left = [*(FORMAT_PARTS if task.format else ()), *({"reasoning"} & found.keys())]
    found |= {name: defaults[name] for name in left}
    for name, weight in given.items():
        if name not in found:
            raise UserError(f"weights: {task.name} has no reward part {name!r}; {nearest(str(name), list(found))}")
        if not math.isfinite(weight):
            raise UserError(f"weights: {name} is {weight}; give a finite number")
    return found | dict(given)
