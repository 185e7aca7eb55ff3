"""Which answers meet: each pair once, and a sample of them that favours no side."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgrpo.evaluation.pairing import at_most, pairings

SIZES = st.integers(1, 5)


def test_answers_meet_in_their_order_or_each_meets_each():
    assert pairings(3, 3, crossed=False) == ((0, 0), (1, 1), (2, 2))
    assert pairings(1, 1, crossed=True) == ((0, 0),)
    assert pairings(2, 3, crossed=True) == ((0, 0), (1, 1), (0, 1), (1, 2), (0, 2), (1, 0))
    with pytest.raises(ValueError, match="shorter"):
        pairings(3, 2, crossed=False)


@given(SIZES, SIZES)
def test_crossed_pairs_are_all_there_and_each_once(ours, theirs):
    found = pairings(ours, theirs, crossed=True)
    assert sorted(found) == [(i, j) for i in range(ours) for j in range(theirs)]


@given(SIZES)
def test_the_first_of_crossed_pairs_have_each_answer_once(k):
    """A sample of few pairs then sees as many texts as it can."""
    assert pairings(k, k, crossed=True)[:k] == pairings(k, k, crossed=False)


def test_a_model_against_itself_is_nearer_to_a_half_where_each_meets_each():
    """Two times four samples of one model on 32 prompts: a half is won on average, crossed with less chance in it."""
    rng = np.random.default_rng(0)
    rates = {True: [], False: []}
    for _ in range(300):
        ours, theirs = rng.normal(size=(2, 32, 4))
        for crossed, found in rates.items():
            i, j = np.array(pairings(4, 4, crossed=crossed)).T
            found.append(np.mean(ours[:, i] > theirs[:, j]))
    assert np.mean(rates[True]) == pytest.approx(0.5, abs=0.01)
    # of 128 coins; and of 32 means whose variance is (n + m + 1) / 12nm (Mann and Whitney, 1947)
    assert np.std(rates[False]) == pytest.approx(np.sqrt(0.25 / 128), rel=0.15)
    assert np.std(rates[True]) == pytest.approx(np.sqrt(9 / (12 * 16) / 32), rel=0.15)


def sides(found):
    """How many pairs of the prompts for and against, which stand in turn."""
    return [sum(len(pairs) for pairs in found[side::2]) for side in (0, 1)]


def test_half_of_the_pairs_take_every_subject_and_both_sides():
    """Every second prompt would be one side alone."""
    subjects = [f"s{i // 2}" for i in range(128)]
    found = at_most(64, [((0, 0),)] * 128, subjects)
    assert {subjects[place] for place, pairs in enumerate(found) if pairs} == set(subjects)
    assert sides(found) == [32, 32]
    assert sides(at_most(16, [((0, 0),)] * 128, subjects)) == [8, 8]
    assert sides(at_most(96, [((0, 0),)] * 128, subjects)) == [48, 48]


@given(
    st.integers(1, 60),
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3), st.booleans()), min_size=1, max_size=20),
)
def test_a_sample_is_as_large_as_it_can_be_and_even_over_subjects(n, prompts):
    subjects = [str(subject) for subject, _, _ in prompts]
    pairs = [pairings(k, k, crossed=crossed) for _, k, crossed in prompts]
    found = at_most(n, pairs, subjects)
    assert sum(map(len, found)) == min(n, sum(map(len, pairs)))
    assert all(set(taken) <= set(there) for taken, there in zip(found, pairs, strict=True))
    taken, there = Counter(), Counter()
    for subject, some, every in zip(subjects, found, pairs, strict=True):
        taken[subject] += len(some)
        there[subject] += len(every)
    # nobody has two more than one that had more to give
    assert all(taken[a] <= taken[b] + 1 for a in there for b in there if taken[b] < there[b])


@given(st.integers(1, 4), st.integers(1, 20))
def test_all_of_them_is_all_of_them(k, n):
    pairs = [pairings(k, k, crossed=True)] * n
    assert at_most(k * k * n, pairs, [str(i % 3) for i in range(n)]) == pairs
