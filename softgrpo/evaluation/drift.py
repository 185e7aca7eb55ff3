"""How a policy's texts have drifted: measures of an evaluation's answers, with intervals over subjects. Pure.

Shapes: `N` texts, `S` subjects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from softgrpo.evaluation.likeness import (
    GROUPS,
    Statistic,
    common_opening,
    compression,
    grams,
    jackknife,
    self_bleu,
)
from softgrpo.evaluation.texts import copied_share, distinct_2, markup, opening
from softgrpo.evaluation.win_rate import share_interval, t_critical
from softgrpo.words import words

HALF = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One text of the policy, as it was judged: the answer section, or the whole reply where there is no form."""

    prompt_id: str
    subject: str
    """unit of the intervals; both sides of a motion share it"""
    asked: str
    """the subject's own words: the motion, the topic, the basket"""
    text: str
    """empty where there was nothing to show"""
    neg_logprob: float | None
    """mean -log p of the drawn tokens, in nats; None where it is not known"""
    right_side: float | None
    """probability, by the sentinel, that it argues for its own side; None where nobody knows"""
    on_topic: float | None
    """probability, by the sentinel, that it is about its subject; None where nobody knows"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A figure and its 95% interval over subjects."""

    value: float
    """NaN where there is nothing to measure"""
    low: float
    high: float
    """NaN of one subject alone, where no spread is known"""


NOTHING = Measure(value=math.nan, low=math.nan, high=math.nan)


def drift(answers: Sequence[Answer]) -> dict[str, Measure]:
    """Each measure by its name; those that nobody can know are absent. Answers without a text are left out.

    `side_accuracy`, `off_topic`: shares of texts on their own side, and beside their subject, by the sentinel.
    `common_opening`: share that begins with the most common opening, of those on at least two subjects; an opening is
    the words up to the first that is no function word, three at most. `self_bleu`: share of n-grams, n = 1 to 4, that
    eight texts on other subjects hold too. `copied_words`: share of words that were asked. `distinct_2`: share of
    different pairs of neighbouring words within a text. `mean_words`: words. `compression`: bytes over compressed
    bytes. `markup`: share of characters that are no letter, digit or space. `entropy`: mean -log p, in nats.

    >>> said = {"Rivers have rights": "Free rivers flow.", "Tax the rich": "Free money for all."}
    >>> found = drift([Answer(prompt_id=s, subject=s, asked=s, text=t, neg_logprob=None, right_side=None, on_topic=0.9)
    ...     for s, t in said.items()])
    >>> found["common_opening"].value, found["off_topic"].value, found["mean_words"].value
    (1.0, 0.0, 3.5)
    >>> "entropy" in found, "side_accuracy" in found
    (False, False)
    """
    shown = [a for a in answers if a.text.strip()]
    subjects = _Subjects([a.subject for a in shown])
    said = [words(a.text) for a in shown]
    sides, topics = [a.right_side for a in shown], [a.on_topic for a in shown]
    found = {
        "side_accuracy": subjects.share([None if p is None else float(p > HALF) for p in sides]),
        "off_topic": subjects.share([None if p is None else float(p < HALF) for p in topics]),
        "common_opening": subjects.common_opening(said),
        "self_bleu": subjects.self_bleu(said),
        "copied_words": subjects.mean(
            [copied_share(w, words(a.asked)) for w, a in zip(said, shown, strict=True)], most=1
        ),
        "distinct_2": subjects.mean([distinct_2(w) for w in said], most=1),
        "mean_words": subjects.mean([len(w) for w in said]),
        "compression": subjects.compression([a.text for a in shown]),
        "markup": subjects.mean([markup(a.text) for a in shown], most=1),
        "entropy": subjects.mean([a.neg_logprob for a in shown]),
    }
    unknown = {
        "side_accuracy": all(p is None for p in sides),
        "off_topic": all(p is None for p in topics),
        "entropy": all(a.neg_logprob is None for a in shown),
    }
    return {name: measure for name, measure in found.items() if not unknown.get(name)}


class _Subjects:
    """The subjects of N texts, and what can be told over them."""

    def __init__(self, subjects_N: Sequence[str]) -> None:
        places = {subject: place for place, subject in enumerate(dict.fromkeys(subjects_N))}
        self.n = len(places)
        self.of_N = [places[subject] for subject in subjects_N]

    def share(self, values_N: Sequence[float | None]) -> Measure:
        """Mean of values in [0, 1], with the interval of a win rate. None is left out."""
        sums, counts = self._sums(values_N)
        if not len(counts):
            return NOTHING
        value, low, high = share_interval(sums, counts)
        return Measure(value=value, low=low, high=high)

    def mean(self, values_N: Sequence[float | None], *, most: float = math.inf) -> Measure:
        """Mean of values from 0 to `most`, with Student's interval (1908) over subjects. None is left out.

        The standard error is that of residuals over subjects, as in `share_interval`.
        """
        sums, counts = self._sums(values_N)
        if not len(counts):
            return NOTHING
        value, part = float(sums.sum() / counts.sum()), counts / counts.sum()
        if len(counts) < 2:
            return _around(value, math.nan, 1)
        stderr = math.sqrt(np.sum(part**2 * (sums / counts - value) ** 2 / (1 - part)))
        return _around(value, stderr, len(counts), most)

    def common_opening(self, said: Sequence[Sequence[str]]) -> Measure:
        """Share of the most common opening. The interval is that of its share, as if it had been named beforehand."""
        openings = [opening(w) for w in said]
        common = common_opening(openings, self.of_N)
        return self.share([float(found == common) for found in openings]) if self.n > 1 else NOTHING

    def self_bleu(self, said: Sequence[Sequence[str]]) -> Measure:
        if self.n < 2:
            return NOTHING
        found = grams(said, self.of_N)
        return self._jackknife(lambda keep_S: self_bleu(found, keep_S))

    def compression(self, texts: Sequence[str]) -> Measure:
        if not texts:
            return NOTHING
        return self._jackknife(
            lambda keep_S: compression([text for text, s in zip(texts, self.of_N, strict=True) if keep_S[s]])
        )

    def _jackknife(self, statistic: Statistic) -> Measure:
        value, stderr = jackknife(statistic, self.n)
        return _around(value, stderr, min(GROUPS, self.n))

    def _sums(self, values_N: Sequence[float | None]) -> tuple[np.ndarray, np.ndarray]:
        """[S] each of the subjects with a value: their sum, and how many."""
        known = [(s, v) for s, v in zip(self.of_N, values_N, strict=True) if v is not None and math.isfinite(v)]
        of = np.array([s for s, _ in known], dtype=np.int64)
        sums = np.bincount(of, [v for _, v in known], minlength=self.n)
        counts = np.bincount(of, minlength=self.n)
        return sums[counts > 0], counts[counts > 0]


def _around(value: float, stderr: float, n: int, most: float = math.inf) -> Measure:
    if n < 2:
        return Measure(value=value, low=math.nan, high=math.nan)
    half = t_critical(n - 1) * stderr
    return Measure(value=value, low=max(value - half, 0.0), high=min(value + half, most))
