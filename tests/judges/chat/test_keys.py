"""Keys tell judgements apart; fences and labels follow from them, for who knows the secret."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgrpo.judges.chat.keys import LETTERS, content_hash, draw_nonce, judgement_key

BASE = dict(judge="j", template="1", criteria="c", question="q", first="a", second="b", method="m")


def test_a_key_does_not_change_between_versions():
    assert judgement_key(**BASE) == "6f40e2cee57c4e3b2bfd65d3755bafa7f57f3d86e4cf149f13476a487e3c68cb"


@pytest.mark.parametrize("field", [*BASE, "sample", "parameters"])
def test_every_part_counts(field):
    other = {"sample": 1, "parameters": {"temperature": 1.0}}.get(field, "other")
    assert judgement_key(**{**BASE, field: other}) != judgement_key(**BASE)


def test_the_order_of_parameters_does_not_count():
    one, other = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    assert judgement_key(**BASE, parameters=one) == judgement_key(**BASE, parameters=other)


def test_lone_surrogates_have_a_key():
    assert len(content_hash("\ud800", [1, "x"])) == 64


def test_seals_are_repeatable_and_differ_by_secret_and_key():
    assert draw_nonce(b"s", "k", []) == draw_nonce(b"s", "k", [])
    drawn = {draw_nonce(secret, key, []).fence for secret in (b"s", b"t") for key in map(str, range(500))}
    assert len(drawn) == 1000


def test_labels_are_different_letters_drawn_evenly():
    seals = [draw_nonce(b"s", str(i), [], n_labels=3) for i in range(4000)]
    assert all(len(set(s.labels)) == 3 for s in seals)
    for place in range(3):
        counts = Counter(s.labels[place] for s in seals)
        assert set(counts) == set(LETTERS)
        assert max(counts.values()) < 2 * min(counts.values())


@given(st.text(max_size=20))
def test_a_fence_is_in_no_text(text):
    first = draw_nonce(b"s", "k", []).fence
    assert draw_nonce(b"s", "k", [text + first]).fence not in text + first
