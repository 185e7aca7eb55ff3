"""A judge that is not told the task's criteria: it cannot prefer a text for having been trained on them."""

from __future__ import annotations

from dataclasses import replace

from softgrpo.records import Objective

NEUTRAL = "Which of the two answers is better?"
"""all that a sentinel is asked"""


def neutral(objective: Objective) -> Objective:
    """The same objective without its criteria.

    >>> neutral(Objective(name="wit", criteria="Which pun is worse?", section="reasoning"))
    Objective(name='wit', criteria='Which of the two answers is better?', section='reasoning', weight=1.0, ties=False)
    """
    return replace(objective, criteria=NEUTRAL)
