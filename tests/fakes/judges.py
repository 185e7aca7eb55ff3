"""Judges that follow a script. Each keeps what it was shown, and none may be asked about a text that is not there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from softgrpo.records import Contest, Match, Verdict


class ScriptedJudge:
    """Gives p(first wins) by a function of the two texts; None is a failed judgement."""

    scores_texts = False

    def __init__(
        self, p_first: Callable[[str, str], float | None], *, how: str = "text", name: str = "scripted"
    ) -> None:
        self.name = name
        self.how = how
        self.p_first = p_first
        self.seen: list[Contest] = []

    def judge(self, contests: Sequence[Contest]) -> list[tuple[Verdict, ...]]:
        self.seen += contests
        return [tuple(self._verdict(contest, match) for match in contest.matches) for contest in contests]

    def _verdict(self, contest: Contest, match: Match) -> Verdict:
        first, second = contest.texts[match.first], contest.texts[match.second]
        assert first is not None, "a judge was asked about a text that forfeits"
        assert second is not None, "a judge was asked about a text that forfeits"
        p = self.p_first(first, second)
        failure = "the script fails here" if p is None else ""
        return Verdict(match=match, p_first=p, how=self.how, failure=failure)

    @property
    def shown(self) -> set[str]:
        """Every text this judge could read in a match."""
        return {c.texts[i] or "" for c in self.seen for m in c.matches for i in (m.first, m.second)}


def skill_judge(skill: Mapping[str, float], *, bias: float = 0.0, hard: bool = False) -> ScriptedJudge:
    """The planted skill of each text decides: by its difference in log-odds plus a bias for the first, or outright."""

    def p_first(first: str, second: str) -> float:
        difference = skill[first] - skill[second]
        if hard:
            return 0.5 if difference == 0 else float(difference > 0)
        return 1 / (1 + math.exp(-(difference + bias)))

    return ScriptedJudge(p_first, how="text" if hard else "log_odds")


def prefers_first() -> ScriptedJudge:
    """Whatever it reads first wins."""
    return ScriptedJudge(lambda first, second: 1.0)


def failing(on: Callable[[str, str], bool] = lambda first, second: True) -> ScriptedJudge:
    """No verdict where `on(first, second)`; elsewhere the longer text wins."""
    return ScriptedJudge(lambda a, b: None if on(a, b) else float(len(a) > len(b)))
