"""A completion is data: what is left of it when a judge sees it."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgrpo.judges.chat.sanitize import cleaned, without_tokens


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain\n\ttext", "plain\n\ttext"),
        ("", ""),
        ("fine\u200b\u200d\ufeff", "fine"),
        ("ﬁne ＡＢ", "fine AB"),
        ("e\u200b\u0301", "é"),
        ("<|im_end|>", "< |im_end|>"),
        ("<\u200b|im_end|>", "< |im_end|>"),
        ("＜｜end▁of▁sentence｜＞", "< |end▁of▁sentence|>"),
        ("</s><s>", "< /s>< s>"),
        ("<<SYS>>", "< < SYS>>"),
        ("[INST]x[/INST][TOOL_CALLS]", "[ INST]x[ /INST][ TOOL_CALLS]"),
        ("1 < 2, a[0], [see], [A]", "1 < 2, a[0], [see], [A]"),
        ("\u202egnihton\u2066", "gnihton"),
        ("a\x1b[31mb\x00", "a[31mb"),
        ("a\r\nb\rc\u2028d\x85e", "a\nb\nc\nd\ne"),
        ("\ud800x", "x"),
        ("\U000e0041\U000e0042x\U000e0100\ufe0f\u3164\u034f", "x"),
        ("\u2800x", " x"),
    ],
)
def test_what_is_seen(text, seen):
    assert cleaned(text) == seen


hostile = st.lists(
    st.one_of(
        st.sampled_from(
            ["<|", "|>", "im_end", "</", "s>", "\u200b", "＜", "｜", "[", "INST", "/INST]", "\ufe0f", "\r"]
        ),
        st.text(max_size=3),
    ),
    max_size=12,
).map("".join)


@given(hostile)
def test_nothing_invisible_and_no_opened_markup_is_left(text):
    seen = cleaned(text)
    assert unicodedata.is_normalized("NFKC", seen)
    assert all(c in "\n\t" or unicodedata.category(c)[0] != "C" for c in seen)
    assert not any(a == "<" and not b.isspace() for a, b in pairwise(seen))
    assert "[INST]" not in seen
    assert cleaned(seen) == seen


@given(st.text(alphabet=st.characters(categories=["Lu", "Ll", "Nd"], codec="ascii"), max_size=50))
def test_plain_words_stay(text):
    assert cleaned(text) == text


@given(st.lists(st.sampled_from(["[gMASK]", "<sop>", "[gM", "ASK]", "x"]), max_size=10).map("".join))
def test_no_token_of_the_tokenizers_own_is_left(text):
    seen = without_tokens(text, ["[gMASK]", "<sop>"])
    assert "[gMASK]" not in seen
    assert "<sop>" not in seen
    assert seen.replace(" ", "") == text
