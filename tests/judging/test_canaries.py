"""Questions with a known answer: how many, what goes wrong, and when it is said. They are part of no reward."""

from __future__ import annotations

import numpy as np
import pytest

from softgrpo.evaluator import Evaluator
from softgrpo.judging.canaries import KINDS, Canary, Tally, alarms, draw, is_wrong, told
from softgrpo.judging.rounds import Bout, hold
from tests.fakes.builders import ANSWER, contest, group, reply, task, verdict
from tests.fakes.judges import ScriptedJudge, failing, prefers_first, skill_judge

SHOWN = [contest("one", None, "two", matches=()), contest("three", "four", matches=())]
GOLD = [contest("sound", "faulty", matches=())]
WEIGHTS = {"answer": 1.0, "strict_format": 0.0, "soft_format": 0.0, "tag_count": 0.0}


def test_the_rate_is_kept_on_average_and_every_kind_comes():
    drawn = [draw(SHOWN, GOLD, rate=0.02, n_matches=112, seed=s) for s in range(2000)]
    # two matches a canary: 0.02 * 112 / 2
    assert np.mean([len(d) for d in drawn]) == pytest.approx(1.12, abs=0.05)
    assert {c.kind for d in drawn for c in d} == set(KINDS)
    assert draw(SHOWN, GOLD, rate=0.02, n_matches=112, seed=7) == drawn[7]
    assert draw([], [], rate=0.5, n_matches=112, seed=0) == []
    assert {c.kind for c in draw(SHOWN, [], rate=0.5, n_matches=400, seed=0)} == {"empty", "identical"}


def test_a_canary_is_made_of_texts_that_are_there():
    for canary in draw(SHOWN, GOLD, rate=0.5, n_matches=400, seed=0):
        first, second = canary.contest.texts
        if canary.kind == "empty":
            assert (first in {"one", "two", "three", "four"}, second) == (True, "")
        elif canary.kind == "identical":
            assert first == second
        else:
            assert (first, second) == ("sound", "faulty")


@pytest.mark.parametrize(
    ("kind", "ps", "how", "wrong"),
    [
        ("gold", (0.9, 0.1), "log_odds", False),
        ("gold", (0.4, 0.6), "log_odds", True),
        ("empty", (1.0, 1.0), "text", True),
        ("identical", (0.7, 0.7), "log_odds", False),
        ("identical", (0.99, 0.99), "log_odds", True),
        ("identical", (1.0, 1.0), "text", False),
        ("identical", (1.0, 0.0), "text", True),
    ],
)
def test_what_is_wrong(kind, ps, how, wrong):
    canary = Canary(kind=kind, contest=contest("a", "b", matches=()))
    assert is_wrong(canary, [verdict(0, 1, ps[0], how), verdict(1, 0, ps[1], how)]) is wrong


def test_an_alarm_needs_enough_canaries_and_failures_are_no_errors():
    canaries = draw(SHOWN, GOLD, rate=0.5, n_matches=100, seed=0)
    ask = lambda judge: hold(judge, [Bout(contest=c.contest) for c in canaries])  # noqa: E731
    tallies = told({}, canaries, ask(prefers_first()))
    assert sum(t.n for t in tallies.values()) == len(canaries)
    assert any("everybody knows" in a for a in alarms(tallies))
    assert not any("text and itself" in a for a in alarms(tallies)), "it must name one of two identical texts"
    lost = told({}, canaries, ask(failing()))
    assert sum(t.n_failed for t in lost.values()) == len(canaries)
    assert alarms(lost) == []
    assert alarms({"gold": Tally(n=3, n_wrong=3)}) == []


def test_canaries_change_no_reward_and_are_no_verdicts_of_the_group():
    skill = {"weak": 0.0, "fair": 0.5, "best": 1.5, "sound": 2.0, "faulty": 0.0, "": -3.0}
    texts = [reply(name) for name in ("weak", "fair", "best")]

    def scored(rate):
        judge = skill_judge(skill)
        evaluator = Evaluator(task(objectives=(ANSWER,)), judge, WEIGHTS, canary_rate=rate, gold=GOLD)
        found = [evaluator.score_groups([group(texts)], seed=s)[0] for s in range(12)]
        return evaluator, judge, found

    (_, silent, without), (evaluator, judge, with_them) = scored(0.0), scored(0.5)
    assert sum(len(c.matches) for c in judge.seen) > sum(len(c.matches) for c in silent.seen)
    assert sum(t.n for t in evaluator.canaries.values()) > 6
    assert sum(t.n_wrong for t in evaluator.canaries.values()) == 0
    for a, b in zip(without, with_them, strict=True):
        np.testing.assert_array_equal(a.rewards, b.rewards)
        assert a.verdicts == b.verdicts


def test_the_tallies_are_part_of_what_is_saved():
    judge = ScriptedJudge(lambda a, b: 1.0)
    evaluator = Evaluator(task(objectives=(ANSWER,)), judge, WEIGHTS, canary_rate=0.5, gold=GOLD)
    evaluator.score_groups([group([reply("a"), reply("b"), reply("c")])], seed=1)
    other = Evaluator(task(objectives=(ANSWER,)), judge, WEIGHTS, canary_rate=0.5, gold=GOLD)
    other.restore(evaluator.state())
    assert other.canaries == evaluator.canaries != {}
    assert other.biases == evaluator.biases
