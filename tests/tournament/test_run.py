"""Tournaments held: rounds, and who is asked."""

from __future__ import annotations

import numpy as np

from softgrpo.judges.text_scores import ScoringJudge
from softgrpo.tournament.run import Tournament, run_tournaments
from softgrpo.tournament.schedule import Plan
from tests.fakes.builders import contest
from tests.fakes.judges import ScriptedJudge, skill_judge

SKILL = {name: i / 2 for i, name in enumerate("abcdefgh")}


def tournament(*texts, plan=Plan(), seed=0):
    return Tournament(contest=contest(*texts, matches=()), plan=plan, seed=seed)


def meetings(verdicts):
    return [(v.match.first, v.match.second) for v in verdicts]


def test_all_tournaments_of_a_round_are_one_question_to_the_judge():
    calls = []

    class Counting(ScriptedJudge):
        def judge(self, contests):
            calls.append(len(contests))
            return super().judge(contests)

    found = run_tournaments(
        Counting(lambda a, b: 1.0), [tournament("a", "b"), tournament("c"), tournament("d", "e", "f")]
    )
    assert calls == [2]
    assert [len(v) for v in found] == [2, 0, 6]


def test_tournaments_that_join_later_are_held_as_if_they_had_been_there():
    plan = Plan(kind="adaptive", calls=12)
    tournaments = [tournament(*SKILL, plan=plan, seed=k) for k in range(3)]
    together = run_tournaments(skill_judge(SKILL), tournaments)
    coming = [tournaments[1:2], [], tournaments[2:]]
    asked = []

    def more(wait):
        asked.append(wait)
        return coming.pop(0) if coming else []

    assert run_tournaments(skill_judge(SKILL), tournaments[:1], more) == together
    assert asked[-1] is True
    assert asked.count(True) == 1, "nobody waits while there is something to ask"


def test_a_text_that_is_not_there_meets_nobody():
    (found,) = run_tournaments(skill_judge(SKILL), [tournament("a", None, "b")])
    assert set(meetings(found)) == {(0, 2), (2, 0)}


def test_a_budget_of_calls_is_kept_by_every_plan():
    for kind in ("random_regular", "adaptive", "swiss", "elimination", "chunks", "anchor"):
        judge = skill_judge(SKILL)
        (found,) = run_tournaments(judge, [tournament(*SKILL, plan=Plan(kind=kind, calls=24), seed=3)])
        assert 0 < len(found) <= 24, kind
        assert sum(len(c.matches) for c in judge.seen) == len(found)


def test_the_same_seed_holds_the_same_tournament_and_another_one_another():
    plan = Plan(kind="random_regular", calls=12)
    once, again, other = (
        meetings(run_tournaments(skill_judge(SKILL), [tournament(*SKILL, plan=plan, seed=s)])[0]) for s in (1, 1, 2)
    )
    assert once == again != other


def test_a_judge_that_scores_texts_is_asked_for_every_pair_once():
    class Lengths:
        def score(self, items):
            return np.array([float(len(i.text)) for i in items])

    (found,) = run_tournaments(
        ScoringJudge("lengths", Lengths()), [tournament("a", "bb", "ccc", plan=Plan(kind="adaptive", calls=2))]
    )
    assert len(found) == 3
