"""The two uses of a judge: a tournament inside a group while training, head to head while testing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from softgrpo.judging.arrivals import Arrivals
from softgrpo.judging.canaries import Canary, Tally, draw, told
from softgrpo.judging.rounds import Bout, hold
from softgrpo.records import Completion, Contest, Group, Judge, Objective, Prompt, ScoredGroup, Verdict
from softgrpo.rewards.compose import compose, format_parts, reward_stderrs
from softgrpo.rewards.extra import extra_part
from softgrpo.rewards.format import section
from softgrpo.streams import seed_for
from softgrpo.tasks.task import Task
from softgrpo.tournament.forfeits import forfeits
from softgrpo.tournament.rating import Bias, learned, pair_outcomes
from softgrpo.tournament.rule import Rule
from softgrpo.tournament.schedule import Plan, size
from softgrpo.tournament.winrate import Pair

FAILED = "failed"
"""finish reason of a completion that an API model did not deliver: there is nothing to judge, and nobody's fault"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Texts that are to meet under one objective."""

    prompt: Prompt
    completions: Sequence[Completion]
    objective: Objective
    plan: Plan
    seed: int = 0

    @property
    def undelivered(self) -> set[int]:
        """Completions that an API model did not deliver."""
        return {i for i, c in enumerate(self.completions) if c.finish_reason == FAILED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """One pair of texts of an evaluation, and what was said of it."""

    prompt: Prompt
    ours: Completion
    theirs: Completion
    verdicts: tuple[Verdict, ...]
    pair: Pair


class Evaluator:
    """A task's objectives under one judge, with the weight of every reward part.

    What it has learned of the judge and of the task's own rewards is its only state; a checkpoint keeps it. One thread
    scores groups, while another may hold `meetings` and read that state: its mappings never change, new ones take their
    place.
    """

    def __init__(
        self,
        task: Task,
        judge: Judge,
        weights: Mapping[str, float],
        *,
        plan: Plan = Plan(),
        rule: Rule = Rule(),
        canary_rate: float = 0.0,
        gold: Sequence[Contest] = (),
    ) -> None:
        """`canary_rate`: canaries per match, beside the matches; `gold`: pairs of which the first text is better."""
        self.judge = judge
        self.task = task
        self.weights = {**task.weights, **weights}
        self.plan, self.rule = plan, rule
        self.canary_rate, self.gold = canary_rate, gold
        self.complaints: Mapping[str, str] = {}
        """what went wrong first with each of the task's extra rewards"""
        self.biases: Mapping[str, Bias] = {}
        """by objective"""
        self.canaries: Mapping[str, Tally] = {}
        """by kind, over the run"""
        self.objectives = [replace(o, weight=self.weights[o.name]) for o in task.objectives if self.weights[o.name]]
        self.main = task.objectives[0]

    def score_groups(self, groups: Sequence[Group] | Arrivals, *, seed: int = 0) -> list[ScoredGroup]:
        """One tournament per objective and group; each round of all of them goes to the judge in one call.

        Groups that arrive one by one join between rounds; what is found depends on none of it.
        """
        came, judged = self._tournaments(groups if isinstance(groups, Arrivals) else Arrivals.of(groups), seed)
        scored = []
        for place, group in sorted(came.items()):
            found = {o.name: judged[place, o.name] for o in self.objectives}
            standings = {
                o.name: self.rule.standing(
                    len(group.completions), found[o.name], bias=self.biases.get(o.name, Bias()), ties=o.ties
                )
                for o in self.objectives
            }
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
                    stderrs=reward_stderrs(standings, self.weights),
                )
            )
        self._learn(scored)
        return scored

    def _tournaments(
        self, arrivals: Arrivals, seed: int
    ) -> tuple[dict[int, Group], dict[tuple[int, str], tuple[Verdict, ...]]]:
        """The groups by their place, and the verdicts by place and objective. Canaries are drawn when all are there."""
        came: dict[int, Group] = {}
        asked: dict[tuple[int, str], Asked] = {}
        bouts: dict[tuple[int, str], Bout] = {}
        canaries: list[Canary] = []

        def more(wait: bool) -> list[Bout]:
            if arrivals.complete:
                return []
            new = dict(arrivals.take(wait=wait))
            came.update(new)
            for i, group in new.items():
                for o in self.objectives:
                    drawn = seed_for(seed, "schedule", i, o.name)
                    asked[i, o.name] = Asked(
                        prompt=group.prompt, completions=group.completions, objective=o, plan=self.plan, seed=drawn
                    )
                    bouts[i, o.name] = self._bout(asked[i, o.name])
            if arrivals.complete:
                canaries.extend(self._canaries([bouts[i, o.name] for i in sorted(came) for o in self.objectives], seed))
            return [
                *(bouts[i, o.name] for i in new for o in self.objectives),
                *(Bout(contest=c.contest) for c in canaries),
            ]

        found = hold(self.judge, [], more)
        self.canaries = told(self.canaries, canaries, found[len(bouts) :])
        return came, {key: _whole(asked[key], verdicts) for key, verdicts in zip(bouts, found, strict=False)}

    def state(self) -> dict[str, Any]:
        """What later groups start from, as it is saved."""
        return {
            "biases": {name: asdict(bias) for name, bias in self.biases.items()},
            "canaries": {kind: asdict(tally) for kind, tally in self.canaries.items()},
            "complaints": dict(self.complaints),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self.biases = {name: Bias(**values) for name, values in state.get("biases", {}).items()}
        self.canaries = tallies(state)
        self.complaints = dict(state.get("complaints", {}))

    def _learn(self, scored: Sequence[ScoredGroup]) -> None:
        """What these groups teach of the judge, for those that come after them."""
        if self.judge.scores_texts:
            return
        new = {}
        for o in self.objectives:
            groups = [
                (len(s.group.completions), [v for v in s.verdicts if v.match.objective == o.name]) for s in scored
            ]
            new[o.name] = learned(self.biases.get(o.name, Bias()), groups)
        self.biases = {**self.biases, **new}

    def _extra(self, group: Group) -> dict[str, np.ndarray]:
        """[G] of each of the task's rewards from code that counts."""
        parts = {}
        for name, reward in self.task.extra_rewards.items():
            if self.weights[name]:
                parts[name], wrong = extra_part(reward, group.prompt, group.completions)
                if wrong and name not in self.complaints:
                    self.complaints = {**self.complaints, name: wrong}
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
        # always both orders: two players met once would be read in the same order every time
        asked = [Asked(prompt=prompt, completions=(a, b), objective=self.main, plan=Plan()) for prompt, a, b in met]
        found = hold(self.judge, [Bout(contest=shown(each), plan=each.plan) for each in asked])
        judged = [_whole(each, verdicts) for each, verdicts in zip(asked, found, strict=True)]
        return [
            Meeting(prompt=prompt, ours=a, theirs=b, verdicts=verdicts, pair=_pair(prompt, verdicts))
            for (prompt, a, b), verdicts in zip(met, judged, strict=True)
        ]

    def _bout(self, asked: Asked) -> Bout:
        bias = self.biases.get(asked.objective.name, Bias())
        return Bout(contest=shown(asked), plan=asked.plan, seed=asked.seed, bias=bias)

    def _canaries(self, bouts: Sequence[Bout], seed: int) -> list[Canary]:
        players = [sum(text is not None for text in b.contest.texts) for b in bouts]
        n = sum(size(self.plan, k) for k in players)
        contests = [b.contest for b in bouts]
        return draw(contests, self.gold, rate=self.canary_rate, n_matches=n, seed=seed_for(seed, "canaries"))


def tallies(state: Mapping[str, Any]) -> dict[str, Tally]:
    """How the canaries have fared, in a state as it is saved."""
    return {kind: Tally(**values) for kind, values in state.get("canaries", {}).items()}


def shown(asked: Asked) -> Contest:
    """The objective's section of each completion: what there is to compare."""
    texts = tuple(section(c.text, asked.objective.section) for c in asked.completions)
    return Contest(prompt=asked.prompt, objective=asked.objective, texts=texts, matches=())


def _whole(asked: Asked, verdicts: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
    """The judge's verdicts, and after them those that need no judge."""
    texts = shown(asked).texts
    return verdicts + forfeits(texts, objective=asked.objective.name, undelivered=asked.undelivered)


def _pair(prompt: Prompt, verdicts: Sequence[Verdict]) -> Pair:
    return Pair(
        prompt_id=prompt.id,
        subject=prompt.subject,
        p_win=pair_outcomes(verdicts).get((0, 1)),
        forfeit=any(v.how == "forfeit" for v in verdicts),
    )
