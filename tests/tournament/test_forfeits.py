"""Matches that no judge is asked about."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from softgrpo.tournament.forfeits import forfeits


def test_shown_beats_nothing_and_two_nothings_meet_at_a_half():
    found = {(v.match.first, v.match.second): v.p_first for v in forfeits(["a", None, "b", None], objective="x")}
    assert found == {(0, 1): 1.0, (0, 3): 1.0, (1, 2): 0.0, (1, 3): 0.5, (2, 3): 1.0}
    assert {v.match.objective for v in forfeits(["a", None], objective="x")} == {"x"}


def test_what_was_not_delivered_has_no_outcome():
    found = forfeits(["a", None, None], undelivered={1})
    assert [(v.p_first, v.how) for v in found] == [(None, "undelivered"), (1.0, "forfeit"), (None, "undelivered")]
    assert all(bool(v.failure) == (v.p_first is None) for v in found)


@given(st.lists(st.booleans(), max_size=8))
def test_every_pair_with_nothing_to_show_and_no_other(shows):
    texts = ["a" if s else None for s in shows]
    expected = [(i, j) for i, j in combinations(range(len(shows)), 2) if not (shows[i] and shows[j])]
    assert [(v.match.first, v.match.second) for v in forfeits(texts)] == expected
