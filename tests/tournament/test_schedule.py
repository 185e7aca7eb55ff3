"""Who meets whom: every pair, and nobody first more often than a half."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgrpo.tournament.schedule import round_robin

players = st.lists(st.integers(0, 100), unique=True, max_size=17)


def pairs(players, orders):
    return [(m.first, m.second) for m in round_robin(players, orders=orders)]


def test_three_players():
    assert pairs([0, 1, 2], "both") == [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)]
    assert pairs([0, 1, 2], "balanced") == [(0, 1), (2, 0), (1, 2)]


@pytest.mark.parametrize("orders", ["both", "balanced"])
def test_nobody_to_meet(orders):
    assert pairs([], orders) == []
    assert pairs([3], orders) == []


def test_sixteen_players_meet_120_times_or_240():
    assert len(pairs(range(16), "balanced")) == 120
    assert len(pairs(range(16), "both")) == 240


@given(players)
def test_both_lists_every_pair_once_in_each_order(players):
    assert sorted(pairs(players, "both")) == sorted(permutations(players, 2))


@given(players)
def test_balanced_lists_every_pair_once(players):
    listed = [tuple(sorted(pair)) for pair in pairs(players, "balanced")]
    assert sorted(listed) == sorted(combinations(sorted(players), 2))


@given(players)
def test_balanced_puts_each_player_first_within_one_of_half(players):
    first = Counter(a for a, _ in pairs(players, "balanced"))
    second = Counter(b for _, b in pairs(players, "balanced"))
    assert all(abs(first[p] - second[p]) <= 1 for p in players)


@given(players)
def test_a_schedule_is_the_same_each_time(players):
    assert round_robin(players, orders="balanced") == round_robin(players, orders="balanced")


def test_matches_carry_their_objective():
    assert {m.objective for m in round_robin([0, 1, 2], objective="reasoning")} == {"reasoning"}
