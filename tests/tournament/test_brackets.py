"""Swiss rounds and elimination, with a judge that is always right."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softgrpo.tournament.pairs import joined
from softgrpo.tournament.schedule import Plan, next_round, size
from tests.tournament.test_adaptive import play

tournaments = st.tuples(st.integers(2, 17), st.integers(0, 1000))


@settings(max_examples=40)
@given(tournaments, st.sampled_from(["swiss", "elimination"]))
def test_joined_within_budget_and_reproducible(drawn, kind):
    n, seed = drawn
    skill = np.random.default_rng(seed).normal(size=n)
    verdicts, rounds = play(Plan(kind=kind), skill, seed=seed)
    pairs = [(v.match.first, v.match.second) for v in verdicts]
    assert len(set(joined(n, pairs))) == 1
    assert len(pairs) <= size(Plan(kind=kind), n)
    assert play(Plan(kind=kind), skill, seed=seed) == (verdicts, rounds)


@settings(max_examples=40)
@given(tournaments, st.integers(0, 40))
def test_elimination_joins_everybody_whatever_it_may_cost(drawn, more):
    n, seed = drawn
    calls = min(n - 1 + more, n * (n - 1))
    verdicts, _ = play(Plan(kind="elimination", calls=calls), np.random.default_rng(seed).normal(size=n), seed=seed)
    assert len(verdicts) <= calls
    assert len(set(joined(n, [(v.match.first, v.match.second) for v in verdicts]))) == 1


def test_swiss_rounds_of_eight():
    """Four pairs in both orders a round, no pair twice; in the second round equals meet."""
    skill = np.arange(8.0)
    verdicts, rounds = play(Plan(kind="swiss"), skill)
    assert [len(r) for r in rounds] == [8, 8, 8]
    met = Counter(tuple(sorted((v.match.first, v.match.second))) for v in verdicts)
    assert set(met.values()) == {2}
    winners = {max(m.first, m.second) for m in rounds[0]}
    assert all((m.first in winners) == (m.second in winners) for m in rounds[1])


def test_swiss_needs_as_many_rounds_as_join_everybody():
    with pytest.raises(ValueError, match="16 calls cannot join 8 texts in one swiss tournament; give 24 or more"):
        next_round(Plan(kind="swiss", calls=16), range(8), (), seed=0, objective="answer")


def test_elimination_of_eight_is_won_by_the_best():
    """Fourteen calls seed, then four, two and one meetings in both orders; the best is in every round."""
    skill = np.random.default_rng(3).normal(size=8)
    _, rounds = play(Plan(kind="elimination"), skill)
    assert [len(r) for r in rounds] == [14, 8, 4, 2]
    best = int(skill.argmax())
    assert all(any(best in (m.first, m.second) for m in r) for r in rounds)
    last = {i for m in rounds[-1] for i in (m.first, m.second)}
    assert last == {best, int(np.argsort(skill)[-2])}, "seeded, the two best meet at the end"


def test_byes_go_to_the_best_seeds():
    """Five players: the three best wait, the two worst play for the last place of the four."""
    skill = np.array([2.0, 1.0, 0.0, -1.0, -2.0])
    _, rounds = play(Plan(kind="elimination"), skill)
    assert {i for m in rounds[1] for i in (m.first, m.second)} == {3, 4}
    assert [len(r) for r in rounds] == [8, 2, 4, 2]


def test_failed_meetings_are_won_by_the_better_seed_and_the_tournament_ends():
    skill = np.random.default_rng(0).normal(size=6)
    for kind in ("swiss", "elimination"):
        verdicts, _ = play(Plan(kind=kind), skill, fail=1.0)
        assert 0 < len(verdicts) <= size(Plan(kind=kind), 6)
        assert all(v.p_first is None for v in verdicts)


@pytest.mark.parametrize(("n", "seed", "fail"), [(7, 7, 1.0), (8, 18, 0.5), (8, 23, 0.5)])
def test_swiss_joins_parts_that_neighbours_alone_would_leave_apart(n, seed, fail):
    """Cases, found by search, in which pairing by standing alone never brings two parts of the field together."""
    skill = np.random.default_rng(seed).normal(size=n)
    verdicts, _ = play(Plan(kind="swiss"), skill, seed=seed, noise=2.0, fail=fail)
    assert len(set(joined(n, [(v.match.first, v.match.second) for v in verdicts]))) == 1
