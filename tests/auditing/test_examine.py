"""What was planted in a judge is found again, inside the interval that is given with it."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from softgrpo.auditing import examine
from softgrpo.auditing.examine import Seen
from tests.fakes.builders import verdict


def pairs(n=400, *, bias=0.0, noise=0.0, length=0.0, quality=1.0, hard=False, seed=0):
    """Pairs judged by quality * gold + length * log2 ratio + bias + noise, in log-odds."""
    rng = np.random.default_rng(seed)
    found = []
    for k in range(n):
        gold, ratio = int(rng.random() < 0.5), float(rng.normal())
        d = quality * gold + length * ratio
        odds = [d + bias + noise * rng.normal(), -d + bias + noise * rng.normal()]
        ps = [1 / (1 + math.exp(-o)) for o in odds]
        ps = [float(rng.random() < p) if hard else p for p in ps]
        how = "text" if hard else "log_odds"
        found.append(
            Seen(
                unit=str(k // 4),
                forward=verdict(0, 1, ps[0], how),
                backward=verdict(1, 0, ps[1], how),
                gold=gold,
                length_ratio=ratio,
            )
        )
    return found


def covers(figure, planted):
    return figure.low <= planted <= figure.high


def test_worked_numbers_of_one_pair():
    (pair,) = pairs(1, bias=1.0, quality=0.0)
    seen = Seen(unit="u", forward=verdict(0, 1, 0.9, "log_odds"), backward=verdict(1, 0, 0.9, "log_odds"), gold=1)
    assert seen.outcome == pytest.approx(0.5)
    assert examine.position_bias([seen]).value == pytest.approx(math.log(9))
    assert examine.first_share([seen]).value == 1.0
    assert examine.agreement([seen]).value == 0.5
    assert pair.outcome == pytest.approx(0.5)


@pytest.mark.parametrize("bias", [-2.0, 0.0, 0.7])
@pytest.mark.parametrize("noise", [0.0, 0.5, 1.5])
def test_a_planted_bias_and_noise_are_recovered(bias, noise):
    seen = pairs(bias=bias, noise=noise)
    found, spread = examine.position_bias(seen), examine.noise(seen)
    assert found.value == pytest.approx(bias, abs=0.25)
    assert covers(found, bias) or noise == 0
    assert spread.value == pytest.approx(noise, abs=0.15)


@pytest.mark.parametrize("length", [-0.8, 0.0, 0.6])
@pytest.mark.parametrize("hard", [False, True])
def test_a_planted_preference_for_length_is_recovered(length, hard):
    found = examine.length_preference(pairs(800, length=length, hard=hard, noise=0.0 if hard else 0.5))
    assert covers(found, length)
    assert found.high - found.low < 0.5


def test_quality_is_not_taken_for_length():
    """Better texts that are longer, too: what is known of their quality is held equal."""
    rng = np.random.default_rng(0)
    found = []
    for k in range(400):
        gold = int(rng.random() < 0.5)
        p = 1 / (1 + math.exp(-3.0 * gold))
        found.append(
            Seen(
                unit=str(k),
                forward=verdict(0, 1, p, "log_odds"),
                backward=verdict(1, 0, 1 - p, "log_odds"),
                gold=gold,
                length_ratio=gold + float(rng.normal()) / 2,
            )
        )
    assert examine.length_preference(found).value == pytest.approx(0, abs=1e-6)


def test_consistency_and_ties_are_told_apart():
    always_first = [
        Seen(unit=str(k), forward=verdict(0, 1, 1.0), backward=verdict(1, 0, 1.0), gold=1) for k in range(5)
    ]
    steady = [Seen(unit=str(k), forward=verdict(0, 1, 1.0), backward=verdict(1, 0, 0.0), gold=1) for k in range(5)]
    tied = [Seen(unit="t", forward=verdict(0, 1, 0.5), backward=verdict(1, 0, 0.5), gold=1)]
    assert examine.consistency(always_first).value == 0.0
    assert 0.3 < examine.consistency(always_first).high < 0.5, "five pairs that agree are no certainty"
    assert examine.consistency(steady).value == 1.0
    assert examine.consistency(steady + tied).value == 1.0
    assert examine.ties(steady + tied).value == pytest.approx(1 / 6)
    assert examine.agreement(always_first).value == 0.5


def test_circles_are_counted_among_triads_without_ties():
    beats = {(0, 1): 1.0, (1, 2): 1.0, (0, 2): 0.0, (0, 3): 1.0, (1, 3): 1.0, (2, 3): 0.5}
    members = list(combinations(range(4), 2))
    group = [
        Seen(unit="g", forward=verdict(*ij, beats[ij]), backward=verdict(*ij[::-1], 1 - beats[ij])) for ij in members
    ]
    # 0 > 1 > 2 > 0 goes round; 0, 1 > 3 does not; triads with the tie 2-3 do not count
    assert examine.cyclic_share([group], [members]).value == 0.5


def test_what_failed_is_in_no_figure_and_is_counted():
    failed = Seen(unit="f", forward=verdict(0, 1, None), backward=verdict(1, 0, 1.0), gold=1)
    fine = Seen(unit="g", forward=verdict(0, 1, 1.0), backward=verdict(1, 0, 0.0), gold=1)
    assert examine.agreement([failed, fine]).value == 1.0
    assert examine.agreement([failed]).n == 0
    rate, why = examine.failures([failed.forward, failed.backward, fine.forward, fine.backward])
    assert (rate, why) == (0.25, {"no verdict": 1})
