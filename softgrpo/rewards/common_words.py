"""What a text shares with answers to other prompts in words: n-grams, and those that open it. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from softgrpo.rewards.answers import FEW, KEPT, MANY, Answers
from softgrpo.words import words

ORDERS = (2, 3, 4)
"""lengths of the n-grams, in words"""
OPENING = 3
"""words that open a text"""
WHOLE = math.lcm(*range(1, KEPT + 1))
"""parts of a prompt's answers, of which each of up to `KEPT` texts is a whole number"""

Gram = tuple[str, ...]
"""words that follow one another; those that open a text stand behind an empty one"""


def words_in_common(groups: Sequence[Answers], around: Sequence[Answers]) -> list[np.ndarray]:
    """[G] for each group: what its texts share with those `around` on other subjects, from 0 to 1. 0 without a text.

    An n-gram costs by the share of a prompt's answers that hold it, mean over the other prompts; a text costs the mean
    of its different n-grams, so that a long one costs no more. Half of it is that of the one, two and three words that
    open it. What stands in the question itself is not counted within.

    >>> texts = ["Free speech", "Free trade", "Free time", "Free will", "Slow food"]
    >>> groups = [Answers(subject=text[-4:], texts=(text, "No. It depends")) for text in texts]
    >>> [cost.round(2).tolist() for cost in words_in_common(groups[:3], [g.known for g in groups])][0]
    [0.19, 1.0]
    """
    found = [_grams_of(group) for group in groups]
    wanted = {gram for texts in found for text in texts if text for gram in text}
    on: dict[str, Counter[Gram]] = {}
    for answers in around:
        counts = on.setdefault(answers.subject, Counter())
        for text in _grams_of(answers):
            counts.update({gram: WHOLE // len(answers.texts) for gram in text or () if gram in wanted})
    everywhere: Counter[Gram] = Counter()
    for counts in on.values():
        everywhere.update(counts)
    out = []
    for group, texts in zip(groups, found, strict=True):
        own, n = on.get(group.subject, Counter()), sum(a.subject != group.subject for a in around)
        most = MANY * WHOLE * max(n, FEW)
        cost = {gram: min(1.0, (everywhere[gram] - own[gram]) / most) for text in texts if text for gram in text}
        out.append(np.array([text.cost(cost) if text else 0.0 for text in texts]))
    return out


@dataclass(frozen=True, slots=True)
class Grams:
    """The different n-grams of a text, in its order, so that a sum over them is the same in every process."""

    opening: tuple[Gram, ...]
    within: tuple[tuple[Gram, ...], ...]
    """by length"""

    def __iter__(self) -> Iterator[Gram]:
        yield from self.opening
        for grams in self.within:
            yield from grams

    def cost(self, of: Mapping[Gram, float]) -> float:
        """Each length counts the same, and the opening as much as all of them together."""
        opening = _mean(of[gram] for gram in self.opening)
        within = [_mean(of[gram] for gram in grams) for grams in self.within if grams]
        return (opening + _mean(within)) / 2 if within else opening


def _grams_of(answers: Answers) -> list[Grams | None]:
    asked = words(answers.question)
    own = {gram for n in ORDERS for gram in _runs(asked, n)}
    out: list[Grams | None] = []
    for text in answers.texts:
        found = words(text or "")
        opening = tuple(("", *found[:n]) for n in range(1, min(OPENING, len(found)) + 1))
        within = tuple(tuple(gram for gram in _runs(found, n) if gram not in own) for n in ORDERS)
        out.append(Grams(opening, within) if found else None)
    return out


def _runs(found: Sequence[str], n: int) -> Iterable[Gram]:
    return dict.fromkeys(zip(*(found[i:] for i in range(n)), strict=False))


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return sum(known) / len(known)
