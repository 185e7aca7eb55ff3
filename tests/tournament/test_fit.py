"""The fit: by hand, against numerical derivatives, and against other programs where they compute the same."""

from __future__ import annotations

import math
from itertools import combinations

import choix
import evalica
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgrpo.records import Match, Verdict
from softgrpo.tournament.fit import Games, fit, games, win_probabilities, win_slopes
from tests.fakes.builders import both_orders, verdict

FIXED = 1e12
"""precision of a bias that stays where it is put"""


def named(rows):
    """Verdicts (first, second, p_first) that name a winner, as arrays."""
    return games([verdict(i, j, p) for i, j, p in rows])


def random_games(n, m, seed, values=(0.0, 1.0)):
    rng = np.random.default_rng(seed)
    return [(*rng.choice(n, 2, replace=False).tolist(), float(rng.choice(values))) for _ in range(m)]


def test_two_soft_verdicts_by_hand():
    """2.5 = s + b and -0.5 = -s + b: s = 1.5, b = 1; the ridge of strengths shrinks s, whatever the bias is."""
    told = Games(
        first=np.array([0, 1]),
        second=np.array([1, 0]),
        outcome=np.array([2.5, -0.5]),
        soft=np.array([True, True]),
        weight=np.ones(2),
    )
    found = fit(2, told, strength_precision=0.5, bias_precision=1e-12, noise=1.0)
    # two observations of s with noise 1 against a prior variance of 2 / 0.5 = 4: 1.5 * 2 / (2 + 1/4)
    assert found.strengths[0] - found.strengths[1] == pytest.approx(1.5 * 2 / 2.25)
    assert found.bias == pytest.approx(1.0)
    contrast = np.array([1, -1, 0])
    assert contrast @ found.covariance @ contrast == pytest.approx(1 / 2.25)
    assert found.covariance[2, 2] == pytest.approx(1 / 2)


def test_soft_verdicts_are_a_ridge_regression():
    rng = np.random.default_rng(0)
    rows = [(i, j, float(p)) for (i, j), p in zip(combinations(range(5), 2), rng.uniform(0.05, 0.95, 10), strict=True)]
    played = games([verdict(i, j, p, "log_odds") for i, j, p in rows])
    design = np.zeros((10, 6))
    design[np.arange(10), played.first], design[np.arange(10), played.second], design[:, 5] = 1, -1, 1
    information = design.T @ design / 0.7 + np.diag([0.25] * 5 + [0.3])
    expected = np.linalg.solve(information, design.T @ played.outcome / 0.7 + np.r_[np.zeros(5), 0.3 * 0.4])
    found = fit(5, played, noise=0.7, bias_mean=0.4, bias_precision=0.3, strength_precision=0.25)
    np.testing.assert_allclose(np.r_[found.strengths, found.bias], expected, atol=1e-10)
    np.testing.assert_allclose(found.covariance, np.linalg.inv(information), atol=1e-10)
    assert found.residual == pytest.approx(((played.outcome - design @ expected) ** 2).sum())


@pytest.mark.parametrize("seed", range(3))
def test_named_winners_agree_with_choix(seed):
    rows = random_games(6, 30, seed)
    # its penalty is alpha times the sum of squares, without the half of a normal prior
    expected = choix.opt_pairwise(6, [(i, j) if p else (j, i) for i, j, p in rows], alpha=0.2, method="Newton-CG")
    found = fit(6, named(rows), bias_precision=FIXED, strength_precision=0.4)
    np.testing.assert_allclose(found.strengths - found.strengths.mean(), expected - expected.mean(), atol=1e-4)


def test_named_winners_agree_with_evalica():
    """Every pair ten times, so that nobody wins or loses all: the maximum of the likelihood needs no prior."""
    rng = np.random.default_rng(3)
    rows = [(i, j, float(rng.random() < 0.5 + 0.08 * (j - i))) for i, j in combinations(range(5), 2) for _ in range(10)]
    winners = [evalica.Winner.X if p else evalica.Winner.Y for *_, p in rows]
    result = evalica.bradley_terry(
        [f"{i}" for i, *_ in rows], [f"{j}" for _, j, _ in rows], winners, solver="naive", tolerance=1e-12, limit=10000
    )
    expected = np.log([result.scores[f"{i}"] for i in range(5)])
    found = fit(5, named(rows), bias_precision=FIXED, strength_precision=1e-9)
    np.testing.assert_allclose(found.strengths - found.strengths.mean(), expected - expected.mean(), atol=1e-4)


def test_one_pair_alone_by_hand():
    """Three wins of four: log 3 without a prior."""
    found = fit(
        2, named([(0, 1, 1.0), (0, 1, 1.0), (0, 1, 1.0), (1, 0, 1.0)]), strength_precision=1e-9, bias_precision=FIXED
    )
    assert found.strengths[0] - found.strengths[1] == pytest.approx(math.log(3), abs=1e-6)


def posterior(played, n, beta, tie, precision, bias_precision):
    """Minus the logarithm of Davidson's likelihood with the priors, written down as it stands in the paper."""
    total = 0.0
    for i, j, y, w in zip(played.first, played.second, played.outcome, played.weight, strict=True):
        a, b = math.exp(beta[i] + beta[n]), math.exp(beta[j])
        between = 0.0 if tie is None else math.exp(tie) * math.sqrt(a * b)
        probabilities = {1.0: a, 0.0: b, 0.5: between}
        if tie is None:
            total += w * (y * math.log(a / (a + b)) + (1 - y) * math.log(b / (a + b)))
        else:
            total += w * math.log(probabilities[y] / (a + b + between))
    total -= precision * (beta[:n] ** 2).sum() / 2 + bias_precision * beta[n] ** 2 / 2
    return -total + (0.0 if tie is None else 0.25 * tie**2 / 2)


@given(st.integers(2, 6), st.integers(1, 25), st.integers(0, 10**6), st.booleans())
def test_the_mode_is_a_mode_and_its_covariance_the_inverse_curvature(n, m, seed, ties):
    rows = [(0, 1, 0.5), *random_games(n, m, seed, (0.0, 0.5, 1.0))]
    played = named(rows)
    found = fit(n, played, bias_precision=0.1, ties=ties)
    at = np.r_[found.strengths, found.bias, *([found.log_tie] if ties else [])]

    def value(x):
        return posterior(played, n, x[: n + 1], x[n + 1] if ties else None, 0.25, 0.1)

    steps, h = np.eye(len(at)), 1e-4
    gradient = [(value(at + h * e) - value(at - h * e)) / (2 * h) for e in steps]
    np.testing.assert_allclose(gradient, 0, atol=1e-5)
    curvature = [
        [
            (value(at + h * (d + e)) - value(at + h * (d - e)) - value(at - h * (d - e)) + value(at - h * (d + e)))
            / (4 * h * h)
            for e in steps
        ]
        for d in steps
    ]
    np.testing.assert_allclose(np.linalg.inv(curvature)[: n + 1, : n + 1], found.covariance, rtol=2e-3, atol=2e-3)


def test_ties_by_hand():
    """Two equal players, half of the games tied: the tie parameter makes 1/2 = nu / (2 + nu) but for its prior."""
    rows = [(0, 1, 1.0), (0, 1, 0.0), (0, 1, 0.5), (0, 1, 0.5)] * 500
    found = fit(2, named(rows), ties=True)
    assert math.exp(found.log_tie) == pytest.approx(2, abs=0.01)
    assert found.strengths == pytest.approx([0, 0], abs=1e-9)
    assert win_probabilities(found.strengths, found.log_tie)[0, 1] == pytest.approx(0.5)
    assert fit(2, named(rows)).log_tie == -math.inf, "a tie that is not asked for is half a win"


def test_probabilities_with_ties_count_them_half():
    """Strengths log 4 and 0, nu = 1: (4 + 2 / 2) / (4 + 1 + 2)."""
    found = win_probabilities(np.array([math.log(4), 0.0]), 0.0)
    assert found[0, 1] == pytest.approx(5 / 7)
    assert found + found.T == pytest.approx(np.ones((2, 2)))


@given(st.floats(-4, 4), st.sampled_from([-math.inf, -1.0, 1.5]))
def test_slopes_are_the_derivatives_of_the_probabilities(strength, log_tie):
    at, h = np.array([strength, 0.0]), 1e-5
    up, down = (win_probabilities(np.array([strength + s, 0.0]), log_tie)[0, 1] for s in (h, -h))
    assert win_slopes(at, log_tie)[0, 1] == pytest.approx((up - down) / (2 * h), abs=1e-7)


def test_votes_are_smoothed_and_weigh_as_many_as_they_are():
    def voted(p, reply):
        return games([Verdict(match=Match(first=0, second=1), p_first=p, how="votes", reply=reply)])

    three_of_three = voted(1.0, "3/3")
    assert (three_of_three.outcome.item(), three_of_three.weight.item()) == (3.5 / 4, 3)
    without_count = voted(1.0, "")
    assert (without_count.outcome.item(), without_count.weight.item()) == (0.75, 1)
    assert not three_of_three.soft.any()


def test_soft_verdicts_are_clipped_and_failed_ones_and_forfeits_left_out():
    played = games([verdict(0, 1, 1.0, "log_odds"), verdict(0, 1, None), verdict(2, 1, 1.0, "forfeit")])
    assert played.outcome.tolist() == pytest.approx([math.log(999)])
    assert games([]).first.shape == (0,)


def test_without_a_game_only_the_prior_speaks():
    found = fit(3, games([]), bias_mean=0.3, bias_precision=2.0, strength_precision=0.25)
    assert found.strengths.tolist() == [0, 0, 0]
    assert found.bias == pytest.approx(0.3)
    assert np.diag(found.covariance) == pytest.approx([4, 4, 4, 0.5])


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.floats(1e-6, 1.0))
def test_a_winner_of_everything_stays_finite(wins, precision):
    rows = [(k % 3, (k + 1) % 3, 1.0) for k, _ in enumerate(wins)]
    found = fit(3, named(rows), bias_precision=precision)
    assert np.isfinite(found.strengths).all()
    assert np.isfinite(found.covariance).all()
    assert abs(found.bias) < 40


@given(st.floats(-3, 3))
def test_a_bias_cancels_in_both_orders(bias):
    logit = {(0, 1): 0.4, (0, 2): -1.1, (1, 2): 0.2}
    told = {
        b: [verdict(i, j, 1 / (1 + math.exp(-(q + b))), "log_odds") for (i, j), q in logit.items()]
        + [verdict(j, i, 1 / (1 + math.exp(q - b)), "log_odds") for (i, j), q in logit.items()]
        for b in (0.0, bias)
    }
    fair, biased = (fit(3, games(told[b])).strengths for b in (0.0, bias))
    np.testing.assert_allclose(biased, fair, atol=1e-6)


def test_the_order_of_arrival_does_not_matter():
    verdicts = [v for i, j in combinations(range(4), 2) for v in both_orders(i, j, 0.2 + 0.1 * (i + j), "log_odds")]
    one, other = fit(4, games(verdicts)), fit(4, games(verdicts[::-1]))
    np.testing.assert_allclose(one.strengths, other.strengths, atol=1e-10)


def test_votes_are_as_many_games_of_the_same_share():
    one = Games(
        first=np.array([0, 1]),
        second=np.array([1, 2]),
        outcome=np.array([0.875, 0.4]),
        soft=np.array([False, False]),
        weight=np.array([3.0, 2.0]),
    )
    each = Games(**{name: np.repeat(getattr(one, name), [3, 2]) for name in ("first", "second", "outcome", "soft")},
                 weight=np.ones(5))  # fmt: skip
    np.testing.assert_allclose(fit(3, one).strengths, fit(3, each).strengths, atol=1e-9)
    np.testing.assert_allclose(fit(3, one).covariance, fit(3, each).covariance, atol=1e-9)


@pytest.mark.parametrize(("mean", "precision"), [(10.0, 1e-4), (15.0, 3e-4), (8.0, 0.01)])
def test_it_finds_its_way_from_where_the_likelihood_is_flat(mean, precision):
    """Earlier groups taught that the first wins always; now the second wins twenty times. The gradient is 0 there."""
    bias = fit(2, named([(0, 1, 0.0), (1, 0, 0.0)] * 10), bias_mean=mean, bias_precision=precision).bias
    assert bias < -4
    assert -20 / (1 + math.exp(-bias)) - precision * (bias - mean) == pytest.approx(0, abs=1e-6)
