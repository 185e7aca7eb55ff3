"""Groups to rewards: the one scoring function, which training, evaluation, rescoring and every adapter call."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from softgrpo.group_queue import GroupQueue
from softgrpo.judges.canaries import Canary, Tally, draw_canaries, tally
from softgrpo.judges.nobody import Nobody
from softgrpo.judges.vectors import vectors_of
from softgrpo.records import FAILED, NOTHING, Completion, Contest, Group, Judge, Objective, Prompt, ScoredGroup, Verdict
from softgrpo.rewards.answers import answers_of
from softgrpo.rewards.compose import FORMAT_PARTS, compose, format_parts, reward_stderrs
from softgrpo.rewards.extra import extra_part
from softgrpo.rewards.format import judged_text
from softgrpo.rewards.sameness import SAMENESS, Recent
from softgrpo.streams import seed_for
from softgrpo.tasks.task import Task
from softgrpo.tournament.bias import Bias, learned
from softgrpo.tournament.forfeits import forfeits
from softgrpo.tournament.outcomes import pair_outcomes
from softgrpo.tournament.rule import Rule
from softgrpo.tournament.run import Tournament, run_tournaments
from softgrpo.tournament.schedule import Plan, size

Found = dict[tuple[int, str], tuple[Verdict, ...]]
"""verdicts by a group's place and an objective's name"""
Parts = Mapping[str, np.ndarray]
"""[G] each, by name"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What came of a meeting of two texts."""

    prompt: Prompt
    ours: Completion
    theirs: Completion
    verdicts: tuple[Verdict, ...]
    p_win: float | None
    """outcome of both orders together, for ours; None where a judgement is missing"""
    forfeit: bool
    """decided because a text had nothing to show"""


class Evaluator:
    """A task's objectives under one judge, with the weight of every reward part.

    What it has learned of the judge and of the task's own rewards, and what was answered lately, is its only state; a
    checkpoint keeps it. Several threads may score groups and hold `meetings` at once, if the judge bears it: what the
    state holds never changes, new takes its place, and nothing that a thread has learned is lost.
    """

    def __init__(
        self,
        task: Task,
        judge: Judge | None,
        weights: Mapping[str, float],
        *,
        plan: Plan = Plan(),
        rule: Rule = Rule(),
        canary_rate: float = 0.0,
        gold: Sequence[Contest] = (),
    ) -> None:
        """`weights` win over the task's own. Without a `judge` only recorded verdicts are scored.

        `canary_rate`: canaries per match, beside the matches; `gold`: pairs of which the first text is better.
        """
        self.judge: Judge = judge or Nobody()
        self.task = task
        absent = FORMAT_PARTS if task.format is None else ()
        self.weights = {n: w for n, w in {**task.weights, **weights}.items() if n not in absent}
        self.plan, self.rule = plan, rule
        self.canary_rate, self.gold = canary_rate, gold
        self.complaints: Mapping[str, str] = {}
        """what went wrong first with each of the task's extra rewards"""
        self.biases: Mapping[str, Bias] = {}
        """by objective"""
        self.canaries: Mapping[str, Tally] = {}
        """by kind, over the run"""
        self.recent = Recent()
        """answers to the last prompts, where sameness costs"""
        self.objectives = [replace(o, weight=self.weights[o.name]) for o in task.objectives if self.weights[o.name]]
        self.main = task.objectives[0]
        self._learning = threading.Lock()

    def score_groups(
        self,
        groups: Sequence[Group] | GroupQueue,
        *,
        seed: int | Sequence[int] = 0,
        recorded: Sequence[Mapping[str, Sequence[Verdict]]] | None = None,
    ) -> list[ScoredGroup]:
        """One tournament per objective and group; each round of all of them goes to the judge in one call.

        Groups that arrive one by one join between rounds; what is found depends on none of it. `seed`: one, from which
        each schedule's follows by the group's place; or one per group, whose matches then depend on no other group.
        `recorded`: the verdicts of each group by objective, forfeits included; then no judge is asked, and everything
        else is the same.
        """
        biases = self.biases  # what other threads learn meanwhile is for later calls
        if recorded is None:
            queue = groups if isinstance(groups, GroupQueue) else GroupQueue.of(groups)
            came, found = self._ask(queue, seed, biases)
        else:
            if isinstance(groups, GroupQueue):
                raise TypeError("recorded verdicts are of groups that are all there; give a sequence of them")
            came = dict(enumerate(groups))
            found = {
                (place, o.name): tuple(verdicts.get(o.name, ()))
                for (place, _), verdicts in zip(came.items(), recorded, strict=True)
                for o in self.objectives
            }
        shared = self._sameness(came)
        scored = [
            self._scored(group, {o.name: found[place, o.name] for o in self.objectives}, biases, shared.get(place, {}))
            for place, group in sorted(came.items())
        ]
        self._learn(scored)
        return scored

    def meetings(
        self, prompts: Sequence[Prompt], ours: Sequence[Sequence[Completion]], theirs: Sequence[Sequence[Completion]]
    ) -> list[Comparison]:
        """Sample k of ours against sample k of theirs on each prompt: groups of two, by the task's own objective.

        Always in both orders: two players met once would be read in the same order every time. Nothing is learned.
        """
        met = [
            (prompt, a, b)
            for prompt, our, their in zip(prompts, ours, theirs, strict=True)
            for a, b in zip(our, their, strict=True)
        ]
        alone = replace(self.task, objectives=(self.main,), extra_rewards=NOTHING, extra_weights=NOTHING)
        apart = Evaluator(alone, self.judge, {self.main.name: 1.0, **dict.fromkeys(FORMAT_PARTS, 0.0)})
        scored = apart.score_groups([Group(prompt=p, prompt_ids=(), completions=(a, b)) for p, a, b in met])
        return [
            Comparison(
                prompt=prompt,
                ours=a,
                theirs=b,
                verdicts=s.verdicts,
                p_win=pair_outcomes(s.verdicts).get((0, 1)),
                forfeit=any(v.how == "forfeit" for v in s.verdicts),
            )
            for (prompt, a, b), s in zip(met, scored, strict=True)
        ]

    def state(self) -> dict[str, Any]:
        """What later groups start from, as it is saved."""
        return {
            "biases": {name: asdict(bias) for name, bias in self.biases.items()},
            "canaries": {kind: asdict(tally) for kind, tally in self.canaries.items()},
            "complaints": dict(self.complaints),
            "recent": self.recent.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        with self._learning:
            self.biases = {name: Bias(**values) for name, values in state.get("biases", {}).items()}
            self.canaries = tallies(state)
            self.complaints = dict(state.get("complaints", {}))
            self.recent = Recent.of(state.get("recent", {}))

    def _ask(
        self, queue: GroupQueue, seed: int | Sequence[int], biases: Mapping[str, Bias]
    ) -> tuple[dict[int, Group], Found]:
        """The groups by their place, and what the judge says of them. Canaries are drawn when all are there."""
        came: dict[int, Group] = {}
        tournaments: dict[tuple[int, str], Tournament] = {}
        canaries: list[Canary] = []

        def more(wait: bool) -> list[Tournament]:
            if queue.complete:
                return []
            new = dict(queue.take(wait=wait))
            came.update(new)
            joining = {
                (i, o.name): Tournament(
                    contest=contest_of(group, o, self.task.format),
                    plan=self.plan,
                    seed=self._seed(seed, i, o),
                    bias=biases.get(o.name, Bias()),
                )
                for i, group in new.items()
                for o in self.objectives
            }
            tournaments.update(joining)
            if queue.complete:
                held = [tournaments[i, o.name].contest for i in sorted(came) for o in self.objectives]
                canaries.extend(self._draw_canaries(held, seed))
            return [*joining.values(), *(Tournament(contest=c.contest) for c in canaries)]

        found = run_tournaments(self.judge, [], more)
        with self._learning:
            self.canaries = tally(self.canaries, canaries, found[len(tournaments) :])
        # the judge's verdicts, and after them those that need no judge
        return came, {
            (i, name): verdicts + _unasked(tournament.contest, came[i].completions)
            for ((i, name), tournament), verdicts in zip(tournaments.items(), found, strict=False)
        }

    def _seed(self, seed: int | Sequence[int], place: int, objective: Objective) -> int:
        if isinstance(seed, int):
            return seed_for(seed, "schedule", place, objective.name)
        return seed[place] if objective.name == self.main.name else seed_for(seed[place], "schedule", objective.name)

    def _draw_canaries(self, contests: Sequence[Contest], seed: int | Sequence[int]) -> list[Canary]:
        n = sum(size(self.plan, sum(text is not None for text in c.texts)) for c in contests)
        drawn = seed_for(seed, "canaries") if isinstance(seed, int) else seed_for(0, "canaries", *seed)
        return draw_canaries(contests, self.gold, rate=self.canary_rate, n_matches=n, seed=drawn)

    def _scored(
        self, group: Group, found: Mapping[str, tuple[Verdict, ...]], biases: Mapping[str, Bias], shared: Parts
    ) -> ScoredGroup:
        n = len(group.completions)
        standings = {
            o.name: self.rule.standing(n, found[o.name], bias=biases.get(o.name, Bias()), ties=o.ties)
            for o in self.objectives
        }
        parts = {name: standing.scores for name, standing in standings.items()}
        if self.task.format is not None:
            parts |= format_parts([c.text for c in group.completions])
        parts |= {**shared, **self._extra(group)}
        return ScoredGroup(
            group=group,
            verdicts=tuple(v for verdicts in found.values() for v in verdicts),
            standings=standings,
            reward_parts=parts,
            rewards=compose(parts, self.weights) if parts else np.zeros(n),
            stderrs=reward_stderrs(standings, self.weights),
        )

    def _sameness(self, came: Mapping[int, Group]) -> dict[int, Parts]:
        """By place; of no group where it has no weight, or was recorded and is one of the task's extra rewards."""
        if not self.weights.get(SAMENESS) or SAMENESS in self.task.extra_rewards:
            return {}
        contests = [contest_of(came[place], self.main, self.task.format) for place in sorted(came)]
        answers = answers_of(contests, vectors_of(self.judge, contests))
        with self._learning:
            costs, self.recent = self.recent.costs(answers), self.recent.after(answers)
        return {place: {SAMENESS: 0.0 - cost} for place, cost in zip(sorted(came), costs, strict=True)}

    def _extra(self, group: Group) -> dict[str, np.ndarray]:
        """[G] of each of the task's rewards from code that counts."""
        parts = {}
        for name, reward in self.task.extra_rewards.items():
            if self.weights[name]:
                parts[name], wrong = extra_part(reward, group.prompt, group.completions)
                with self._learning:
                    if wrong and name not in self.complaints:
                        self.complaints = {**self.complaints, name: wrong}
        return parts

    def _learn(self, scored: Sequence[ScoredGroup]) -> None:
        """What these groups teach of the judge, for those that come after them. One that scores texts has no bias."""
        if self.judge.scores_texts:
            return
        with self._learning:
            new = {}
            for o in self.objectives:
                groups = [
                    (len(s.group.completions), [v for v in s.verdicts if v.match.objective == o.name]) for s in scored
                ]
                if not any(v.how == "scores" for _, verdicts in groups for v in verdicts):
                    new[o.name] = learned(self.biases.get(o.name, Bias()), groups)
            self.biases = {**self.biases, **new}


def tallies(state: Mapping[str, Any]) -> dict[str, Tally]:
    """How the canaries have fared, in a state as it is saved."""
    return {kind: Tally(**values) for kind, values in state.get("canaries", {}).items()}


def contest_of(group: Group, objective: Objective, form: str | None) -> Contest:
    """What there is to compare: the objective's section of each completion, the whole of it where there is no form."""
    texts = tuple(judged_text(c.text, form, objective.section) for c in group.completions)
    return Contest(prompt=group.prompt, objective=objective, texts=texts, matches=())


def _unasked(contest: Contest, completions: Sequence[Completion]) -> tuple[Verdict, ...]:
    """Forfeits, and the matches of what an API model did not deliver."""
    undelivered = {i for i, c in enumerate(completions) if c.finish_reason == FAILED}
    return forfeits(contest.texts, objective=contest.objective.name, undelivered=undelivered)
