"""What is learned of a judge from group to group."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softgrpo.tournament.bias import Bias, fitted, learned
from softgrpo.tournament.fit import games
from softgrpo.tournament.schedule import Plan, next_round
from tests.fakes.builders import both_orders, verdict


def soft_group(seed, *, n=8, calls=24, bias=0.0, noise=1.0, spread=1.0):
    """A group judged on random regular pairs with a planted bias and noise."""
    rng = np.random.default_rng(seed)
    skill = rng.normal(size=n) * spread
    told = []
    for m in next_round(Plan(kind="random_regular", calls=calls), range(n), (), seed=seed, objective="answer"):
        d = skill[m.first] - skill[m.second] + bias + noise * rng.normal()
        told.append(verdict(m.first, m.second, 1 / (1 + math.exp(-d)), "log_odds"))
    return n, told


def test_two_verdicts_by_hand():
    """Log-odds 2 and 1 of the two orders: the bias is 1.5; two verdicts tell it with half the noise's variance."""
    told = [verdict(0, 1, 1 / (1 + math.exp(-2)), "log_odds"), verdict(1, 0, 1 / (1 + math.exp(-1)), "log_odds")]
    found = learned(Bias(), [(2, told)])
    assert found.mean == pytest.approx(1.5, abs=1e-4)
    assert found.precision == pytest.approx(2 / found.noise, rel=1e-3)


def test_nothing_is_learned_from_failures_and_forfeits():
    assert learned(Bias(), [(3, [verdict(0, 1, None), verdict(0, 2, 1.0, "forfeit")]), (2, [])]) == Bias()


def test_a_planted_bias_and_noise_are_found():
    found = learned(Bias(), [soft_group(k, bias=1.5, noise=0.7) for k in range(60)])
    assert found.mean == pytest.approx(1.5, abs=0.08)
    assert math.sqrt(found.noise) == pytest.approx(0.7, abs=0.05)


def test_named_winners_teach_a_bias_too():
    rng = np.random.default_rng(0)
    groups = []
    for k in range(60):
        matches = next_round(Plan(kind="random_regular", calls=24), range(8), (), seed=k, objective="answer")
        groups.append((8, [verdict(m.first, m.second, float(rng.random() < 0.75)) for m in matches]))
    assert learned(Bias(), groups).mean == pytest.approx(math.log(3), abs=0.15)


def test_one_by_one_and_together_teach_the_same():
    groups = [soft_group(k, bias=-0.5) for k in range(5)]
    one_by_one = Bias()
    for group in groups:
        one_by_one = learned(one_by_one, [group])
    assert asdict(learned(Bias(), groups)) == pytest.approx(asdict(one_by_one))


def test_the_order_inside_a_group_does_not_matter():
    n, told = soft_group(1, bias=1.0)
    assert asdict(learned(Bias(), [(n, told[::-1])])) == pytest.approx(asdict(learned(Bias(), [(n, told)])))


def test_a_judge_that_drifts_is_followed():
    before = learned(Bias(), [soft_group(k, bias=-1.0) for k in range(150)])
    assert before.mean == pytest.approx(-1, abs=0.1)
    after = learned(before, [soft_group(k, bias=2.0) for k in range(150)])
    assert after.mean == pytest.approx(2, abs=0.25)


def test_it_survives_a_checkpoint():
    bias = learned(Bias(), [soft_group(0, bias=1.0)])
    assert Bias(**json.loads(json.dumps(asdict(bias)))) == bias


def test_what_is_known_steers_a_group_that_cannot_tell_for_itself():
    """One verdict: with nothing known it is nearly all bias; with a judge known to be fair it is all strength."""
    told = games([verdict(0, 1, 0.9, "log_odds")])
    fair, unknown = (fitted(2, told, b) for b in (Bias(mean=0.0, precision=1e6), Bias()))
    assert fair.strengths[0] - fair.strengths[1] > 2 * (unknown.strengths[0] - unknown.strengths[1]) > 0
    known = fitted(2, told, Bias(mean=math.log(9), precision=1e6))
    assert abs(known.strengths[0] - known.strengths[1]) < 0.2


def test_a_groups_own_residuals_count_in_its_noise():
    """A judge that guesses contradicts itself: its standard errors are not those of a sure one."""
    sure = fitted(*_games(soft_group(0, noise=0.1)), Bias())
    guessing = fitted(*_games(soft_group(0, noise=3.0, spread=0.0)), Bias())
    assert sure.noise < 0.5
    assert guessing.noise > 3.0
    assert np.diag(guessing.covariance)[:8].mean() > 2 * np.diag(sure.covariance)[:8].mean()


def _games(group):
    n, told = group
    return n, games(told)


@settings(max_examples=30)
@given(st.floats(-5, 5))
def test_a_bias_does_not_reach_the_strengths_of_both_orders(bias):
    told = {}
    for b in (0.0, bias):
        pairs = {(0, 1): 0.3, (0, 2): -0.8, (1, 2): 0.5}
        told[b] = [verdict(i, j, 1 / (1 + math.exp(-(q + b))), "log_odds") for (i, j), q in pairs.items()]
        told[b] += [verdict(j, i, 1 / (1 + math.exp(q - b)), "log_odds") for (i, j), q in pairs.items()]
    fair, biased = (fitted(3, games(told[b]), Bias()).strengths for b in (0.0, bias))
    np.testing.assert_allclose(biased, fair, atol=1e-6)


@given(
    st.lists(st.sampled_from([0.0, 0.3, 0.5, 1.0, None]), min_size=2, max_size=12), st.sampled_from(["text", "votes"])
)
def test_any_verdicts_leave_a_finite_bias(ps, how):
    found = learned(Bias(), [(4, [verdict(k % 4, (k + 1) % 4, p, how) for k, p in enumerate(ps)])] * 3)
    assert all(math.isfinite(x) for x in asdict(found).values())
    assert found.precision >= 0
    assert found.noise > 0


def test_a_judge_that_always_takes_the_first():
    always = (3, [v for i, j in ((0, 1), (1, 2)) for v in both_orders(i, j, 1.0)[:1]] + [verdict(2, 0, 1.0)])
    found = learned(Bias(), [always] * 20)
    assert found.mean > 3
    assert math.isfinite(found.mean)
