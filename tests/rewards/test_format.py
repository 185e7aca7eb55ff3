"""The three format rewards and the section a judge is shown: worked texts, then what holds for any text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgrpo.rewards.format import TAGS, judged_text, section, soft_format, strict_format, tag_count

GOOD = "<reasoning>\nfirst line\nsecond line\n</reasoning>\n<answer>\none\n\ntwo\n</answer>"


@pytest.mark.parametrize(
    ("text", "strict", "soft", "tags", "answer"),
    [
        pytest.param(GOOD, 1, 1, 0.5, "one\n\ntwo", id="newlines inside the tags"),
        pytest.param("<reasoning>a</reasoning><answer>b</answer>", 1, 1, 0.5, "b", id="on one line"),
        pytest.param(f"\n  {GOOD}\n\n", 1, 1, 0.5, "one\n\ntwo", id="white space around"),
        pytest.param(f"{GOOD} Thanks", 0, 1, 0.5 - 0.007, "one\n\ntwo", id="text after the last tag"),
        pytest.param(f"Sure. {GOOD}", 0, 1, 0.5, "one\n\ntwo", id="text before the first tag"),
        pytest.param("<reasoning>a</reasoning> so <answer>b</answer>", 0, 1, 0.5, "b", id="text between the sections"),
        pytest.param(
            "<answer>b</answer><reasoning>a</reasoning>", 0, 0, 0.5 - 0.024, "b", id="sections in reverse order"
        ),
        pytest.param(
            "</answer>b<answer></reasoning>a<reasoning>", 0, 0, 0.5 - 0.033, None, id="every tag in reverse order"
        ),
        pytest.param("<reasoning></reasoning><answer>b</answer>", 0, 1, 0.5, "b", id="empty reasoning"),
        pytest.param("<reasoning>a</reasoning><answer> \n</answer>", 0, 1, 0.5, None, id="empty answer"),
        pytest.param(f"{GOOD}<answer>again</answer>", 0, 1, 0.25, None, id="two answers"),
        pytest.param(
            "<reasoning>a</reasoning><answer>x<answer>b</answer>", 0, 1, 0.375, None, id="an answer opened twice"
        ),
        pytest.param(
            "<reasoning>a<reasoning>b</reasoning><answer>c</answer>", 0, 1, 0.375, "c", id="reasoning opened twice"
        ),
        pytest.param("<reasoning>a</reasoning><answer>cut of", 0, 0, 0.375, None, id="cut off inside the answer"),
        pytest.param("<reasoning>a", 0, 0, 0.125, None, id="cut off inside the reasoning"),
        pytest.param("<REASONING>a</REASONING><ANSWER>b</ANSWER>", 0, 0, 0, None, id="capital tags are no tags"),
        pytest.param("no tags at all", 0, 0, 0, None, id="no tags"),
        pytest.param("", 0, 0, 0, None, id="nothing"),
    ],
)
def test_worked_texts(text, strict, soft, tags, answer):
    assert strict_format(text) == strict
    assert soft_format(text) == soft
    assert tag_count(text) == pytest.approx(tags)
    assert section(text, "answer") == answer


@pytest.mark.parametrize("text", [GOOD, "<answer>cut of", "  no tags\n", "<answer>a</answer><answer>b</answer>"])
def test_without_a_form_the_whole_reply_is_judged(text):
    assert judged_text(text, None, "answer") == text.strip()
    assert judged_text(text, "reasoning_answer", "answer") == section(text, "answer")


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_without_a_form_only_an_empty_reply_shows_nothing(text):
    assert judged_text(text, None, "answer") is None


def test_tag_count_takes_a_thousandth_per_character_after_the_last_tag():
    assert tag_count(GOOD + "x" * 200) == pytest.approx(0.5 - 0.2)
    assert tag_count(GOOD + "x" * 2000) == pytest.approx(0.5 - 2.0), "as in the seed, without a floor"
    assert tag_count(GOOD + "\n\n  ") == 0.5, "white space at the end costs nothing"


pieces = st.one_of(st.sampled_from([*TAGS, "\n", " ", "word", "<", ">", "</"]), st.text(max_size=5))
texts = st.lists(pieces, max_size=14).map("".join)


@given(texts)
def test_any_text_has_a_value(text):
    assert strict_format(text) in (0.0, 1.0)
    assert soft_format(text) in (0.0, 1.0)
    assert tag_count(text) <= 0.5
    assert section(text, "answer") != ""
    assert section(text, "reasoning") != ""


@given(texts)
def test_strict_implies_soft_four_tags_and_both_sections(text):
    if strict_format(text):
        assert soft_format(text)
        assert tag_count(text) == 0.5
        assert section(text, "answer") is not None
        assert section(text, "reasoning") is not None


@given(st.text(min_size=1).filter(str.strip), st.text(min_size=1).filter(str.strip))
def test_any_two_filled_sections_without_tags_are_strict(reasoning, answer):
    text = f"<reasoning>{reasoning}</reasoning>\n<answer>{answer}</answer>"
    if all(tag not in reasoning + answer for tag in TAGS):
        assert strict_format(text) == 1
        assert section(text, "answer") == answer.strip()


@given(texts)
def test_what_a_section_shows_holds_no_tag_of_its_own(text):
    shown = section(text, "answer")
    if shown is not None:
        assert "<answer>" not in shown
        assert "</answer>" not in shown
        assert shown in text


def test_a_policy_stuck_on_one_tag_is_read_in_no_time():
    stuck = "<reasoning>a</reasoning>" * 400
    started = time.process_time()
    assert (soft_format(stuck), strict_format(stuck), section(stuck, "answer")) == (0, 0, None)
    assert time.process_time() - started < 0.5, "trying every combination of repeated tags is cubic"


def test_a_long_text_of_repeated_ends_is_read_in_no_time():
    stuck = "<reasoning>a" + "</reasoning><answer>b" * 10_000
    started = time.process_time()
    assert (soft_format(stuck), strict_format(stuck), section(stuck, "answer")) == (0, 0, None)
    assert time.process_time() - started < 0.5, "a pattern tries every end with every beginning"
