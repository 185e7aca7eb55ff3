"""What verdicts say of pairs and triples: orders combined, places favoured, circles counted."""

from __future__ import annotations

import math
from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgrpo.tournament.outcomes import cyclic_triads, pair_outcomes, position_bias, triads, won
from softgrpo.tournament.rating import rate
from tests.fakes.builders import verdict
from tests.tournament.held import hard_round_robin, sigmoid


def test_soft_orders_combine_in_log_odds_hard_ones_average():
    """d1 = logit 0.9 when 0 is read first; read second it still wins with 0.6: sigmoid((d1 + logit 0.6) / 2)."""
    expected = sigmoid((math.log(9) + math.log(1.5)) / 2)
    soft = [verdict(0, 1, 0.9, "log_odds"), verdict(1, 0, 0.4, "log_odds")]
    assert pair_outcomes(soft)[0, 1] == pytest.approx(expected)
    assert expected != pytest.approx(0.75, abs=0.01), "the plain average would shrink towards a half"
    assert pair_outcomes([verdict(0, 1, 1.0), verdict(1, 0, 1.0)]) == {(0, 1): 0.5}
    assert pair_outcomes([verdict(0, 1, 1.0), verdict(1, 0, 0.5)]) == {(0, 1): 0.75}


@pytest.mark.parametrize("how", ["log_odds", "scores"])
def test_soft_probabilities_are_clipped_so_that_no_verdict_is_infinite(how):
    assert pair_outcomes([verdict(0, 1, 1.0, how)]) == {(0, 1): pytest.approx(0.999)}
    assert pair_outcomes([verdict(0, 1, 0.0, how)]) == {(0, 1): pytest.approx(0.001)}
    assert pair_outcomes([verdict(0, 1, 1.0, how), verdict(1, 0, 1.0, how)]) == {(0, 1): pytest.approx(0.5)}


def test_position_bias_needs_both_orders():
    assert math.isnan(position_bias([verdict(0, 1, 0.9, "log_odds"), verdict(2, 0, 0.9, "log_odds")]))


@given(
    st.integers(3, 7).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.sampled_from([0.0, 0.5, 1.0, None]), min_size=21, max_size=21))
    )
)
def test_cyclic_triads_are_those_one_can_list(drawn):
    n, ps = drawn
    outcomes = {pair: p for pair, p in zip(combinations(range(n), 2), ps, strict=False) if p is not None}
    beats = {(i, j) for (i, j), p in outcomes.items() if p == 1} | {(j, i) for (i, j), p in outcomes.items() if p == 0}
    listed = sum({(a, b), (b, c), (c, a)} <= beats for a, b, c in permutations(range(n), 3)) // 3
    verdicts = hard_round_robin(outcomes)
    assert cyclic_triads(verdicts) == listed
    for rating in ("win_share", "bradley_terry"):
        assert rate(n, verdicts, rating=rating).n_cyclic_triads == listed
    decided = [
        ijk for ijk in combinations(range(n), 3) if all(outcomes.get(ij, 0.5) != 0.5 for ij in combinations(ijk, 2))
    ]
    assert triads(outcomes).decided == len(decided)


def test_a_tie_is_a_tie_within_rounding():
    assert [won(p) for p in (0.0, 0.4999, 0.5 - 1e-12, 0.5, 0.5 + 1e-12, 0.5001, 1.0)] == [0, 0, 0.5, 0.5, 0.5, 1, 1]
