"""Anybody's function as a judge."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from softgrpo.records import Contest, Match, Verdict

Compare = Callable[[str, str, str], float | None]
"""judge(prompt, first, second) -> probability that the first wins, or None"""


class CallableJudge:
    """A function that is asked about one match at a time. What it gives is data: nothing is made of a wrong answer."""

    scores_texts = False

    def __init__(self, compare: Compare, name: str = "") -> None:
        self.compare = compare
        self.name = name or getattr(compare, "__name__", type(compare).__name__)

    def judge(self, contests: Sequence[Contest]) -> list[tuple[Verdict, ...]]:
        """One verdict per match; None, an exception, or no probability is a failed judgement."""
        return [tuple(self._verdict(contest, match) for match in contest.matches) for contest in contests]

    def _verdict(self, contest: Contest, match: Match) -> Verdict:
        first, second = (contest.texts[i] or "" for i in (match.first, match.second))
        try:
            given = self.compare(contest.prompt.question, first, second)
        except Exception as error:  # anybody's code: a failure is data
            said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            return Verdict(match=match, p_first=None, how="callable", failure=said)
        p_first, failure = as_probability(given)
        # a winner named outright is no probability of 0 or 1
        how = "text" if p_first in (0.0, 1.0) else "callable"
        return Verdict(match=match, p_first=p_first, how=how, reply=repr(given)[:80], failure=failure)


def as_probability(given: object) -> tuple[float | None, str]:
    """A number in [0, 1], or why there is none.

    >>> as_probability(0.25), as_probability(True)
    ((0.25, ''), (1.0, ''))
    >>> as_probability(1.7)
    (None, 'the judge gave 1.7, no probability in [0, 1]')
    >>> as_probability(None)
    (None, 'the judge gave no verdict')
    """
    if given is None:
        return None, "the judge gave no verdict"
    try:
        value = math.nan if isinstance(given, str | bytes) else float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if 0 <= value <= 1:
        return value, ""
    return None, f"the judge gave {repr(given)[:80]}, no probability in [0, 1]"
