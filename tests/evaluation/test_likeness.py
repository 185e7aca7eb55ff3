"""How alike texts on different subjects are: by hand, against plain counting, and what must not count."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softgrpo.evaluation import likeness
from softgrpo.evaluation.likeness import common_opening, compression, grams, jackknife, self_bleu


def of_all(words_N, subjects_N):
    return self_bleu(grams([w.split() for w in words_N], subjects_N), np.ones(max(subjects_N) + 1, dtype=bool))


def test_an_opening_is_common_when_two_subjects_share_it():
    a, b, c = ("free",), ("the", "toll"), ("flights",)
    assert common_opening([a, b, a, b, b], [0, 0, 1, 1, 1]) == b
    assert common_opening([a, a, a, b, b], [0, 0, 0, 1, 2]) == b, "samples of one subject that begin alike are no sign"
    assert common_opening([a, a, b, c], [0, 0, 1, 2]) is None
    assert common_opening([a, b, a, b], [0, 0, 1, 1]) == a, "of two that are as common always the same"


def test_texts_that_share_nothing_and_texts_that_share_all():
    assert of_all(["a b c d", "e f g h"], [0, 1]) == 0.0
    assert of_all(["a b c d e", "a b c d e"], [0, 1]) == pytest.approx(1.0)
    assert of_all(["a b c d e", "a b c d e", "f g"], [0, 0, 1]) == 0.0, "what one subject says twice"
    assert math.isnan(of_all(["a b", "a b"], [0, 0]))


def test_n_grams_by_hand():
    """Of "a b c": 2 of 3 words, 1 of 2 pairs, no triple; of "a b x y z" 2 of 5, 1 of 4, 0, 0."""
    expected = ((2 / 3 + 1 / 2 + 0) / 3 + (2 / 5 + 1 / 4 + 0 + 0) / 4) / 2
    assert of_all(["a b c", "a b x y z"], [0, 1]) == pytest.approx(expected)


def numbered(texts):
    """Subjects from 0 up in order of appearance, and the words."""
    places = {s: k for k, s in enumerate(dict.fromkeys(s for s, _ in texts))}
    return [places[s] for s, _ in texts], [w for _, w in texts]


def precision(text, others):
    """Share of n-grams that are among the others', plainly."""

    def of(words, n):
        return [tuple(words[k : k + n]) for k in range(len(words) - n + 1)]

    orders = [n for n in likeness.ORDERS if len(text) >= n]
    return np.mean([np.mean([any(g in of(o, n) for o in others) for g in of(text, n)]) for n in orders])


drawn = st.lists(
    st.tuples(st.integers(0, 5), st.lists(st.sampled_from("abcde"), min_size=1, max_size=6)), min_size=2, max_size=6
).filter(lambda texts: len({s for s, _ in texts}) > 1)


@settings(max_examples=30, deadline=None)
@given(drawn, st.integers(1, 2))
def test_it_is_the_mean_over_all_draws_of_others(texts, n_others):
    subjects, said = numbered(texts)
    means = []
    for subject, text in zip(subjects, said, strict=True):
        others = [w for s, w in zip(subjects, said, strict=True) if s != subject]
        means.append(np.mean([precision(text, drawn) for drawn in product(others, repeat=n_others)]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(likeness, "OTHERS", n_others)
        found = self_bleu(grams(said, subjects), np.ones(max(subjects) + 1, dtype=bool))
    assert found == pytest.approx(np.mean(means))


@settings(max_examples=30, deadline=None)
@given(drawn.filter(lambda texts: len({s for s, _ in texts}) > 2))
def test_leaving_a_subject_out_is_never_having_had_it(texts):
    subjects, said = numbered(texts)
    keep = np.arange(max(subjects) + 1) != max(subjects)
    rest = [(s, w) for s, w in zip(subjects, said, strict=True) if keep[s]]
    alone = self_bleu(grams([w for _, w in rest], [s for s, _ in rest]), keep[keep])
    assert self_bleu(grams(said, subjects), keep) == pytest.approx(alone)


def test_it_grows_with_likeness_and_not_with_the_number_of_subjects():
    rng = np.random.default_rng(0)

    def world(n, shared):
        words = [[f"w{k}" for k in rng.integers(0, 300, 30)] for _ in range(n)]
        texts = [["so", "the", "air", "is", "clean"] * shared + w for w in words]
        return self_bleu(grams(texts, range(n)), np.ones(n, dtype=bool))

    assert world(40, 0) < world(40, 1) < world(40, 3)
    assert world(20, 1) == pytest.approx(world(200, 1), abs=0.02)


def test_compression_rises_with_repetition_within_and_across():
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{k}" for k in rng.integers(0, 3000, 30)) for _ in range(30)]
    plain = compression(texts)
    assert (
        compression([f"{t} Free buses let everyone reach work and the air grows clean." for t in texts]) > 1.2 * plain
    )
    assert compression([f"{t[:90]} {t[:90]}" for t in texts]) > 1.2 * plain
    assert compression(["half a character: \ud800"]) > 0


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=20)
    mean, stderr = jackknife(lambda keep: float(values[keep].mean()), 20)
    assert (mean, stderr) == pytest.approx((values.mean(), values.std(ddof=1) / math.sqrt(20)))
    _, of_groups = jackknife(lambda keep: float(np.tile(values, 5)[keep].mean()), 100)
    assert of_groups == pytest.approx(stderr), "a hundred subjects in twenty groups"
    assert math.isnan(jackknife(lambda keep: 1.0, 1)[1])
