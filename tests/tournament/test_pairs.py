"""Random regular pairs: everybody joined, everybody as busy as the others, both places alike."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgrpo.tournament.pairs import joined, regular

games = st.integers(2, 20).flatmap(
    lambda n: st.tuples(st.just(n), st.integers(n - 1, n * (n - 1)), st.integers(0, 2**32))
)


def first_less_second(n, pairs):
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    return [first[i] - second[i] for i in range(n)]


def test_two_players_meet_once_then_the_other_way_round():
    (a, b), again = regular(2, 2, seed=0)
    assert again == (b, a)
    assert len(regular(2, 1, seed=0)) == 1


def test_sixteen_players_with_three_calls_each():
    pairs = regular(16, 48, seed=7)
    assert Counter(x for pair in pairs for x in pair) == dict.fromkeys(range(16), 6)
    assert first_less_second(16, pairs) == [0] * 16
    assert len({tuple(sorted(pair)) for pair in pairs}) == 48


@given(games)
def test_every_player_is_joined_to_every_other(drawn):
    n, calls, seed = drawn
    assert len(set(joined(n, regular(n, calls, seed)))) == 1


@given(games)
def test_the_budget_is_spent_and_no_more(drawn):
    n, calls, seed = drawn
    pairs = regular(n, calls, seed)
    assert len(pairs) == len(set(pairs)) == calls
    assert all(a != b for a, b in pairs)


@given(games)
def test_no_pair_meets_twice_before_every_pair_has_met(drawn):
    n, calls, seed = drawn
    every = n * (n - 1) // 2
    assert len({tuple(sorted(pair)) for pair in regular(n, calls, seed)}) == min(calls, every)


@given(games)
def test_nobody_is_much_busier_or_first_much_more_often(drawn):
    n, calls, seed = drawn
    pairs = regular(n, calls, seed)
    busy = Counter(x for pair in pairs for x in pair)
    assert max(busy[i] for i in range(n)) - min(busy[i] for i in range(n)) <= 2
    assert max(abs(d) for d in first_less_second(n, pairs)) <= 2


@given(st.integers(3, 24), st.integers(1, 30), st.integers(0, 100))
def test_whole_rings_put_everybody_first_as_often_as_second(n, rings, seed):
    calls = n * min(rings, (n - 1) // 2)
    assert first_less_second(n, regular(n, calls, seed)) == [0] * n


@given(games)
def test_a_smaller_tournament_is_the_beginning_of_a_larger_one(drawn):
    n, calls, seed = drawn
    assert regular(n, n * (n - 1), seed)[:calls] == regular(n, calls, seed)


def test_another_seed_pairs_others():
    assert len({tuple(sorted(regular(16, 48, seed))) for seed in range(20)}) == 20


@pytest.mark.parametrize(
    ("pairs", "labels"),
    [([], [0, 1, 2, 3]), ([(0, 1), (2, 3)], [0, 0, 2, 2]), ([(3, 0), (1, 2), (2, 3)], [1, 1, 1, 1])],
)
def test_joined_by_hand(pairs, labels):
    found = joined(4, pairs)
    assert [[a == b for b in found] for a in found] == [[a == b for b in labels] for a in labels]


@pytest.mark.parametrize("seed", range(5))
def test_half_a_ring_keeps_everybody_as_busy_as_the_others(seed):
    """Sixteen players, 24 calls: a ring and every second pair of another."""
    assert Counter(x for pair in regular(16, 24, seed) for x in pair) == dict.fromkeys(range(16), 3)
