"""The benchmark of intervals: its worlds' truths against draws, its old interval against a plain one, and its page."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import interval_coverage
from interval_coverage import World, evaluations, figures, lattice, resampled, truth, worlds

ROOT = Path(__file__).parents[1]
RECORD = json.loads((ROOT / "benchmarks" / "interval_coverage.json").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "tournaments.md").read_text(encoding="utf-8")


def test_the_truth_of_a_world_is_what_many_subjects_come_to():
    for world in worlds():
        sums, counts = (x[0] for x in evaluations(world, 20_000, 1))
        mean = sums.sum() / counts.sum()
        stderr = (sums - mean * counts).std() / counts.mean() / len(sums) ** 0.5
        assert abs(mean - truth(world)) < 4.5 * stderr, world


def test_pairs_of_a_subject_correlate_as_said_and_soft_ones_spread_as_said():
    rng = np.random.default_rng(0)
    won = interval_coverage.drawn(World(family="", rate=0.7, alike=0.5), rng, (1, 40_000, 2))[0]
    assert np.corrcoef(won.T)[0, 1] == pytest.approx(0.5, abs=0.02)
    soft = interval_coverage.drawn(World(family="", rate=0.7, spread=0.2), rng, (1, 40_000, 1))
    assert soft.var() == pytest.approx(0.2 * 0.7 * 0.3, rel=0.03)


def test_the_old_interval_is_the_percentile_bootstrap_over_subjects():
    sums, counts = np.array([[2.0, 1.0, 0.0, 3.0, 2.0], [2.0, 2.0, 3.0, 4.0, 2.0]]), np.array([[2, 2, 3, 4, 2]] * 2)
    found = resampled(sums, counts)
    draws = np.random.default_rng(0).integers(0, 5, (4000, 5))
    plain = np.quantile(sums[0][draws].sum(1) / counts[0][draws].sum(1), [0.025, 0.975])
    assert found[:, 0] == pytest.approx(plain)
    assert found[:, 1] == pytest.approx([5 / (5 + 1.959963984540054**2), 1]), "Wilson's where all are won"


def test_coverage_by_hand():
    ends = np.array([[0.1, 0.4, 0.6, 0.5], [0.3, 0.6, 0.8, 0.7]])
    found = figures(ends, 0.5)
    assert found == {"covered": 50.0, "stderr": 25.0, "above": 25.0, "below": 25.0, "width": 0.2}


def test_one_subject_by_hand():
    """Won: [0.21, 1]; lost: [0, 0.79]. Above that only a win holds the truth, and comes as often as the truth says."""
    found = lattice(1)
    assert found["highest"] == 100
    assert (found["lowest"], found["at_rate"]) == (79.4, 0.794)


def test_the_page_tells_what_was_recorded():
    assert interval_coverage.as_markdown(RECORD) in PAGE
    assert interval_coverage.in_words(RECORD) in PAGE


def test_the_record_is_of_these_worlds():
    assert len(RECORD["cells"]) == len(list(worlds())) * len(interval_coverage.REPETITIONS)
    assert all(c["repetitions"] == interval_coverage.REPETITIONS[c["subjects"]] for c in RECORD["cells"])


def test_the_record_is_of_this_interval():
    world = World(family="hard, rate 0.9", rate=0.9, alike=0.5, pairs=4)
    (cell,) = (
        c
        for c in RECORD["cells"]
        if (c["family"], c["world"], c["subjects"]) == (world.family, interval_coverage.told(world), 32)
    )
    found = figures(interval_coverage.ours(*evaluations(world, 32, 4000)), truth(world))
    assert found == pytest.approx(cell["ours"], abs=0.1)


def test_what_is_asked_is_met_with_20_subjects_and_with_200():
    covered = {n: [c["ours"]["covered"] for c in RECORD["cells"] if c["subjects"] == n] for n in (20, 200)}
    assert min(covered[20]) >= 93.5
    assert 94 <= min(covered[200]) <= max(covered[200]) <= 96
