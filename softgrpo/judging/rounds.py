"""Tournaments held: every round of all of them goes to the judge in one call, until each plan is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from softgrpo.records import Contest, Judge, Verdict
from softgrpo.tournament.rating import Bias
from softgrpo.tournament.schedule import Plan, next_round


@dataclass(frozen=True, slots=True, kw_only=True)
class Bout:
    """One tournament to hold."""

    contest: Contest
    """who may meet: its texts that are not None; it has no matches yet"""
    plan: Plan = Plan()
    seed: int = 0
    bias: Bias = Bias()
    """what is known of the judge's preference for a place; adaptive plans use it"""


def hold(judge: Judge, bouts: Sequence[Bout]) -> list[tuple[Verdict, ...]]:
    """The judge's verdicts of each tournament, in the order in which they were asked for.

    A later round of an adaptive plan depends on the verdicts before it, never on when they arrived. Judges that score
    each text once are asked for every pair, whatever the plan: their matches cost nothing.
    """
    plans = [Plan(orders="balanced") if judge.scores_texts else bout.plan for bout in bouts]
    players = [[i for i, text in enumerate(bout.contest.texts) if text is not None] for bout in bouts]
    found: list[tuple[Verdict, ...]] = [() for _ in bouts]
    while True:
        rounds = [
            next_round(plan, who, verdicts, seed=b.seed, objective=b.contest.objective.name, bias=b.bias)
            for b, plan, who, verdicts in zip(bouts, plans, players, found, strict=True)
        ]
        asked = [replace(b.contest, matches=matches) for b, matches in zip(bouts, rounds, strict=True) if matches]
        if not asked:
            return found
        answers = iter(judge.judge(asked))
        found = [v + (next(answers) if matches else ()) for v, matches in zip(found, rounds, strict=True)]
