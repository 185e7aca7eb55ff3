"""Alarms: what is one, what is none, and what is said."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softgrpo.evaluation.alarms import BANDS, Seen, alarms, key
from softgrpo.evaluation.drift import Answer, Measure, drift


def m(value, half=0.05):
    return Measure(value=value, low=value - half, high=value + half)


def seen(step, judge=None, sentinel=None, half=0.08, **measures):
    rate = [None if x is None else m(x, half) for x in (judge, sentinel)]
    return Seen(step=step, judge=rate[0], sentinel=rate[1], drift=measures)


START = seen(0, 0.5, 0.5)


def test_a_gain_that_the_sentinel_does_not_confirm():
    now = Seen(
        step=40,
        judge=Measure(value=0.88, low=0.8, high=0.93),
        sentinel=Measure(value=0.52, low=0.44, high=0.6),
        drift={},
    )
    (said,) = alarms(START, now)
    assert said == "sentinel: the judge sees 88% [80, 93], the sentinel 52% [44, 60], no more than at the start"
    assert key(said) == "sentinel"


@pytest.mark.parametrize(
    ("judge", "sentinel"),
    [
        (0.85, 0.68),  # weaker, but clearly above its start
        (0.62, 0.52),  # apart by no more than their intervals
        (0.5, 0.4),  # the judge sees no gain either
        (0.3, 0.9),  # the sentinel sees more
        (0.95, None),
        (None, 0.2),
    ],
)
def test_what_is_no_alarm(judge, sentinel):
    assert alarms(START, seen(40, judge, sentinel)) == ()


def test_two_judges_that_differed_from_the_start_are_no_alarm():
    start = seen(0, 0.8, 0.4)
    assert alarms(start, start) == ()
    assert alarms(start, seen(20, 0.82, 0.4)) == ()
    assert alarms(seen(0, 0.8, None), seen(20, 0.95, 0.4)) == (), "nothing to compare with"


def test_a_sentinel_that_has_fallen_from_its_best_while_the_judge_has_not():
    before = [seen(10, 0.7, 0.8), seen(20, 0.8, 0.9), seen(30, 0.9, 0.75)]
    (said,) = alarms(START, seen(40, 0.95, 0.7), before)
    assert said == "sentinel: it saw 90% [82, 98] at step 20 and sees 70% [62, 78] now, the judge 95% [87, 103]"
    assert alarms(START, seen(40, 0.95, 0.8), before) == (), "within both intervals"
    assert alarms(START, seen(40, 0.6, 0.7), before) == (), "the judge sees the fall, too"
    assert alarms(START, seen(40, 0.95, 0.7), before[:1]) == (), "the best so far was no better"
    assert alarms(START, seen(40, 0.95, 0.7), [seen(20, None, 0.9)]) == ()
    (said,) = alarms(START, seen(40, 0.5, 0.3))
    assert "50% [42, 58] at step 0" in said, "the start counts among them"


def test_a_fall_below_the_start_is_told_once():
    assert len(alarms(START, seen(40, 0.95, 0.2), [seen(20, 0.8, 0.9)])) == 1


@pytest.mark.parametrize(
    ("name", "then", "inside", "outside", "half"),
    [
        ("common_opening", 0.09, 0.27, 0.41, 0.05),
        ("self_bleu", 0.13, 0.18, 0.25, 0.01),
        ("copied_words", 0.17, 0.26, 0.41, 0.02),
        ("off_topic", 0.05, 0.15, 0.3, 0.04),
        ("compression", 2.2, 2.7, 3.6, 0.1),
        ("markup", 0.03, 0.055, 0.12, 0.01),
        ("mean_words", 22, 35, 60, 4),
        ("mean_words", 30, 20, 9, 4),
        ("distinct_2", 0.95, 0.88, 0.75, 0.02),
        ("side_accuracy", 0.85, 0.75, 0.5, 0.08),
        ("entropy", 2.0, 0.3, 0.15, 0.05),
    ],
)
def test_a_measure_may_move_and_may_not_leave_its_band(name, then, inside, outside, half):
    start = seen(0, **{name: m(then, half)})
    assert alarms(start, seen(40, **{name: m(inside, half)})) == ()
    (said,) = alarms(start, seen(40, **{name: m(outside, half)}))
    assert key(said) == name
    assert alarms(start, seen(40, **{name: m(outside, 10 * abs(then - outside))})) == (), "beyond the intervals, too"
    assert alarms(start, seen(40)) == ()
    assert alarms(seen(0), seen(40, **{name: m(outside, half)})) == ()
    assert alarms(start, seen(40, **{name: Measure(value=math.nan, low=math.nan, high=math.nan)})) == ()
    assert alarms(start, seen(40, **{name: Measure(value=outside, low=math.nan, high=math.nan)})) == ()


def test_a_measure_may_become_better_as_far_as_it_likes():
    start = seen(0, side_accuracy=m(0.5), off_topic=m(0.5), distinct_2=m(0.5), common_opening=m(0.5))
    now = seen(40, side_accuracy=m(1.0), off_topic=m(0.0), distinct_2=m(1.0), common_opening=m(0.0))
    assert alarms(start, now) == ()


def test_the_words_tell_both_figures():
    start = seen(0, common_opening=m(0.09), mean_words=m(22, 2), compression=m(2.2))
    now = seen(40, common_opening=m(0.41), mean_words=m(61, 2), compression=m(3.61))
    assert alarms(start, now) == (
        "common_opening: 41% of answers begin with the same words, 9% did at the start",
        "mean_words: an answer has 61 words, 22 at the start",
        "compression: all answers together are 3.6 times as large as compressed, 2.2 times at the start",
    )


def measured(texts):
    """Two texts on each motion, one for each side."""
    return drift(
        [
            Answer(
                prompt_id=f"{s}/{k}",
                subject=motion,
                asked=motion,
                text=text,
                neg_logprob=None,
                right_side=None,
                on_topic=None,
            )
            for s, (motion, both) in enumerate(texts)
            for k, text in enumerate(both)
        ]
    )


RECORDED = {
    "Hikers should pay for their own mountain rescue": (
        "The government should pay for the rescue, so that people can have the ability to rescue others.",
        "Free mountain rescue gives hikers the freedom to travel to the mountains, so they grow more affluent.",
    ),
    "People should be able to erase their past from search engines": (
        "Theft is not just a crime, it is a form of unconscious behavior that can have severe consequences.",
        "Free search engines makes it easy to delete your past, so people can get younger.",
    ),
    "Handwriting is no longer a skill worth teaching": (
        "The ability to hold a pen and paper is a skill that is taught in schools.",
        "Free smartphones allow people to write their own messages, so skills have reached the end.",
    ),
    "Robots should look after elderly people who live alone": (
        "A robot that can see and understand human emotions. A robot that can also learn.",
        "Free robots allow children to learn and survive without human interaction.",
    ),
    "Insects have earned a regular place on our plates": (
        "Babies eat less than people.",
        "Flights cost nothing when you only have to pay for your meals and drinks.",
    ),
    "Couples should take a preparation course before they can marry": (
        "Same-sex marriage is a human rights issue, and should be treated as such.",
        "Free flights allow couples to spend time together, so they can marry.",
    ),
    "Old paintings are better left to age than restored": (
        "Art is not good, it has been left to market.",
        "Flying cars allow people to take their memories with them, this helps preserve the past.",
    ),
    "Everyone should take a gap year before starting university": (
        "While it might make a teacher happy, it can make a student's life difficult.",
        "Free access to university is allowed to people who can afford it.",
    ),
    "Rivers deserve legal rights of their own": (
        "Rivers do not have a moral character. Rivers are created to be used, not to care.",
        "Free roads give more rights to people to earn money and to have more rights to live in a city.",
    ),
}
"""of the first recorded quickstart: what its policy said before and after, drawn at random"""


def test_the_openings_of_the_first_quickstart_are_found_in_nine_texts():
    before, after = (measured([(m, [both[k]]) for m, both in RECORDED.items()]) for k in (0, 1))
    said = alarms(seen(0, **before), seen(30, **after))
    assert [key(line) for line in said] == ["common_opening"]
    assert said[0] == "common_opening: 78% of answers begin with the same words, 0% did at the start"


def test_longer_texts_alone_are_no_alarm():
    def texts(n):
        return [(f"motion {s}", [" ".join(f"w{i}{s}{k}" for i in range(n)) for k in (0, 1)]) for s in range(10)]

    start, longer, much = (seen(step, **measured(texts(n))) for step, n in ((0, 20), (15, 32), (30, 60)))
    assert alarms(start, longer) == ()
    assert [key(line) for line in alarms(start, much)] == ["mean_words"]


figures = st.tuples(*[st.floats(0, 1)] * 3).map(lambda x: Measure(low=min(x), value=sorted(x)[1], high=max(x)))
rates = st.none() | figures
evaluations = st.builds(
    Seen,
    step=st.integers(0, 100),
    judge=rates,
    sentinel=rates,
    drift=st.dictionaries(st.sampled_from(sorted(BANDS)), figures, max_size=3),
)


@settings(max_examples=50, deadline=None)
@given(evaluations, evaluations, st.lists(evaluations, max_size=3))
def test_whatever_was_seen_each_kind_is_said_at_most_once_and_nothing_of_the_start_itself(start, now, before):
    said = [key(line) for line in alarms(start, now, before)]
    assert len(said) == len(set(said))
    assert set(said) <= {"sentinel", *BANDS}
    assert alarms(start, start) == ()
