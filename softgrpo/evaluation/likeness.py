"""How alike texts on different subjects are. Pure.

Shapes: `N` texts, `S` subjects, `P` pairs of a subject and an n-gram that its texts hold; `keep_S` is False for
subjects that are left out.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

ORDERS = (1, 2, 3, 4)
OTHERS = 8
"""answers with which a text is compared"""


def common_opening(openings_N: Sequence[tuple[str, ...]], subjects_N: Sequence[int]) -> tuple[str, ...] | None:
    """The opening that most texts have, of those on at least two subjects; None where no two subjects share one.

    >>> common_opening([("free",), ("free",), ("a", "toll"), ("free",)], [0, 0, 1, 1])
    ('free',)
    >>> common_opening([("free",), ("free",), ("a", "toll")], [0, 0, 1])
    """
    having: dict[tuple[str, ...], set[int]] = defaultdict(set)
    for found, subject in zip(openings_N, subjects_N, strict=True):
        having[found].add(subject)
    counts = Counter(found for found in openings_N if len(having[found]) > 1)
    return min(counts, key=lambda found: (-counts[found], found)) if counts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grams:
    """The n-grams of some texts by subject."""

    subject_P: np.ndarray
    gram_P: np.ndarray
    holding_P: np.ndarray
    """texts on the subject that hold the n-gram"""
    weight_P: np.ndarray
    """how much of the subject's texts the n-gram makes up; of a text all of them together 1"""
    texts_S: np.ndarray
    """texts on each subject"""


def grams(words_N: Sequence[Sequence[str]], subjects_N: Sequence[int]) -> Grams:
    """Counted once; of a text each order that it has weighs the same."""
    ids: dict[tuple[str, ...], int] = {}
    places: dict[tuple[int, int], int] = {}
    holding: list[int] = []
    weights: list[float] = []
    for words, subject in zip(words_N, subjects_N, strict=True):
        orders = [n for n in ORDERS if len(words) >= n]
        for n in orders:
            part = 1 / (len(orders) * (len(words) - n + 1))
            for gram, times in Counter(zip(*(words[k:] for k in range(n)), strict=False)).items():
                place = places.setdefault((subject, ids.setdefault(gram, len(ids))), len(places))
                if place == len(holding):
                    holding.append(0)
                    weights.append(0.0)
                holding[place] += 1
                weights[place] += times * part
    pairs = np.array(list(places), dtype=np.int64).reshape(-1, 2)
    return Grams(
        subject_P=pairs[:, 0],
        gram_P=pairs[:, 1],
        holding_P=np.array(holding, dtype=np.int64),
        weight_P=np.array(weights),
        texts_S=np.bincount(np.array(subjects_N, dtype=np.int64)),
    )


def self_bleu(found: Grams, keep_S: np.ndarray) -> float:
    """Mean share of a text's n-grams that stand in eight texts on other subjects (Zhu et al., 2018, without the
    penalty for brevity, and with an arithmetic mean over orders, which no missing order makes zero).

    The eight are drawn by chance, with replacement, and this is the mean over all draws: of an n-gram that a share q
    of the texts on other subjects holds, 1 - (1 - q) ** 8. NaN where there are no others.
    """
    if keep_S.sum() < 2:
        return math.nan
    kept = keep_S[found.subject_P]
    gram, holding = found.gram_P[kept], found.holding_P[kept]
    texts = found.texts_S[keep_S].sum()
    others = np.bincount(gram, holding)[gram] - holding
    missed = (1 - others / (texts - found.texts_S[found.subject_P[kept]])) ** OTHERS
    return float(found.weight_P[kept] @ (1 - missed) / texts)


def compression(texts: Sequence[str]) -> float:
    """Bytes of all the texts over bytes of them compressed: more where they repeat themselves or one another.

    >>> compression(["The toll is fair."] * 9) > 3 > compression(["The toll is fair.", "Rivers bear no guilt."])
    True
    """
    whole = "\n".join(texts).encode("utf-8", "replace")
    return len(whole) / len(zlib.compress(whole))


Statistic = Callable[[np.ndarray], float]
"""of the subjects that are kept, [S] True or False"""
GROUPS = 20


def jackknife(statistic: Statistic, n_subjects: int) -> tuple[float, float]:
    """The statistic of all subjects, and its standard error (Quenouille, 1956; Tukey, 1958), NaN of one subject.

    Twenty groups of subjects at most are left out in turn. Nothing is drawn twice, as a bootstrap would, which takes a
    text's double for likeness.

    >>> [round(x, 4) for x in jackknife(lambda keep: float(np.array([1.0, 2.0, 4.0])[keep].mean()), 3)]
    [2.3333, 0.8819]
    """
    groups = min(GROUPS, n_subjects)
    whole = statistic(np.ones(n_subjects, dtype=bool))
    if groups < 2:
        return whole, math.nan
    without = np.array([statistic(np.arange(n_subjects) % groups != g) for g in range(groups)])
    return whole, math.sqrt((groups - 1) / groups * float(np.sum((without - without.mean()) ** 2)))
