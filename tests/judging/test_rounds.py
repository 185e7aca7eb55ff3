"""Tournaments held: rounds, and who is asked."""

from __future__ import annotations

import numpy as np

from softgrpo.judging.rounds import Bout, hold
from softgrpo.judging.scoring import ScoringJudge
from softgrpo.tournament.schedule import Plan
from tests.fakes.builders import contest
from tests.fakes.judges import ScriptedJudge, skill_judge

SKILL = {name: i / 2 for i, name in enumerate("abcdefgh")}


def bout(*texts, plan=Plan(), seed=0):
    return Bout(contest=contest(*texts, matches=()), plan=plan, seed=seed)


def meetings(verdicts):
    return [(v.match.first, v.match.second) for v in verdicts]


def test_all_tournaments_of_a_round_are_one_question_to_the_judge():
    calls = []

    class Counting(ScriptedJudge):
        def judge(self, contests):
            calls.append(len(contests))
            return super().judge(contests)

    found = hold(Counting(lambda a, b: 1.0), [bout("a", "b"), bout("c"), bout("d", "e", "f")])
    assert calls == [2]
    assert [len(v) for v in found] == [2, 0, 6]


def test_tournaments_that_join_later_are_held_as_if_they_had_been_there():
    plan = Plan(kind="adaptive", calls=12)
    bouts = [bout(*SKILL, plan=plan, seed=k) for k in range(3)]
    together = hold(skill_judge(SKILL), bouts)
    coming = [bouts[1:2], [], bouts[2:]]
    asked = []

    def more(wait):
        asked.append(wait)
        return coming.pop(0) if coming else []

    assert hold(skill_judge(SKILL), bouts[:1], more) == together
    assert asked[-1] is True
    assert asked.count(True) == 1, "nobody waits while there is something to ask"


def test_a_text_that_is_not_there_meets_nobody():
    (found,) = hold(skill_judge(SKILL), [bout("a", None, "b")])
    assert set(meetings(found)) == {(0, 2), (2, 0)}


def test_a_budget_of_calls_is_kept_by_every_plan():
    for kind in ("random_regular", "adaptive", "swiss", "elimination", "chunks", "anchor"):
        judge = skill_judge(SKILL)
        (found,) = hold(judge, [bout(*SKILL, plan=Plan(kind=kind, calls=24), seed=3)])
        assert 0 < len(found) <= 24, kind
        assert sum(len(c.matches) for c in judge.seen) == len(found)


def test_the_same_seed_holds_the_same_tournament_and_another_one_another():
    plan = Plan(kind="random_regular", calls=12)
    once, again, other = (meetings(hold(skill_judge(SKILL), [bout(*SKILL, plan=plan, seed=s)])[0]) for s in (1, 1, 2))
    assert once == again != other


def test_a_judge_that_scores_texts_is_asked_for_every_pair_once():
    class Lengths:
        def score(self, items):
            return np.array([float(len(i.text)) for i in items])

    (found,) = hold(ScoringJudge("lengths", Lengths()), [bout("a", "bb", "ccc", plan=Plan(kind="adaptive", calls=2))])
    assert len(found) == 3
