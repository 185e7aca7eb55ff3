"""Later rounds ask where the answer is not yet known."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softgrpo.records import Match, Verdict
from softgrpo.tournament.adaptive import HARD_CURVE, Adaptive
from softgrpo.tournament.bias import Bias, fitted
from softgrpo.tournament.fit import games, win_probabilities
from softgrpo.tournament.pairs import joined
from softgrpo.tournament.schedule import Plan, SoFar, next_round


def play(plan, skill, *, seed=0, noise=0.0, fail=0.0, bias=Bias(), how="log_odds"):
    """Hold a tournament; the verdicts and the rounds in which they were asked for."""
    rng = np.random.default_rng(seed)
    verdicts, rounds = [], []
    while True:
        matches = next_round(plan, range(len(skill)), verdicts, seed=seed, objective="answer", bias=bias)
        if not matches:
            return verdicts, rounds
        rounds.append(matches)
        for m in matches:
            d = skill[m.first] - skill[m.second] + noise * rng.normal()
            p = 1 / (1 + math.exp(-d)) if how == "log_odds" else float(d > 0)
            failed = rng.random() < fail
            verdicts.append(
                Verdict(match=m, p_first=None if failed else p, how=how, failure="timeout" if failed else "")
            )


plans = st.integers(2, 9).flatmap(
    lambda n: st.tuples(st.just(n), st.integers(max(n - 1, 1), n * (n - 1)), st.integers(0, 1000))
)


@settings(max_examples=25)
@given(plans, st.sampled_from([0.0, 0.4]), st.sampled_from(["log_odds", "text"]))
def test_joined_within_budget_and_nobody_twice_in_a_round(drawn, fail, how):
    n, calls, seed = drawn
    skill = np.random.default_rng(seed).normal(size=n)
    verdicts, rounds = play(Plan(kind="adaptive", calls=calls), skill, seed=seed, noise=1.0, fail=fail, how=how)
    pairs = [(v.match.first, v.match.second) for v in verdicts]
    assert len(set(pairs)) == len(pairs) <= calls
    assert len(set(joined(n, pairs))) == 1
    for later in rounds[1:]:
        players = [i for m in later for i in (m.first, m.second)]
        assert len(set(players)) == len(players)


def test_the_same_arguments_the_same_matches():
    skill = np.random.default_rng(1).normal(size=8)
    one, other = (play(Plan(kind="adaptive", calls=32), skill, seed=5, noise=1.0) for _ in range(2))
    assert one == other


def test_later_rounds_do_not_depend_on_the_order_of_arrival():
    skill = np.random.default_rng(1).normal(size=8)
    plan = Plan(kind="adaptive", calls=32)
    verdicts, _ = play(plan, skill, noise=1.0)
    for k in (8, 12, 20):
        asked = {
            next_round(plan, range(8), part, seed=0, objective="answer") for part in (verdicts[:k], verdicts[:k][::-1])
        }
        assert len(asked) == 1


def test_it_stops_when_the_scores_have_settled():
    """A judge known to be exact needs no second opinion; a noisy one is asked for all that was paid."""
    skill = np.linspace(-2, 2, 8)
    exact = Bias(squares=1.0, freedom=1000.0, precision=1000.0)
    calls = {noise: len(play(Plan(kind="adaptive", calls=40), skill, noise=noise, bias=b)[0])
             for noise, b in ((0.0, exact), (3.0, Bias()))}  # fmt: skip
    assert calls[0.0] < 20
    assert calls[3.0] == 40


def test_players_are_named_as_they_are_given():
    """Not places but the numbers of the texts, some of which forfeit and are not among them."""
    matches = next_round(Plan(kind="adaptive", calls=6), [3, 8, 11], (), seed=0, objective="x")
    assert {i for m in matches for i in (m.first, m.second)} == {3, 8, 11}
    told = [Verdict(match=m, p_first=0.6, how="log_odds") for m in matches]
    more = next_round(Plan(kind="adaptive", calls=6), [3, 8, 11], told, seed=0, objective="x")
    assert more
    assert {i for m in more for i in (m.first, m.second)} <= {3, 8, 11}
    assert {m.objective for m in more} == {"x"}


def test_a_player_cut_off_by_failures_is_asked_about_next():
    """After the first ring nothing is known of player 0: both of its matches failed."""
    plan = Plan(kind="adaptive", calls=12)
    ring = next_round(plan, range(6), (), seed=2, objective="answer")
    told = [
        Verdict(match=m, p_first=None if 0 in (m.first, m.second) else 0.6, how="log_odds", failure="timeout")
        for m in ring
    ]
    asked = next_round(plan, range(6), told, seed=2, objective="answer")
    assert 0 in {i for m in asked for i in (m.first, m.second)}


def test_two_players():
    verdicts, _ = play(Plan(kind="adaptive", calls=2), [0.5, -0.5])
    assert sorted((v.match.first, v.match.second) for v in verdicts) == [(0, 1), (1, 0)]
    with pytest.raises(ValueError, match="0 calls cannot join 2 texts"):
        next_round(Plan(kind="adaptive", calls=0), range(2), (), seed=0, objective="answer")


@pytest.mark.parametrize("kind", ["adaptive", "swiss", "elimination"])
@pytest.mark.parametrize("how", ["log_odds", "text"])
@pytest.mark.parametrize(
    "judge", [lambda a, b: 0.7, lambda a, b: (0.3, 0.6, 0.9)[(a + 2 * b) % 3]], ids=["flat", "thirds"]
)
def test_rounding_does_not_tell_in_which_order_verdicts_came(kind, how, judge):
    """Judges that leave many matches equally good: the choice among them must not hang on the last digit."""
    shuffled = random.Random(0)
    for seed in range(4):
        verdicts, plan = [], Plan(kind=kind)
        while matches := next_round(plan, range(9), verdicts, seed=seed):
            p = [
                judge(m.first, m.second) if how == "log_odds" else float(judge(m.first, m.second) > 0.5)
                for m in matches
            ]
            told = [Verdict(match=m, p_first=q, how=how) for m, q in zip(matches, p, strict=True)]
            other_way = [*verdicts, *shuffled.sample(told, len(told))]
            verdicts += told
            assert next_round(plan, range(9), other_way, seed=seed) == next_round(plan, range(9), verdicts, seed=seed)


@pytest.mark.parametrize("how", ["log_odds", "text"])
@pytest.mark.parametrize("seed", range(3))
def test_the_first_match_of_a_round_is_the_one_that_tells_most(how, seed):
    """Against every match tried by hand: the covariance after one more reading of it, the scores' variance summed."""
    n, bias, rng = 6, Bias(mean=0.5, precision=3.0), np.random.default_rng(seed)
    met = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0), (0, 3)]
    p = [float(x) if how == "log_odds" else float(x > 0.5) for x in rng.uniform(0.1, 0.9, len(met))]
    told = [Verdict(match=Match(first=a, second=b), p_first=q, how=how) for (a, b), q in zip(met, p, strict=True)]
    found = fitted(n, games(told), bias)

    def scores(strengths):
        return 1.5 * (2 * (win_probabilities(strengths).sum(1) - 0.5) / (n - 1) - 1)

    h = 1e-5
    jacobian = [(scores(found.strengths + h * e) - scores(found.strengths - h * e)) / (2 * h) for e in np.eye(n)]
    slopes = np.column_stack([np.array(jacobian).T, np.zeros(n)])
    error = found.noise if how == "log_odds" else 1 / HARD_CURVE

    def left(a, b):
        u = np.zeros(n + 1)
        u[a], u[b], u[n] = 1, -1, 1
        after = np.linalg.inv(np.linalg.inv(found.covariance) + np.outer(u, u) / error)
        return np.trace(slopes @ after @ slopes.T)

    asked = Adaptive(n).next_pairs(SoFar(verdicts=told, calls=len(met) + 9, bias=bias))
    open_to = {(a, b): left(a, b) for a in range(n) for b in range(n) if a != b and (a, b) not in met}
    assert open_to[asked[0]] == pytest.approx(min(open_to.values()), rel=1e-6)
    assert max(open_to.values()) > 1.02 * min(open_to.values()), "a choice that matters"
