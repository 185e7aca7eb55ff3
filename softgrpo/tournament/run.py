"""Tournaments held: every round of all of them goes to the judge in one call, until each plan is done.

Tournaments may join between rounds, so that a group is judged while others are still sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from softgrpo.records import Contest, Judge, Match, Verdict
from softgrpo.tournament.bias import Bias
from softgrpo.tournament.schedule import Plan, next_round


@dataclass(frozen=True, slots=True, kw_only=True)
class Tournament:
    """One tournament to hold."""

    contest: Contest
    """who may meet: its texts that are not None; it has no matches yet"""
    plan: Plan = Plan()
    seed: int = 0
    bias: Bias = Bias()
    """what is known of the judge's preference for a place; adaptive plans use it"""


More = Callable[[bool], Sequence[Tournament]]
"""Tournaments that join; asked to wait, none says that there will be no more"""


def run_tournaments(
    judge: Judge, tournaments: Sequence[Tournament], more: More = lambda wait: ()
) -> list[tuple[Verdict, ...]]:
    """The judge's verdicts of each tournament, in the order in which they were asked for.

    A later round of an adaptive plan depends on the verdicts before it, never on when they arrived. Judges that score
    each text once are asked for every pair, whatever the plan: their matches cost nothing.
    """
    held: list[Tournament] = list(tournaments)
    found: list[tuple[Verdict, ...]] = [() for _ in held]
    while True:
        held += more(False)
        found += [()] * (len(held) - len(found))
        rounds = [_next(judge, tournament, verdicts) for tournament, verdicts in zip(held, found, strict=True)]
        asked = [replace(b.contest, matches=matches) for b, matches in zip(held, rounds, strict=True) if matches]
        if asked:
            answers = iter(judge.judge(asked))
            found = [v + (next(answers) if matches else ()) for v, matches in zip(found, rounds, strict=True)]
        elif joined := more(True):
            held += joined
            found += [()] * len(joined)
        else:
            return found


def _next(judge: Judge, tournament: Tournament, verdicts: tuple[Verdict, ...]) -> tuple[Match, ...]:
    players = [i for i, text in enumerate(tournament.contest.texts) if text is not None]
    plan = Plan(orders="balanced") if judge.scores_texts else tournament.plan
    objective = tournament.contest.objective.name
    return next_round(plan, players, verdicts, seed=tournament.seed, objective=objective, bias=tournament.bias)
