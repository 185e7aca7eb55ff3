"""The benchmark of tournaments: its bound against slower ways to the same posterior, its arrays against the package."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_ndtr

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

from tournament_bound import Told, expected_scores
from tournament_fidelity import Method, World, correlations, found_by, found_by_all, interval, judged

PLAYERS = 4
FIRST, SECOND = np.array([0, 1, 2, 3, 0, 1, 0]), np.array([1, 2, 3, 0, 2, 0, 3])
READ = np.array([1.5, -1.0, 0.4, 2.0, -1.5, 1.0, 0.8])
"""one pair meets twice"""


def mean_probabilities(log_odds_SGG, weights_S):
    p = np.einsum("s,sij->ij", weights_S / weights_S.sum(), 1 / (1 + np.exp(-log_odds_SGG)))
    return (p.sum(1) - np.diag(p)) / (len(p) - 1)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize(("noise", "cycles", "bias"), [(1.0, 0.0, 0.0), (0.8, 0.5, 1.5)])
def test_the_bound_is_the_posterior_mean_that_sampling_finds(noise, cycles, bias, hard):
    """Worlds from the prior, each weighed by how well it explains what was told."""
    rng, samples = np.random.default_rng(0), 200_000
    skill = rng.normal(size=(samples, PLAYERS))
    ring = np.triu(rng.normal(size=(samples, PLAYERS, PLAYERS)), 1) * cycles
    log_odds = skill[:, :, None] - skill[:, None, :] + ring - ring.transpose(0, 2, 1)
    expected = log_odds[:, FIRST, SECOND] + bias
    fits = log_ndtr(np.sign(READ) * expected / noise) if hard else -(((READ - expected) / noise) ** 2) / 2
    found = expected_scores(
        Told(group=np.zeros(7, int), first=FIRST, second=SECOND, log_odds=READ),
        1, PLAYERS, noise=noise, bias=bias, cycles=cycles, hard=hard,
    )  # fmt: skip
    total = fits.sum(1)
    weighed = mean_probabilities(log_odds, np.exp(total - total.max()))
    np.testing.assert_allclose(found[0], weighed, atol=0.012)
    assert np.ptp(weighed) > 0.1


def test_groups_do_not_touch_each_other_in_the_bound():
    """Also where they are more than are in memory at once."""
    n = 130
    rng = np.random.default_rng(1)
    read = rng.normal(size=n)
    options = {"noise": 1.0, "bias": 0.0, "cycles": 0.0, "hard": True}
    told = Told(group=np.arange(n), first=np.zeros(n, int), second=np.ones(n, int), log_odds=read)
    found = expected_scores(told, n, 2, **options)
    assert found.shape == (n, 2)
    # E[sigmoid] given one sign alone depends on that sign
    assert len(np.unique(found.round(4), axis=0)) == 2
    assert ((found[:, 0] > 0.5) == (read > 0)).all()


@pytest.mark.parametrize("hard", [False, True])
def test_the_round_robin_over_arrays_is_the_packages(hard):
    world = World(players=5, hard=hard, cycles=0.5)
    whole = found_by_all(world, 6)
    package = found_by(Method(schedule="round_robin", rating="win_share"), world, 6)
    np.testing.assert_allclose(whole.correlations, package.correlations, atol=1e-9)
    assert whole.calls == package.calls == 20


def test_what_the_judge_reads_is_the_truth_where_it_has_no_noise():
    read, truth = judged(World(players=6, noise=0.0, bias=0.0), 3)
    p = 1 / (1 + np.exp(-read))
    assert p + p.transpose(0, 2, 1) == pytest.approx(np.ones_like(p))
    assert truth == pytest.approx((p.sum(2) - 0.5) / 5)


def test_correlations_and_their_interval_by_hand():
    scores = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [5.0, 5.0, 5.0]])
    found = correlations(scores, np.array([[0.0, 1.0, 2.0]] * 3))
    assert found == pytest.approx([1, -1, 0])
    half = 1.96 / math.sqrt(3)
    assert interval(found) == {"mean": 0, "low": round(-half, 4), "high": round(half, 4)}
