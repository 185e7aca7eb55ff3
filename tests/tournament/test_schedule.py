"""Who meets whom: every pair, and nobody first more often than a half."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgrpo.registry import Registry
from softgrpo.tournament import SCHEDULES
from softgrpo.tournament.pairs import joined
from softgrpo.tournament.schedule import Plan, Schedule, next_round, round_robin, size
from tests.fakes.builders import verdict

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


def at_once(kind, players, calls=None, seed=0, orders="both"):
    plan = Plan(kind=kind, calls=calls, orders=orders)
    return next_round(plan, players, (), seed=seed, objective="answer")


static = st.sampled_from(["round_robin", "random_regular", "anchor"])


@given(static, st.integers(2, 17), st.integers(0, 400), st.integers(0, 99), st.sampled_from(["both", "balanced"]))
def test_everybody_is_joined_whatever_the_budget(kind, n, more, seed, orders):
    calls = n - 1 + more
    matches = at_once(kind, range(n), calls, seed, orders)
    pairs = [(m.first, m.second) for m in matches]
    assert len(set(joined(n, pairs))) == 1
    assert len(set(pairs)) == len(pairs) <= min(calls, n * (n - 1))


@given(st.sampled_from(tuple(SCHEDULES)), st.integers(2, 12), st.integers(0, 99))
def test_every_kind_is_reproducible_and_names_the_players_it_was_given(kind, n, seed):
    players = [7 * k + 3 for k in range(n)]
    matches = at_once(kind, players, seed=seed)
    assert matches == at_once(kind, players, seed=seed)
    assert matches
    assert {i for m in matches for i in (m.first, m.second)} <= set(players)
    assert len(matches) <= size(Plan(kind=kind), n)


def test_the_seed_decides_who_meets():
    for kind in ("random_regular", "anchor", "chunks", "adaptive", "swiss", "elimination"):
        assert len({tuple(sorted((m.first, m.second) for m in at_once(kind, range(16), seed=s))) for s in range(5)}) > 1


def test_plans_that_do_not_look_are_over_after_one_round():
    for kind in ("round_robin", "random_regular", "chunks", "anchor"):
        verdicts = [verdict(m.first, m.second, 1.0) for m in at_once(kind, range(6))]
        assert next_round(Plan(kind=kind), range(6), verdicts, seed=0, objective="answer") == ()


def test_chunks_of_four_meet_inside_in_both_orders():
    matches = at_once("chunks", range(16))
    assert len(matches) == 48
    chunks = Counter(joined(16, [(m.first, m.second) for m in matches]))
    assert sorted(chunks.values()) == [4, 4, 4, 4]
    assert Counter(joined(10, [(m.first, m.second) for m in at_once("chunks", range(10))])).most_common()[0][1] == 5


def test_an_anchor_meets_everybody_in_both_orders():
    pairs = [(m.first, m.second) for m in at_once("anchor", range(16))]
    assert len(pairs) == 30
    (anchor,) = set.intersection(*(set(pair) for pair in pairs))
    assert sorted(pairs) == sorted(
        [(anchor, k) for k in range(16) if k != anchor] + [(k, anchor) for k in range(16) if k != anchor]
    )


def test_a_round_robin_that_is_too_dear_becomes_a_part_of_itself():
    assert len(at_once("round_robin", range(6), 20)) == 20
    assert at_once("round_robin", range(6), 99) == round_robin(range(6))


@pytest.mark.parametrize("kind", SCHEDULES)
def test_nobody_or_one_alone_meets_nobody(kind):
    assert at_once(kind, []) == ()
    assert at_once(kind, [4], 10) == ()


@pytest.mark.parametrize("kind", ["round_robin", "random_regular", "adaptive", "elimination", "anchor"])
def test_too_few_calls_to_join_everybody_are_refused(kind):
    with pytest.raises(ValueError, match=f"6 calls cannot join 8 texts in one {kind} tournament; give 7 or more"):
        at_once(kind, range(8), 6)
    assert at_once(kind, range(8), 7)


def test_what_there_is_no_name_for():
    with pytest.raises(ValueError, match="unknown schedule 'ladder'; choose from round_robin, random_regular"):
        Plan(kind="ladder")
    with pytest.raises(ValueError, match="unknown orders 'one'; choose from both, balanced"):
        Plan(orders="one")
    with pytest.raises(ValueError, match="unknown orders 'one'; choose from both, balanced"):
        round_robin([0, 1, 2], orders="one")


class Ladder(Schedule):
    """A schedule of one's own: each player meets the next, one meeting a round."""

    @property
    def own(self):
        return self.n - 1

    def next_pairs(self, so_far):
        return [(len(so_far.met), len(so_far.met) + 1)]


def test_a_class_and_a_line_make_a_schedule(monkeypatch):
    monkeypatch.setattr(
        "softgrpo.tournament.schedule.SCHEDULES", Registry("schedule", {"ladder": f"{__name__}:Ladder"})
    )
    plan, players, verdicts = Plan(kind="ladder"), [3, 5, 8], []
    while matches := next_round(plan, players, verdicts, seed=0):
        verdicts += [verdict(m.first, m.second, 1.0) for m in matches]
    assert [(v.match.first, v.match.second) for v in verdicts] == [(3, 5), (5, 8)]
    assert size(plan, 9) == 8
    with pytest.raises(ValueError, match="1 calls cannot join 3 texts in one ladder tournament; give 2 or more"):
        next_round(Plan(kind="ladder", calls=1), players, (), seed=0)
    with pytest.raises(ValueError, match="unknown schedule 'swiss'; choose from ladder"):
        Plan(kind="swiss")


@pytest.mark.parametrize("kind", SCHEDULES)
def test_every_schedule_is_there(kind):
    assert issubclass(SCHEDULES[kind], Schedule)
