"""What answers share in meaning, on vectors of which it is known what is in them."""

from __future__ import annotations

import numpy as np
import pytest

from softgrpo.rewards.answers import FEW, Answers
from softgrpo.rewards.common_meaning import Start, meaning_in_common
from softgrpo.rewards.sameness import BEGINNING, Recent

G, D = 8, 48


def of(subject, vectors, texts=None):
    texts = tuple(f"text {i}" for i in range(len(vectors))) if texts is None else texts
    return Answers(subject=subject, texts=texts, vectors=np.asarray(vectors, dtype=np.float32))


class World:
    """A vector is what all texts have, what the motion brings, perhaps what a judge likes, and the text's own."""

    def __init__(self, *, motion, seed=0):
        self.rng = np.random.default_rng(seed)
        self.motion = motion
        self.common, self.liked = 5 * self.rng.normal(size=D), 1.5 * self.rng.normal(size=D)
        self.units = np.exp(2 * self.rng.normal(size=D))

    def group(self, subject, liked):
        """One in which those texts have what the judge likes."""
        motion, own = self.motion * self.rng.normal(size=D), self.rng.normal(size=(G, D))
        return of(subject, self.units * (self.common + motion + np.outer(liked, self.liked) + own))

    def late(self, share, n=60):
        """Costs [texts] of those that have it and of those that have not, after a sound start, at that share."""
        memory, has, has_not = Recent(), [], []
        for step in range(BEGINNING + n):
            p = 0.05 if step < BEGINNING else share
            group = self.group(str(step), liked := self.rng.random(G) < p)
            if step >= BEGINNING + 32:
                (cost,) = meaning_in_common([group], [*memory.answers, group.known], memory.start)
                has, has_not = [*has, *cost[liked]], [*has_not, *cost[~liked]]
            memory = memory.after([group])
        return np.array(has), np.array(has_not)


@pytest.mark.parametrize("motion", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_who_has_what_all_have_pays_more_than_who_has_not(share, motion):
    """At every stage of a collapse, the last one above all, and where the motion is four fifths of all variance."""
    has, has_not = World(motion=motion).late(share)
    assert has.mean() > has_not.mean() + 0.15


def test_taking_off_the_prompts_own_mean_alone_would_hold_a_policy_that_has_given_in():
    """Why it is not done: where most have it, those without it are left alike."""
    world = World(motion=2.0)
    groups = [world.group(str(i), np.arange(G) > 0) for i in range(32)]
    apart = [(g.vectors - g.vectors.mean(axis=0)) / world.units for g in groups]
    apart = np.array([v / np.linalg.norm(v, axis=1, keepdims=True) for v in apart])
    without, with_it = apart[:, 0] @ apart[:, 0].T, apart[:, 1] @ apart[:, 1].T
    assert without.mean() > with_it.mean() + 0.2
    has, has_not = world.late(0.9)
    assert has.mean() > has_not.mean()


def test_where_nothing_is_shared_all_pay_about_the_same():
    has, has_not = World(motion=2.0).late(0.0)
    assert not len(has)
    assert has_not.reshape(-1, G).std(axis=1).mean() < 0.05, "in a group, which is what an advantage sees"


def test_units_do_not_matter():
    """Of one number, of all, and where zero is."""
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(20, G, 6))
    change = lambda v: v * [1, 10, 0.1, 1, 1, 1e3] + [0, 5, 0, -3, 1, 0]  # noqa: E731
    found = []
    for seen in (vectors, change(vectors), 100 * vectors):
        groups = [of(str(i), v) for i, v in enumerate(seen)]
        (cost,) = meaning_in_common(groups[:1], [g.known for g in groups], Start.of([g.vectors for g in groups]))
        found.append(cost)
    np.testing.assert_allclose(found[1], found[0], atol=1e-3)
    np.testing.assert_allclose(found[2], found[0], atol=1e-4)


def test_by_hand_the_greatest_quarter_of_the_cosines():
    """From a start at 0 with unit spread; means of 0, so that each text lies in its own direction."""
    start = Start(centre=np.zeros(2), spread=np.ones(2))
    east, north = [1.0, 0.0], [0.0, 1.0]
    west, south = [-1.0, 0.0], [0.0, -1.0]
    others = [of(f"other {i}", [east, west]) for i in range(FEW)]
    mine = of("mine", [east, north, west, south])
    (cost,) = meaning_in_common([mine], [*others, mine.known], start)
    assert cost == pytest.approx([1.0, 0.0, 1.0, 0.0]), "half of the others' texts are in that direction, a quarter do"
    few = others[:2]  # of four texts two: of sixteen, had there been eight prompts, two; four would cost all
    (cost,) = meaning_in_common([mine], [*few, mine.known], start)
    assert cost == pytest.approx([0.5, 0.0, 0.5, 0.0])


def test_the_same_subject_no_text_and_no_vectors():
    start = Start(centre=np.zeros(2), spread=np.ones(2))
    pair = [[1.0, 0.0], [-1.0, 0.0]]
    nowhere = [np.nan, np.nan]
    groups = [
        of("s", [*pair, nowhere], texts=("a", "b", None)),
        Answers(subject="t", texts=("a", "b")),
        of("u", [nowhere, nowhere], texts=(None, None)),
        *(of(f"other {i}", pair) for i in range(FEW)),
    ]
    around = [known for g in groups if (known := g.known).texts]
    found = meaning_in_common(groups, around, start)
    assert found[0] == pytest.approx([1.0, 1.0, 0.0])
    assert found[1] is None
    assert found[2].tolist() == [0.0, 0.0]
    same = [of("s", pair) for _ in range(20)]
    assert [cost.tolist() for cost in meaning_in_common(same, same, start)] == [[0.0, 0.0]] * 20
    assert meaning_in_common(groups[1:2], [groups[1]], start) == [None]


def test_numbers_that_never_differ_tell_nothing():
    vectors = np.random.default_rng(0).normal(size=(20, G, 4)) * [1, 1, 0, 1] + 0.1
    groups = [of(str(i), v) for i, v in enumerate(vectors)]
    start = Start.of([g.vectors for g in groups])
    seen = start.seen_from(groups[0].vectors)
    assert (seen[:, 2] == 0).all()
    assert np.abs(seen).max() < 10
