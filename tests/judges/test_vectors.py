"""A judge's vectors: asked for once, in their places, and none where they do not tell of all texts."""

from __future__ import annotations

import numpy as np
import pytest

from softgrpo.judges.nobody import Nobody
from softgrpo.judges.vectors import vectors_of
from tests.fakes.builders import contest
from tests.fakes.judges import prefers_first


class Lengths:
    """[length, 1] of each text."""

    def __init__(self, found=lambda found: found):
        self.found, self.seen = found, []

    def vectors(self, items):
        self.seen.append([item.text for item in items])
        return self.found([[len(item.text), 1.0] for item in items])


def test_every_text_has_its_own_and_what_forfeits_has_none():
    judge = Lengths()
    first, second, third = vectors_of(judge, [contest("a", None, "bbb"), contest(None), contest("cc")])
    assert judge.seen == [["a", "bbb", "cc"]]
    np.testing.assert_array_equal(first, [[1, 1], [np.nan, np.nan], [3, 1]])
    np.testing.assert_array_equal(second, [[np.nan, np.nan]])
    np.testing.assert_array_equal(third, [[2, 1]])
    assert first.dtype == np.float32


@pytest.mark.parametrize(
    "judge", [Nobody(), prefers_first(), Lengths(lambda found: None)], ids=lambda j: type(j).__name__
)
def test_who_has_none_has_none(judge):
    assert vectors_of(judge, [contest("a"), contest("b")]) == [None, None]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e300])
def test_a_contest_of_which_a_text_has_no_finite_vector_has_none(wrong):
    judge = Lengths(lambda found: [[wrong, 1.0], *found[1:]])
    first, second = vectors_of(judge, [contest("a", "b"), contest("c")])
    assert first is None
    np.testing.assert_array_equal(second, [[1, 1]])


def test_where_there_is_no_text_nobody_is_asked():
    judge = Lengths()
    assert vectors_of(judge, [contest(None, None)]) == [None]
    assert vectors_of(judge, []) == []
    assert judge.seen == []
