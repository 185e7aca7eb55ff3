"""Standard errors of win shares are the judge's noise: none of a sure judge, all of a coin, the planted one between."""

from __future__ import annotations

import math
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgrpo.grpo.advantages import estimated_reliability
from softgrpo.ranking import rank
from softgrpo.tournament.noise import follows_a_scale
from softgrpo.tournament.win_share import WinShare
from tests.fakes.builders import both_orders, verdict

SIZES = (4, 8, 16)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def ranked(skill, p_first, **options):
    """A ranking of texts of such skills by a judge `p_first(skill difference)`."""
    texts = [f"text {i}" for i in range(len(skill))]
    known = dict(zip(texts, skill, strict=True))
    return rank("Which?", texts, judge=lambda prompt, a, b: p_first(known[a] - known[b]), **options)


def skills(size, seed):
    return np.random.default_rng([seed, size]).normal(size=size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "p_first",
    [
        lambda d: float(d > 0),
        lambda d: sigmoid(d),
        lambda d: sigmoid(3 * d + 1.5),
        lambda d: 0.9999 if d > 0 else 0.0001,
        lambda d: 1.0,
        lambda d: 0.8,
    ],
    ids=["hard", "soft", "soft with a bias", "saturated", "always the first", "softly the first"],
)
def test_a_judge_without_noise_has_no_error(size, p_first):
    for seed in range(5):
        ranking = ranked(skills(size, seed), p_first)
        assert ranking.stderrs == pytest.approx(np.zeros(size), abs=0.02)
        assert ranking.reliability in (pytest.approx(1.0, abs=1e-3), 0.0), "0 where all scores are equal"


@pytest.mark.parametrize("size", [8, 16])
def test_a_hard_judge_with_a_threshold_for_the_first_has_none_either(size):
    """Near pairs go to whoever is read first, always: a scale with a threshold explains every verdict."""
    for seed in range(5):
        ranking = ranked(skills(size, seed), lambda d: float(d > -0.6))
        assert sum(p.p_first for p in ranking.verdicts) > len(ranking.verdicts) / 2 + 3
        assert ranking.stderrs == pytest.approx(np.zeros(size), abs=0.02)


def test_circles_that_both_orders_agree_on_are_no_noise():
    """0 beats 1 beats 2 beats 0: strange, and the same whenever it is asked."""
    standing = WinShare().standing(3, [*both_orders(0, 1, 1.0), *both_orders(1, 2, 1.0), *both_orders(2, 0, 1.0)])
    assert standing.stderrs.tolist() == [0, 0, 0]


def over_repetitions(size, p_first, *, repeats, seeds=6, **options):
    """(standard deviation of the scores over repetitions, root mean square of the errors they claim), texts together;
    and the reliabilities."""
    spreads, claimed, shares = [], [], []
    for seed in range(seeds):
        skill, rng = skills(size, seed), np.random.default_rng([seed, size, 9])
        rankings = [ranked(skill, lambda d, rng=rng: p_first(d, rng), **options) for _ in range(repeats)]
        spreads.append(np.var([r.scores for r in rankings], axis=0, ddof=1).mean())
        claimed.append(np.mean([r.stderrs**2 for r in rankings]))
        shares += [r.reliability for r in rankings]
    return math.sqrt(np.mean(spreads)), math.sqrt(np.mean(claimed)), np.array(shares)


NOISY = {
    "hard, one in five turned round": lambda d, rng: float((d > 0) != (rng.random() < 0.2)),
    "hard, logistic": lambda d, rng: float(rng.random() < sigmoid(d)),
    "hard, logistic, with a bias": lambda d, rng: float(rng.random() < sigmoid(d + 1.5)),
    "soft, 0.5": lambda d, rng: sigmoid(d + 0.5 * rng.normal()),
    "soft, 1, with a bias": lambda d, rng: sigmoid(d + 1.5 + rng.normal()),
    "soft, 2": lambda d, rng: sigmoid(d + 2 * rng.normal()),
    "a coin": lambda d, rng: float(rng.random() < 0.5),
    "any probability": lambda d, rng: rng.random(),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NOISY)
def test_planted_noise_is_found(name, size):
    planted, claimed, _ = over_repetitions(size, NOISY[name], repeats=40 if size < 16 else 12)
    assert claimed == pytest.approx(planted, rel=0.15)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["a coin", "any probability"])
def test_a_coins_reliability_is_zero_within_its_interval(name, size):
    """As a share of all variance, over many groups; each group's own ratio is skewed."""
    noise, variance = [], []
    rng = np.random.default_rng(size)
    for _ in range(160 if size < 16 else 40):
        ranking = ranked(np.zeros(size), lambda d: NOISY[name](d, rng))
        noise.append((ranking.stderrs**2).sum() / (size - 1))
        variance.append(ranking.scores.var(ddof=1))
    share = 1 - np.mean(noise) / np.mean(variance)
    error = np.std(np.array(noise) - np.array(variance), ddof=1) / math.sqrt(len(noise)) / np.mean(variance)
    assert abs(share) < 3 * error + 0.05


def test_a_flipped_pair_among_three_by_hand():
    """x = p(i wins, first) - p(i wins, second) is 0, 0, 1: variance 1/3, a pair's outcome has a quarter of it."""
    standing = WinShare().standing(
        3, [*both_orders(0, 1, 1.0), *both_orders(0, 2, 1.0), verdict(1, 2, 1.0), verdict(2, 1, 1.0)]
    )
    assert standing.stderrs == pytest.approx([3 / 2 * math.sqrt(2 / 12)] * 3)


def test_what_is_exact_has_no_error():
    scores = [verdict(i, j, sigmoid(j - i), "scores") for i, j in combinations(range(4), 2)]
    assert WinShare().standing(4, scores).stderrs.tolist() == [0] * 4, "each text has a score of its own, and keeps it"
    forfeits = [verdict(i, j, 1.0, "forfeit") for i, j in combinations(range(2), 2)]
    assert WinShare().standing(2, forfeits).stderrs.tolist() == [0, 0]


def test_one_pair_alone_tells_nothing_of_the_noise():
    assert np.isnan(WinShare().standing(2, both_orders(0, 1, 1.0)).stderrs).all()
    assert math.isnan(ranked([0.0, 1.0], lambda d: float(d > 0)).reliability)


def test_a_pair_that_lost_a_verdict_says_nothing():
    judged = [*both_orders(0, 1, 1.0), *both_orders(0, 2, 1.0), *both_orders(1, 2, 1.0)]
    standing = WinShare().standing(4, [*judged, verdict(0, 3, 1.0), verdict(3, 0, None)])
    assert standing.stderrs[:3] == pytest.approx([0, 0, 0])
    assert np.isnan(standing.stderrs[3])


@pytest.mark.parametrize("size", [8, 16])
def test_pairs_read_once_leave_what_a_scale_does_not_explain(size):
    sure = ranked(skills(size, 0), lambda d: float(d > 0), orders="balanced")
    assert sure.stderrs.tolist() == [0.0] * size
    soft = ranked(skills(size, 0), lambda d: sigmoid(d + 1), orders="balanced")
    assert soft.stderrs == pytest.approx(np.zeros(size), abs=0.01)
    for name in ("a coin", "hard, logistic", "soft, 0.5", "soft, 1, with a bias"):
        planted, claimed, _ = over_repetitions(size, NOISY[name], repeats=15, orders="balanced")
        assert claimed == pytest.approx(planted, rel=0.3), name


def test_semiorders():
    """On the line 0, 1, 2, 3 what is nearer than 1.5 goes by place. Then one far pair goes by place as well."""
    i, j = map(np.array, zip(*combinations(range(8), 2), strict=True))
    near = np.abs(i - j) < 1.5
    first, second = np.ones(len(i)), np.where(near, 0.0, 1.0)
    assert follows_a_scale(first, second, i, j, 8)
    assert follows_a_scale(second, first, i, j, 8), "the second place may be the one preferred"
    far = (i == 0) & (j == 7)
    assert not follows_a_scale(first, np.where(far, 0.0, second), i, j, 8)
    one = (i == 0) & (j == 1)
    assert not follows_a_scale(np.where(one, 0.0, first), np.where(one, 1.0, second), i, j, 8), "both places win"


@given(st.integers(2, 7).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.floats(0, 1), min_size=42, max_size=42))))
def test_any_verdicts_have_errors_that_are_numbers_or_unknown(drawn):
    n, ps = drawn
    verdicts = [verdict(i, j, p, "log_odds") for (i, j), p in zip(permutations(range(n), 2), ps, strict=False)]
    standing = WinShare().standing(n, verdicts)
    assert (np.isfinite(standing.stderrs) | (n == 2)).all()
    assert (standing.stderrs[np.isfinite(standing.stderrs)] >= 0).all()
    assert estimated_reliability(standing.scores, standing.stderrs) <= 1 or n == 2
