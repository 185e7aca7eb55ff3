"""The two uses of a judge: a tournament inside a group while training, head to head while testing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from softgrpo.records import Completion, Contest, Group, Judge, Match, Objective, Prompt, ScoredGroup, Verdict
from softgrpo.rewards.compose import compose, format_parts
from softgrpo.rewards.extra import extra_part
from softgrpo.rewards.format import section
from softgrpo.tasks.task import Task
from softgrpo.tournament.rating import pair_outcomes, win_shares
from softgrpo.tournament.schedule import round_robin
from softgrpo.tournament.winrate import Pair

FAILED = "failed"
"""finish reason of a completion that an API model did not deliver: there is nothing to judge, and nobody's fault"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """One pair of texts of an evaluation, and what was said of it."""

    prompt: Prompt
    ours: Completion
    theirs: Completion
    verdicts: tuple[Verdict, ...]
    pair: Pair


class Evaluator:
    """A task's objectives under one judge, with the weight of every reward part."""

    def __init__(self, task: Task, judge: Judge, weights: Mapping[str, float], *, orders: str = "both") -> None:
        self.judge = judge
        self.task = task
        self.weights = {**task.weights, **weights}
        self.complaints: dict[str, str] = {}
        """what went wrong first with each of the task's extra rewards"""
        self.orders = "balanced" if judge.scores_texts else orders
        # two players met once would always be read in the same order
        self.head_to_head = "balanced" if judge.scores_texts else "both"
        self.objectives = [replace(o, weight=self.weights[o.name]) for o in task.objectives if self.weights[o.name]]
        self.main = task.objectives[0]

    def score_groups(self, groups: Sequence[Group]) -> list[ScoredGroup]:
        """One tournament per objective and group; every match of all of them goes to the judge in one call."""
        verdicts = iter(
            self._judged([(g.prompt, g.completions, o) for g in groups for o in self.objectives], self.orders)
        )
        scored = []
        for group in groups:
            found = {o.name: next(verdicts) for o in self.objectives}
            standings = {name: win_shares(len(group.completions), v) for name, v in found.items()}
            parts = {name: standing.scores for name, standing in standings.items()}
            parts |= format_parts([c.text for c in group.completions])
            parts |= self._extra(group)
            scored.append(
                ScoredGroup(
                    group=group,
                    verdicts=tuple(v for found_v in found.values() for v in found_v),
                    standings=standings,
                    reward_parts=parts,
                    rewards=compose(parts, self.weights),
                )
            )
        return scored

    def _extra(self, group: Group) -> dict[str, np.ndarray]:
        """[G] of each of the task's rewards from code that counts."""
        parts = {}
        for name, reward in self.task.extra_rewards.items():
            if self.weights[name]:
                parts[name], wrong = extra_part(reward, group.prompt, group.completions)
                if wrong:
                    self.complaints.setdefault(name, wrong)
        return parts

    def meetings(
        self, prompts: Sequence[Prompt], ours: Sequence[Sequence[Completion]], theirs: Sequence[Sequence[Completion]]
    ) -> list[Meeting]:
        """Sample k of ours against sample k of theirs on each prompt, by the task's own objective."""
        met = [
            (prompt, a, b)
            for prompt, our, their in zip(prompts, ours, theirs, strict=True)
            for a, b in zip(our, their, strict=True)
        ]
        judged = self._judged([(prompt, (a, b), self.main) for prompt, a, b in met], self.head_to_head)
        return [
            Meeting(prompt=prompt, ours=a, theirs=b, verdicts=verdicts, pair=_pair(prompt, verdicts))
            for (prompt, a, b), verdicts in zip(met, judged, strict=True)
        ]

    def _judged(
        self, asked: Sequence[tuple[Prompt, Sequence[Completion], Objective]], orders: str
    ) -> list[tuple[Verdict, ...]]:
        """One tournament each: the judge's verdicts, and after them those that need no judge."""
        contests = [contest(prompt, completions, objective, orders) for prompt, completions, objective in asked]
        found = iter(self.judge.judge([c for c in contests if c.matches]))
        return [
            (next(found) if each.matches else ()) + settled(each, completions)
            for each, (_, completions, _) in zip(contests, asked, strict=True)
        ]


def contest(prompt: Prompt, completions: Sequence[Completion], objective: Objective, orders: str) -> Contest:
    """The objective's section of each completion, and a round robin among those that have one."""
    texts = tuple(section(c.text, objective.section) for c in completions)
    showing = [i for i, text in enumerate(texts) if text is not None]
    matches = round_robin(showing, orders=orders, objective=objective.name)
    return Contest(prompt=prompt, objective=objective, texts=texts, matches=matches)


def settled(contest: Contest, completions: Sequence[Completion]) -> tuple[Verdict, ...]:
    """The matches no judge is asked about.

    A text against one with nothing to show wins with p = 1; two of the latter meet at 1/2. A completion that its
    model failed to deliver forfeits nothing: its matches have no outcome.
    """
    verdicts = []
    for i, j in combinations(range(len(completions)), 2):
        match = Match(first=i, second=j, objective=contest.objective.name)
        shows = [contest.texts[k] is not None for k in (i, j)]
        if FAILED in (completions[i].finish_reason, completions[j].finish_reason):
            verdicts.append(Verdict(match=match, p_first=None, how="text", failure="a completion was not delivered"))
        elif not all(shows):
            p_first = 0.5 if shows[0] == shows[1] else float(shows[0])
            verdicts.append(Verdict(match=match, p_first=p_first, how="forfeit"))
    return tuple(verdicts)


def _pair(prompt: Prompt, verdicts: Sequence[Verdict]) -> Pair:
    return Pair(
        prompt_id=prompt.id,
        subject=prompt.subject,
        p_win=pair_outcomes(verdicts).get((0, 1)),
        forfeit=any(v.how == "forfeit" for v in verdicts),
    )
