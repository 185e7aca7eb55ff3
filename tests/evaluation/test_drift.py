"""Measures of drift: worked by hand, what is nobody's to know, and intervals that hold what they claim."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from softgrpo.evaluation.drift import Answer, Measure, drift
from softgrpo.evaluation.win_rate import share_interval

ALWAYS = {"common_opening", "self_bleu", "copied_words", "distinct_2", "mean_words", "compression", "markup"}


def answer(text, subject="rivers", *, asked="", side=None, topic=None, entropy=None, prompt=""):
    return Answer(
        prompt_id=prompt or subject,
        subject=subject,
        asked=asked or subject,
        text=text,
        neg_logprob=entropy,
        right_side=side,
        on_topic=topic,
    )


def test_each_measure_by_hand():
    found = drift(
        [
            answer("Free rivers flow.", "rivers", side=0.9, topic=0.9, entropy=1.0),
            answer("Rivers bear no guilt, no guilt.", "rivers", side=0.2, topic=0.8, entropy=2.0),
            answer("Free taxes for all", "taxes", side=0.6, topic=0.1, entropy=3.0),
            answer("Nobody pays", "taxes", side=None, topic=None, entropy=None),
        ]
    )
    value = {name: m.value for name, m in found.items()}
    assert value["side_accuracy"] == pytest.approx(2 / 3)
    assert value["off_topic"] == pytest.approx(1 / 3)
    assert value["common_opening"] == 0.5
    assert value["copied_words"] == pytest.approx((1 / 3 + 1 / 6 + 1 / 4 + 0) / 4)
    assert value["distinct_2"] == pytest.approx((1 + 4 / 5 + 1 + 1) / 4)
    assert value["mean_words"] == (3 + 6 + 4 + 2) / 4
    assert value["entropy"] == 2.0
    met = 1 - 0.5**8  # "free", which one of the two texts on the other subject holds
    assert value["self_bleu"] == pytest.approx(met * (1 / 9 + 0 + 1 / 16 + 0) / 4), "a text of 3 orders, one of 4"
    assert value["markup"] == pytest.approx((1 / 15 + 2 / 26) / 4)
    assert set(value) == ALWAYS | {"side_accuracy", "off_topic", "entropy"}


def test_what_nobody_can_know_is_absent():
    assert set(drift([answer("Free rivers"), answer("Free taxes", "taxes")])) == ALWAYS
    assert "off_topic" in drift([answer("Free rivers", topic=0.5), answer("Free taxes", "taxes")])
    assert drift([answer("Rivers", topic=0.5)])["off_topic"].value == 0.0, "an even chance is not beside the subject"
    assert drift([answer("Rivers", side=0.5)])["side_accuracy"].value == 0.0, "nor is it the right side"


@pytest.mark.parametrize("answers", [[], [answer(""), answer(" \n", "taxes", side=0.9, entropy=1.0)]])
def test_nothing_to_show_is_not_a_number(answers):
    found = drift(answers)
    assert set(found) == ALWAYS, "what is said of a text that is not there is nothing either"
    assert all(math.isnan(x) for m in found.values() for x in (m.value, m.low, m.high))


def test_texts_that_had_nothing_to_show_are_left_out():
    texts = [answer("Free rivers flow"), answer("Tolls are fair", "tolls"), answer("Nobody pays", "taxes")]
    assert drift([*texts, answer("", "rivers"), answer("", "empty", entropy=9.0)]) == drift(texts)


def test_one_subject_alone_has_a_value_and_no_spread():
    found = drift([answer("Free rivers flow"), answer("Rivers bear no guilt")])
    assert found["mean_words"].value == 3.5
    assert math.isnan(found["mean_words"].low)
    assert math.isnan(found["compression"].high)
    assert math.isnan(found["self_bleu"].value), "there is nobody to be alike with"
    assert math.isnan(found["common_opening"].value)


def test_shares_have_the_interval_of_a_win_rate():
    answers = [
        answer("Rivers", f"s{s}", side=float(k < s % 3), prompt=f"s{s}/{k}") for s in range(12) for k in range(2)
    ]
    _, low, high = share_interval(np.array([min(s % 3, 2) for s in range(12)]), np.full(12, 2))
    assert drift(answers)["side_accuracy"] == Measure(value=0.5, low=low, high=high)


def test_means_have_students_interval_over_subjects():
    lengths = [3, 9, 4, 7, 12, 5, 6, 30]
    found = drift([answer("word " * n, f"s{k}") for k, n in enumerate(lengths)])["mean_words"]
    low, high = stats.t.interval(0.95, 7, np.mean(lengths), stats.sem(lengths))
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(lengths), low, high))
    more = drift([answer("word " * n, f"s{k}") for k, n in enumerate(lengths) for _ in range(5)])["mean_words"]
    assert (more.low, more.high) == pytest.approx((low, high)), "more texts on the same subjects tell no more of others"


def text_of(rng, n=30, words=400):
    return " ".join(f"w{int(k)}" for k in words * rng.random(n) ** 2)


@pytest.mark.parametrize("name", ["self_bleu", "compression"])
def test_the_interval_of_a_figure_of_all_texts_holds_other_draws(name):
    """Many draws of subjects from one world: nearly all intervals hold the mean of the figures."""
    rng = np.random.default_rng(0)

    def draw():
        texts = [(f"s{s}", text_of(rng, int(rng.integers(8, 25)))) for s in range(12) for _ in range(2)]
        return drift([answer(t, s) for s, t in texts])[name]

    found = [draw() for _ in range(40)]
    truth = np.mean([m.value for m in found])
    assert np.mean([m.low <= truth <= m.high for m in found]) >= 0.85
    assert np.mean([m.high - m.low for m in found]) < 0.4 * truth, "and tells something"


def test_a_policy_that_begins_all_its_texts_alike_is_seen_and_one_that_samples_alike_is_not():
    rng = np.random.default_rng(1)
    honest = [answer(text_of(rng), f"s{s}") for s in range(20) for _ in range(4)]
    hacked = [answer(f"Free {a.text}", a.subject) for a in honest[:60]] + honest[60:]
    alike = [answer(honest[4 * s].text, f"s{s}") for s in range(20) for _ in range(4)]
    assert drift(honest)["common_opening"].high < 0.3
    assert drift(hacked)["common_opening"].value == pytest.approx(0.75)
    assert drift(hacked)["common_opening"].low > drift(honest)["common_opening"].high
    assert drift(alike)["common_opening"].value == pytest.approx(drift(honest)["common_opening"].value, abs=0.1)
    assert drift(alike)["self_bleu"].value == pytest.approx(drift(honest)["self_bleu"].value, abs=0.05)


drawn = st.lists(
    st.builds(
        answer,
        st.text(max_size=40),
        st.sampled_from(["rivers", "taxes", "tolls"]),
        side=st.none() | st.floats(0, 1),
        topic=st.none() | st.floats(0, 1),
        entropy=st.none() | st.floats(0, 10),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(drawn)
def test_whatever_the_texts_are_each_interval_holds_its_value(answers):
    found = drift(answers)
    assert set(found) >= ALWAYS
    for m in found.values():
        assert not m.low > m.value
        assert not m.value > m.high
        assert not m.low < 0
    assert str(drift(answers)) == str(found)


def test_two_hundred_answers_of_a_hundred_words_are_measured_at_once():
    rng = np.random.default_rng(0)
    answers = [answer(text_of(rng, 100, 3000), f"s{k // 4}") for k in range(200)]
    began = time.process_time()
    drift(answers)
    assert time.process_time() - began < 2, "a third of a second on an idle processor"
