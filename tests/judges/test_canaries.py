"""Questions with a known answer: how many, what goes wrong, and when it is said. They are part of no reward."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest

from softgrpo.evaluator import Evaluator
from softgrpo.judges.canaries import KINDS, Canary, Tally, alarms, draw_canaries, is_wrong, tally
from softgrpo.judges.chat.judge import ChatJudge
from softgrpo.models.api.openai import OpenAIModel
from softgrpo.models.names import parse
from softgrpo.tournament.run import Tournament, run_tournaments
from tests.fakes.builders import ANSWER, contest, group, reply, task, verdict
from tests.fakes.chat_models import read
from tests.fakes.judges import ScriptedJudge, failing, prefers_first, skill_judge
from tests.fakes.openai_server import FakeOpenAI

SHOWN = [contest("one", None, "two", matches=()), contest("three", "four", matches=())]
GOLD = [contest("sound", "faulty", matches=())]
SAME = [Canary(kind="identical", contest=contest(f"text {i}", f"text {i}", matches=())) for i in range(120)]
WEIGHTS = {"answer": 1.0, "strict_format": 0.0, "soft_format": 0.0, "tag_count": 0.0}


def test_the_rate_is_kept_on_average_and_every_kind_comes():
    drawn = [draw_canaries(SHOWN, GOLD, rate=0.02, n_matches=112, seed=s) for s in range(2000)]
    # two matches a canary: 0.02 * 112 / 2
    assert np.mean([len(d) for d in drawn]) == pytest.approx(1.12, abs=0.05)
    assert {c.kind for d in drawn for c in d} == set(KINDS)
    assert draw_canaries(SHOWN, GOLD, rate=0.02, n_matches=112, seed=7) == drawn[7]
    assert draw_canaries([], [], rate=0.5, n_matches=112, seed=0) == []
    assert {c.kind for c in draw_canaries(SHOWN, [], rate=0.5, n_matches=400, seed=0)} == {"empty", "identical"}


def test_a_canary_is_made_of_texts_that_are_there():
    for canary in draw_canaries(SHOWN, GOLD, rate=0.5, n_matches=400, seed=0):
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
        ("identical", (1.0, 0.5), "text", False),
        ("identical", (0.5, 0.5), "text", False),
        ("identical", (1.0, 1.0), "votes", False),
        ("identical", (2 / 3, 0.0), "votes", False),
        ("identical", (0.9, 0.3), "log_odds", True),
        ("identical", (0.7, 0.4), "log_odds", False),
        ("identical", (0.97, 0.97), "callable", True),
    ],
)
def test_what_is_wrong(kind, ps, how, wrong):
    canary = Canary(kind=kind, contest=contest("a", "b", matches=()))
    assert is_wrong(canary, [verdict(0, 1, ps[0], how), verdict(1, 0, ps[1], how)]) is wrong


@pytest.mark.parametrize("votes", [2, 3, 4, 5, 9, 25])
def test_votes_may_be_divided_by_chance_and_by_no_more(votes):
    rng = random.Random(votes)

    def both(p, q):
        counts = [sum(rng.random() < each for _ in range(votes)) for each in (p, q)]
        return [
            replace(verdict(i, 1 - i, count / votes, "votes"), reply=f"{count}/{votes}")
            for i, count in enumerate(counts)
        ]

    coin = alarmed(SAME * 4, [both(0.5, 0.5) for _ in SAME * 4])
    assert coin[1] == 0
    assert alarmed(SAME, [both(0.9, 0.9) for _ in SAME])[1] == 0, "a place cancels"
    if votes > 4:  # of fewer the outcome can be anything
        assert alarmed(SAME, [both(1, 0) for _ in SAME])[0].n_wrong == len(SAME)


def alarmed(canaries, found):
    """The tally of identical texts in the end, and how often there was an alarm on the way."""
    tallies, n = {}, 0
    for canary, verdicts in zip(canaries, found, strict=True):
        tallies = tally(tallies, [canary], [verdicts])
        n += bool(alarms(tallies))
    return tallies["identical"], n


@pytest.fixture
def asked(monkeypatch):
    """A judge behind a service is asked about pairs of identical texts."""

    def ask(answer, *, votes=1, methods=("text",), **options):
        with FakeOpenAI(answer=answer, **options) as fake:
            monkeypatch.setenv("OPENAI_API_KEY", fake.key)
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
            model = OpenAIModel(parse(f"openai:gpt-4o@{fake.url}"))
            found = run_tournaments(
                ChatJudge("api", model, votes=votes, methods=methods), [Tournament(contest=c.contest) for c in SAME]
            )
            model.close()
            assert len(fake.replies_asked) == 2 * votes * len(SAME), "both orders are asked"
        return alarmed(SAME, found)

    return ask


def toss(seed=0):
    rng = random.Random(seed)
    return lambda messages: read(messages).answer(rng.random() < 0.5)


def test_a_judge_that_tosses_a_coin_is_found_out(asked):
    tally, _ = asked(toss())
    assert 0.3 < tally.n_wrong / tally.n < 0.7
    assert tally.alarm


def test_votes_of_a_judge_without_an_opinion_are_no_alarm(asked):
    assert asked(toss(), votes=3) == (Tally(n=len(SAME)), 0)


@pytest.mark.parametrize("votes", [1, 3])
def test_a_judge_that_always_takes_the_first_cancels(asked, votes):
    assert asked(lambda messages: read(messages).answer(True), votes=votes) == (Tally(n=len(SAME)), 0)


def test_an_honest_judge_is_no_alarm(asked):
    def weighed(messages):
        sheet = read(messages)
        p = 0.6 if sheet.texts[0] == sheet.texts[1] else 0.9
        return {sheet.labels[0]: math.log(p), sheet.labels[1]: math.log(1 - p)}

    honest = lambda messages: read(messages).answer(read(messages).texts[0] >= read(messages).texts[1])  # noqa: E731
    assert asked(honest) == (Tally(n=len(SAME)), 0)
    assert asked(honest, methods=("logprobs",), logprobs=weighed) == (Tally(n=len(SAME)), 0)


def test_an_alarm_needs_enough_canaries_and_failures_are_no_errors():
    canaries = draw_canaries(SHOWN, GOLD, rate=0.5, n_matches=100, seed=0)
    ask = lambda judge: run_tournaments(judge, [Tournament(contest=c.contest) for c in canaries])  # noqa: E731
    tallies = tally({}, canaries, ask(prefers_first()))
    assert sum(t.n for t in tallies.values()) == len(canaries)
    assert any("everybody knows" in a for a in alarms(tallies))
    assert not any("text and itself" in a for a in alarms(tallies)), "it must name one of two identical texts"
    lost = tally({}, canaries, ask(failing()))
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
    assert other.complaints == evaluator.complaints
    assert other.biases == evaluator.biases
