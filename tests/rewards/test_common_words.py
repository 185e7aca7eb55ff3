"""What answers share in words: counted by hand, then what must always hold."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softgrpo.rewards.answers import FEW, KEPT, Answers
from softgrpo.rewards.common_words import words_in_common
from softgrpo.words import words


def of(subject, *texts, question=""):
    return Answers(subject=subject, texts=texts, question=question)


def costs(*groups):
    return [cost.tolist() for cost in words_in_common(groups, [g.known for g in groups])]


def many(text, n=FEW):
    """So many prompts, each with that answer alone."""
    return [of(f"other {i}", text) for i in range(n)]


def test_what_all_say_costs_all_and_what_nobody_else_says_nothing():
    said = costs(of("s", "Free flights for all of us.", "Nobody asked whales."), *many("Free flights for all of us!"))
    assert said[0] == [1.0, 0.0]
    assert said[1:] == [[1.0]] * FEW


def test_an_opening_is_half_of_the_cost_however_long_the_text():
    for rest in ("a b c d", " ".join(f"w{i}" for i in range(300))):
        (found, *_) = costs(of("s", f"Free flights now {rest}"), *many("Free flights now"))
        runs, length = 3, 3 + len(rest.split())
        within = [(runs - n) / (length - n + 1) for n in (2, 3)]  # two pairs and one triple of the text's are shared
        within = [2 / (length - 1), 1 / (length - 2), 0.0]
        assert found == pytest.approx([(1 + sum(within) / 3) / 2])


def test_of_an_opening_one_two_and_three_words_count():
    others = many("Free flights now and then")
    (found, *_) = costs(of("s", "Free x", "Free flights x", "Free flights now", "Well free flights now"), *others)
    assert found[0] == pytest.approx((1 / 2 + 0) / 2), "of two words that open it one, of one pair none"
    assert found[1] == pytest.approx((2 / 3 + (1 / 2 + 0) / 2) / 2)
    assert found[2] == 1.0
    assert found[3] == pytest.approx((0 + (2 / 3 + 1 / 2 + 0) / 3) / 2), "it stands elsewhere, where it counts less"


def test_what_a_quarter_of_the_answers_hold_costs_all_it_can_and_less_in_proportion():
    def of_sixteen(n):
        others = [*many("Free", n), *(of(f"else {i}", f"w{i}") for i in range(16 - n))]
        return costs(of("s", "Free"), *others)[0][0]

    assert [of_sixteen(n) for n in (0, 1, 2, 4, 16)] == [0.0, 0.25, 0.5, 1.0, 1.0]


def test_an_answer_counts_by_its_share_of_the_prompts_answers():
    others = [of(f"other {i}", "Free", "b", "c", "d") for i in range(FEW)]
    assert costs(of("s", "Free"), *others)[0] == [1.0]
    others = [of(f"other {i}", "Free", *"bcdefgh") for i in range(FEW)]
    assert costs(of("s", "Free"), *others)[0] == [0.5]


def test_what_one_of_two_prompts_shares_may_be_chance():
    assert costs(of("s", "Free"), of("t", "Free"))[0] == [1 / FEW / 0.25]
    assert costs(of("s", "Free"))[0] == [0.0], "nobody to compare with"


def test_the_other_side_of_a_motion_is_no_other_prompt():
    same = [of("s", "Free trade helps the poor") for _ in range(20)]
    assert costs(*same) == [[0.0]] * 20
    assert costs(*same, *many("Free trade helps the poor"))[0] == [1.0]


def test_what_was_asked_is_no_sameness():
    asked = "Argue for this motion: whales should vote"
    texts = "So. Argue for this motion then", "So. We go for this instead then"
    with_it, without = (
        costs(of("s", *texts, question=q), *many("Well argue for this motion always"))[0] for q in (asked, "")
    )
    assert with_it[0] == 0.0
    assert without[0] > without[1] > 0


def test_a_text_that_is_not_there_costs_nothing_and_nobody():
    groups = [of("s", None, "Free"), of("t", None, None), *many("Free")]
    assert costs(*groups)[:2] == [[0.0, 1.0], [0.0, 0.0]]


def test_punctuation_case_and_markup_are_no_words():
    assert costs(of("s", "**FREE**, flights — now!?"), *many("free flights now"))[0] == [1.0]


@pytest.mark.parametrize("text", ["!!! ...", "自由な空の旅を", "免费航班", "😀 😀", "Yes"])
def test_whatever_it_is_written_in_what_all_say_costs(text):
    assert words(text)
    found, *_ = costs(of("s", text, "Nobody"), *many(text))
    assert found == [1.0, 0.0]


NATURAL = """The harbour pays for itself within nine years, because the ferries that now queue outside it burn fuel.
It is easy to forget that the people who clean our streets at night cannot take a bus home, since none of them runs.
We owe the children of this town a library that opens when they are out of school, and not when it is cheap to staff.
If the river floods again in the spring, the cost of the dam will look small beside the cost of the houses it took.
Nobody would call it fair that a nurse waits longer for a flat than the company that buys ten of them at once.
A vote at sixteen gives the young a reason to read about taxes before the first of them is taken from their wages.
When a museum sells a painting to mend its roof, the roof will need mending again and the painting is in a safe.
Farmers along the coast have lost a third of the soil to salt, and that is the part of the bill nobody has paid.
Teaching in two languages costs a year of patience, and it is the cheapest thing a border town can do for peace.
There is no evidence that the fines have kept one car out of the centre of the city, and they fall on the poor."""


def test_words_of_grammar_that_all_texts_share_cost_next_to_nothing():
    texts = NATURAL.splitlines()
    found = np.array(costs(*(of(text[:9], text) for text in texts)))
    assert found.max() < 0.1
    assert found.std() < 0.03


texts = st.lists(st.sampled_from(["free", "the", "of", "toll", "fair"]), min_size=1, max_size=7).map(" ".join)
answers = st.lists(st.none() | texts, min_size=1, max_size=4)
groups = st.lists(st.tuples(st.sampled_from("abcd"), answers).map(lambda g: of(g[0], *g[1])), min_size=1, max_size=6)


@settings(deadline=None, max_examples=40)
@given(groups, st.randoms(use_true_random=False))
def test_it_is_a_share_and_the_order_of_prompts_and_answers_does_not_matter(groups, random):
    found = words_in_common(groups, [g.known for g in groups])
    for group, cost in zip(groups, found, strict=True):
        assert ((cost >= 0) & (cost <= 1)).all()
        assert all(c == 0 for c, text in zip(cost, group.texts, strict=True) if text is None)
    order = random.sample(range(len(groups)), len(groups))
    again = words_in_common([groups[i] for i in order], [groups[i].known for i in order])
    for i, cost in zip(order, again, strict=True):
        np.testing.assert_array_equal(cost, found[i])
    turned = [replace(g, texts=g.texts[::-1]) for g in groups]
    for cost, other in zip(found, words_in_common(turned, [g.known for g in turned]), strict=True):
        np.testing.assert_array_equal(cost, other[::-1])


@settings(deadline=None, max_examples=40)
@given(groups, st.lists(texts, min_size=1, max_size=KEPT))
def test_another_prompt_that_says_the_same_never_makes_it_cheaper(groups, said):
    others = [g.known for g in groups] + [of(f"empty {i}", "zzz") for i in range(FEW)]
    group = of("mine", *said)
    before, after = (words_in_common([group], [*others[:-1], last])[0] for last in (others[-1], of("new", *said)))
    assert (after >= before - 1e-12).all()


def test_the_cost_is_the_same_in_every_process():
    """Sets of words have another order in each."""
    script = (
        "from softgrpo.rewards.answers import Answers; from softgrpo.rewards.common_words import words_in_common\n"
        "texts = ['%s' % ' '.join(str(i * j % 37) for i in range(90)) for j in range(1, 12)]\n"
        "groups = [Answers(subject=str(i), texts=tuple(texts[i:i + 5])) for i in range(7)]\n"
        "print([c.hex() for cost in words_in_common(groups, groups) for c in cost.tolist()])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in "12"
    }
    assert len(said) == 1
