"""What a text is made of: worked by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softgrpo.evaluation.texts import LONGEST_OPENING, copied_share, distinct_2, markup, opening
from softgrpo.words import words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Free buses!", ["free", "buses"]),
        ("**Free** _buses_, don’t you see", ["free", "buses", "don’t", "you", "see"]),
        ("STRASSE Straße", ["strasse", "strasse"]),
        ("3.5 percent", ["3", "5", "percent"]),
        ("河流有权利", list("河流有权利")),
        ("🎉🎉 🎉", ["🎉🎉", "🎉"]),
        (" \n", []),
    ],
)
def test_words(text, found):
    assert words(text) == tuple(found)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Free mountain rescue gives", "free"),
        ("FREE, buses", "free"),
        ("The government should pay", "the government"),
        ("It is not so simple", "it is not"),
        ("In the end", "in the end"),
        ("## **Flights** cost money", "flights"),
        ("It", "it"),
        ("", ""),
    ],
)
def test_an_opening_goes_up_to_the_first_word_that_says_something(text, found):
    assert " ".join(opening(words(text))) == found


def test_shares_of_a_text_by_hand():
    assert distinct_2(words("a toll is a toll is a toll")) == 3 / 7, "a toll, toll is, is a"
    assert distinct_2(words("Once upon a time")) == 1.0
    assert distinct_2(words("alone")) is None
    assert copied_share(words("Rivers, RIVERS and lakes"), words("Rivers deserve rights")) == 0.5
    assert copied_share((), words("Rivers")) is None
    assert markup("**Yes**, no 1") == 5 / 11
    assert markup(" \n") is None


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.text(max_size=20))
def test_shares_are_shares_and_an_opening_opens(text, asked):
    found = words(text)
    for share in (distinct_2(found), copied_share(found, words(asked)), markup(text)):
        assert share is None or 0 <= share <= 1
    assert found[: len(opening(found))] == opening(found)
    assert len(opening(found)) <= LONGEST_OPENING
    assert bool(opening(found)) == bool(text.strip())
