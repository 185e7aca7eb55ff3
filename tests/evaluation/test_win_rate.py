"""A win rate and its interval: the unit is the subject, failures stay out, forfeits are shown both ways."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from softgrpo.evaluation.win_rate import PairOutcome, share_interval, t_critical, wilson, win_rate
from softgrpo.tournament.outcomes import won


def pair(p, subject, prompt="", forfeit=False):
    return PairOutcome(prompt_id=prompt or f"{subject}/pro", subject=subject, p_win=p, forfeit=forfeit)


def of_subjects(*wins_by_subject):
    """One pair for each digit: `of_subjects("11", "10")` is two subjects with two pairs each."""
    return [
        pair(float(w == "1"), f"s{s}", f"s{s}/{k}")
        for s, wins in enumerate(wins_by_subject)
        for k, w in enumerate(wins)
    ]


def test_three_of_four_pairs_on_two_subjects():
    found = win_rate(of_subjects("11", "10"))
    assert found.win_rate == 0.75
    assert found.mean_p_win == 0.75
    assert (found.n_pairs, found.n_prompts, found.n_subjects) == (4, 4, 2)
    assert found.low < 0.1, "two subjects that differ leave next to nothing known of others"
    assert found.high > 0.99


def test_a_pair_is_won_or_lost_however_narrowly_and_a_tie_counts_half():
    found = win_rate([pair(0.51, "a"), pair(0.5, "b"), pair(0.2, "c"), pair(0.5 + 1e-12, "d")])
    assert found.win_rate == (1 + 0.5 + 0 + 0.5) / 4
    assert found.mean_p_win == pytest.approx((0.51 + 0.5 + 0.2 + 0.5) / 4)
    assert [won(p) for p in (0.0, 0.5, 1.0)] == [0.0, 0.5, 1.0]


def test_wilson_where_all_subjects_agree():
    found = win_rate(of_subjects(*["11"] * 20))
    assert found.win_rate == 1.0
    z = 1.959963984540054
    assert found.low == pytest.approx(20 / (20 + z**2)), "twenty subjects, not forty pairs"
    assert found.high == pytest.approx(1.0)
    assert win_rate(of_subjects(*["00"] * 20)).high == pytest.approx(z**2 / (20 + z**2))
    halves = win_rate(of_subjects(*["10"] * 20))
    assert halves.low < 0.4 < 0.6 < halves.high, "that all agree on a tie is no certainty"


def test_a_share_of_independent_subjects_has_wilsons_interval_with_students_t():
    """Seven of ten: squares add up to 7 * 0.09 + 3 * 0.49 = 2.1; a variance of 2.1 / 10 / 9 is that of nine pairs."""
    mean, low, high = share_interval(np.array([1.0] * 7 + [0.0] * 3), np.ones(10))
    unseen = 0.7**10 + 0.3**10
    n = 9 ** (1 - unseen) * 10**unseen
    assert mean == 0.7
    assert (low, high) == pytest.approx(wilson(0.7, n, stats.t.ppf(0.975, 9)))
    # score interval: at either end the rate is t standard errors away, the standard error being that of the end
    for end in (low, high):
        assert abs(0.7 - end) == pytest.approx(stats.t.ppf(0.975, 9) * math.sqrt(end * (1 - end) / n))


def test_a_variance_told_by_few_subjects_has_few_degrees_of_freedom():
    """One pair in fifty is not a tie: the interval is wider than with Student's t for fifty."""
    sums = np.array([1.0] + [0.5] * 49)
    mean, low, high = share_interval(sums, np.ones(50))
    stderr = 0.5 / 50
    assert high - mean > 4 * stderr > stats.t.ppf(0.975, 49) * stderr
    assert low < 0.5, "one pair won is no proof"


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 10, 19, 31, 99, 200, 1001])
def test_students_t_is_scipys(df):
    assert t_critical(df) == pytest.approx(stats.t.ppf(0.975, df), rel=1e-9)


def coverage(n_subjects, rate, alike, pairs_each, *, soft=False, repetitions=1000):
    """Share of drawn evaluations whose interval holds the population's rate.

    A subject's own rate is beta-distributed, with correlation `alike` between its pairs; a soft pair is spread evenly
    around that, a hard one is won with that probability.
    """
    rng, covered = np.random.default_rng(0), 0
    counts, weight = np.full(n_subjects, pairs_each), 1 / alike - 1
    for _ in range(repetitions):
        own = rng.beta(rate * weight, (1 - rate) * weight, (n_subjects, 1))
        drawn = rng.random((n_subjects, pairs_each))
        outcomes = own + (drawn - 0.5) * 2 * np.minimum(own, 1 - own) if soft else (drawn < own)
        _, low, high = share_interval(outcomes.sum(1), counts)
        covered += low <= rate <= high
    return covered / repetitions


@pytest.mark.parametrize(
    ("rate", "alike", "pairs_each", "soft"), [(0.9, 0.5, 2, False), (0.9, 0.5, 4, False), (0.9, 0.2, 2, True)]
)
def test_the_interval_covers_what_it_claims_where_pairs_of_a_subject_are_alike(rate, alike, pairs_each, soft):
    """Some of what 20 subjects tell least of; `benchmarks/interval_coverage.py` has the rest."""
    assert coverage(20, rate, alike, pairs_each, soft=soft) >= 0.935


@pytest.mark.parametrize("soft", [False, True])
def test_the_interval_is_no_wider_than_it_claims_with_many_subjects(soft):
    assert coverage(200, 0.7, 0.3, 2, soft=soft) == pytest.approx(0.95, abs=0.02)


def test_the_mean_probability_has_an_interval_of_its_own():
    """That of Student (1908) where values lie close together and far from 0 and 1."""
    values = np.linspace(0.55, 0.75, 20)
    found = win_rate([pair(p, f"s{k}") for k, p in enumerate(values.tolist())])
    assert (found.win_rate, found.mean_p_win) == (1.0, pytest.approx(0.65))
    classic = stats.t.interval(0.95, 19, values.mean(), values.std(ddof=1) / math.sqrt(20))
    assert (found.mean_p_low, found.mean_p_high) == pytest.approx(classic, abs=0.004)


def test_more_pairs_on_the_same_subjects_tell_no_more_about_others():
    few, many = of_subjects("1", "1", "0", "1", "0", "1"), of_subjects(*(w * 50 for w in "110101"))
    assert win_rate(many).win_rate == pytest.approx(win_rate(few).win_rate)
    assert win_rate(many).low == pytest.approx(win_rate(few).low)
    assert win_rate(many).high == pytest.approx(win_rate(few).high)


def test_more_subjects_narrow_the_interval_with_the_root():
    few, many = (win_rate(of_subjects(*("1", "0") * n)) for n in (20, 320))
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(4, rel=0.15)
    assert many.high - many.low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(640), rel=0.1)


def test_a_subject_with_more_pairs_weighs_more_in_the_mean():
    assert win_rate(of_subjects("111", "0")).win_rate == 0.75


def test_what_was_not_judged_is_left_out_and_counted():
    pairs = [*of_subjects("1", "0", "1"), pair(None, "s9")]
    found, without = win_rate(pairs), win_rate(pairs[:-1])
    assert (found.win_rate, found.low, found.high) == (without.win_rate, without.low, without.high)
    assert (found.n_unjudged, found.n_pairs, found.n_subjects, found.n_prompts) == (1, 3, 3, 4)


def test_forfeits_count_in_one_rate_and_not_in_the_other():
    pairs = [*of_subjects("1", "0", "0"), pair(1.0, "f1", forfeit=True), pair(0.5, "f2", forfeit=True)]
    found, formed = win_rate(pairs), win_rate(pairs[:3])
    assert found.win_rate == pytest.approx((1 + 0 + 0 + 1 + 0.5) / 5)
    assert found.win_rate_both_formed == pytest.approx(1 / 3)
    assert (found.both_formed_low, found.both_formed_high) == (formed.low, formed.high)
    assert found.n_forfeits == 2


def test_nothing_judged_is_not_a_number_rather_than_a_loss():
    found = win_rate([pair(None, "a"), pair(None, "b")])
    assert all(math.isnan(x) for x in (found.win_rate, found.low, found.high, found.mean_p_win, found.mean_p_low))
    assert (found.n_pairs, found.n_unjudged) == (0, 2)
    assert math.isnan(win_rate([]).win_rate)


def test_all_by_forfeit_leaves_no_rate_among_the_formed():
    found = win_rate([pair(1.0, "a", forfeit=True)])
    assert found.win_rate == 1.0
    assert math.isnan(found.win_rate_both_formed)


pairs_drawn = st.lists(
    st.builds(
        pair,
        st.one_of(st.none(), st.floats(0, 1)),
        st.sampled_from("abcdefghij"),
        forfeit=st.booleans(),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(pairs_drawn)
def test_the_interval_holds_the_mean_and_is_the_same_each_time(pairs):
    found = win_rate(pairs)
    if found.n_pairs:
        assert 0 <= found.low <= found.win_rate <= found.high <= 1
        assert 0 <= found.mean_p_low <= found.mean_p_win <= found.mean_p_high <= 1
        assert found.low < found.high
        assert (win_rate(pairs).low, win_rate(pairs).high) == (found.low, found.high)
    assert found.n_pairs + found.n_unjudged == len(pairs)


@settings(max_examples=40, deadline=None)
@given(pairs_drawn)
def test_swapping_the_players_mirrors_the_rate(pairs):
    mirrored = [
        PairOutcome(
            prompt_id=p.prompt_id, subject=p.subject, p_win=None if p.p_win is None else 1 - p.p_win, forfeit=p.forfeit
        )
        for p in pairs
    ]
    found = win_rate(pairs)
    if found.n_pairs:
        assert win_rate(mirrored).win_rate == pytest.approx(1 - found.win_rate)
        assert win_rate(mirrored).high == pytest.approx(1 - found.low)
        assert win_rate(mirrored).mean_p_low == pytest.approx(1 - found.mean_p_high)
