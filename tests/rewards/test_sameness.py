"""What is remembered of a run's answers, and what that does to a policy whose judge has a favourite."""

from __future__ import annotations

import io
import random
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from softgrpo.evaluator import Evaluator
from softgrpo.grpo.advantages import advantages
from softgrpo.judges.text_scores import ScoringJudge
from softgrpo.records import Group
from softgrpo.rewards.answers import KEPT, Answers
from softgrpo.rewards.sameness import BEGINNING, PROMPTS, Recent
from tests.fakes.builders import completion, prompt, task

D = 12


def group(step, texts=("Free buses for all", "A toll is fair"), *, vectors=False):
    drawn = np.random.default_rng(step).normal(size=(len(texts), D)).astype(np.float32)
    return Answers(subject=f"s{step}", texts=tuple(texts), question="Go.", vectors=drawn if vectors else None)


def remembered(n, **options):
    memory = Recent()
    for step in range(n):
        memory = memory.after([group(step, **options)])
    return memory


def saved_and_loaded(state):
    """As a checkpoint does it."""
    file = io.BytesIO()
    torch.save(state, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=True)


def test_the_last_prompts_are_remembered_and_no_more_of_their_answers_than_some():
    memory = remembered(PROMPTS + 5)
    assert [a.subject for a in memory.answers] == [f"s{i}" for i in range(5, PROMPTS + 5)]
    (kept,) = Recent().after([group(0, [None, *map(str, range(20))])]).answers
    assert kept.texts == tuple(map(str, range(KEPT)))
    assert Recent().after([group(0, [None, None])]).answers == ()


def test_a_new_memory_leaves_the_old_one_as_it_was():
    memory = remembered(3)
    before = memory.state()
    memory.costs([group(9)])
    memory.after([group(9)])
    assert memory.state() == before


def test_the_past_counts_like_the_iterations_other_prompts():
    new = group(99)
    (alone,) = remembered(9).costs([new])
    (beside, *_) = Recent().costs([new, *(group(i) for i in range(9))])
    np.testing.assert_array_equal(alone, beside)
    assert alone.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("vectors", [False, True])
@pytest.mark.parametrize("n", [0, 3, BEGINNING, PROMPTS + 9])
def test_a_saved_memory_goes_on_to_the_last_bit(n, vectors):
    texts = ("Free \ud800 buses", None, "A toll is fair")
    memory = remembered(n, texts=texts, vectors=vectors)
    again = Recent.of(saved_and_loaded(memory.state()))
    assert (memory.start is not None) == (vectors and n >= BEGINNING)
    for step in range(100, 120):
        new = [group(step, texts, vectors=vectors), group(step + 50, texts, vectors=vectors)]
        for one, other in zip(memory.costs(new), again.costs(new), strict=True):
            np.testing.assert_array_equal(one, other)
        memory, again = memory.after(new), again.after(new)
        assert memory.state() == again.state()


def test_the_start_is_known_once_and_stays():
    memory = remembered(BEGINNING, vectors=True)
    assert memory.start is not None
    later = memory.after([group(step, vectors=True) for step in range(100, 200)])
    assert later.start is memory.start
    assert remembered(BEGINNING - 1, vectors=True).start is None


def test_words_and_meaning_count_half_each_and_words_alone_without_vectors():
    memory = remembered(20, vectors=True)
    with_them, without = group(99, vectors=True), group(99)
    words, both = memory.costs([without])[0], memory.costs([with_them])[0]
    assert words.tolist() == [1.0, 1.0]
    assert ((both >= 0.5) & (both < 0.9)).all()
    mixed = memory.costs([with_them, replace(without, subject="other")])
    assert mixed[1].tolist() == [1.0, 1.0], "the judge could not read this one"


OPENINGS = (
    "Free flights would|Nobody asked them|When rivers rise|Our schools pay|Most towns know|It costs more|"
    "Every vote counts|Without a harbour|Honestly that is|They say later|A loss hurts|Some rights fade"
).split("|")
THEN = "flights would they towns we rivers rights honestly cost pay schools harbour vote later lose".split()


class Bandit:
    """A policy that chooses an opening, the same for whatever is asked, and then says something or other."""

    def __init__(self):
        self.rng = random.Random(0)
        self.logits = np.zeros(len(OPENINGS))

    @property
    def p(self):
        shares = np.exp(self.logits - self.logits.max())
        return shares / shares.sum()

    def sample(self, subject, n):
        chosen = self.rng.choices(range(len(OPENINGS)), self.p, k=n)
        texts = [f"{OPENINGS[i]} {' '.join(self.rng.choices(THEN, k=9))} {subject}" for i in chosen]
        completions = tuple(completion(text) for text in texts)
        return chosen, Group(prompt=prompt(id=subject, subject=subject), prompt_ids=(), completions=completions)

    def learn(self, chosen, values):
        """The gradient of the mean of advantage times log-probability."""
        for i, value in zip(chosen, values, strict=True):
            self.logits += 0.3 * value / len(chosen) * (np.eye(len(OPENINGS))[i] - self.p)


class LikesFree:
    """Mostly for one opening; everything else is a matter of luck."""

    def score(self, items):
        return np.array([1.5 * item.text.startswith("Free") + luck(item.text).random() for item in items])


class FeelsFree(ScoringJudge):
    """Its vectors tell the opening, too, among what the motion and the rest of a text bring."""

    def vectors(self, items):
        told = [luck(i.prompt.subject).normal(size=D) + luck(i.text).normal(size=D) for i in items]
        return np.array(told) + [[3.0 * i.text.startswith("Free")] for i in items]


def luck(text):
    return np.random.default_rng(zlib.crc32(text.encode()))


def trained(judge, **weights):
    """The probability of the favourite opening after training, mean over the last third of it."""
    policy, history = Bandit(), []
    evaluator = Evaluator(replace(task(), format=None), judge, {"answer": 1.0, **weights})
    for step in range(90):
        drawn = [policy.sample(f"subject{step}x{k}", 8) for k in range(2)]
        for (chosen, _), scored in zip(drawn, evaluator.score_groups([g for _, g in drawn], seed=step), strict=True):
            policy.learn(chosen, advantages(scored.rewards))
        history.append(policy.p[0])
    return float(np.mean(history[-30:]))


def test_a_policy_whose_judge_has_a_favourite_collapses_without_and_not_with_the_objective():
    judge = ScoringJudge("likes free", LikesFree())
    assert trained(judge) > 0.95
    assert trained(judge, sameness=3.0) < 0.4


def test_a_judge_that_has_vectors_keeps_it_from_that_too():
    assert trained(FeelsFree("feels free", LikesFree()), sameness=3.0) < 0.4
