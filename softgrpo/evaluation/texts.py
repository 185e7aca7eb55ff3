"""What a text is made of: words, how it opens, what it repeats. Pure, and of each text alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

LONGEST_OPENING = 3
FUNCTION_WORDS = frozenset(
    "a about all also although an and any are as at be because been but by can could did do does each either even "
    "every few first for from had has have he her here his how i if in into is it it's its just many may might more "
    "most much must my no nor not of on one only or our over she should since so some such than that that's the their "
    "them then there there's these they this those though to too very was we were what when where whether which while "
    "who why will with would yet you your".split()
)
"""with which honest texts on anything begin"""


def opening(found: Sequence[str]) -> tuple[str, ...]:
    """The words up to the first that says something, three at most.

    >>> from softgrpo.words import words
    >>> opening(words("Free buses help")), opening(words("The toll is fair")), opening(words("It is not so simple"))
    (('free',), ('the', 'toll'), ('it', 'is', 'not'))
    """
    first = next((k for k, word in enumerate(found) if word not in FUNCTION_WORDS), len(found))
    return tuple(found[: min(first + 1, LONGEST_OPENING)])


def distinct_2(found: Sequence[str]) -> float | None:
    """Share of different ones among the pairs of neighbouring words (Li et al., 2016, of one text).

    None where there is no pair.

    >>> from softgrpo.words import words
    >>> distinct_2(words("so it is, so it goes"))
    0.8
    """
    pairs = list(pairwise(found))
    return len(set(pairs)) / len(pairs) if pairs else None


def copied_share(found: Sequence[str], asked: Sequence[str]) -> float | None:
    """Share of the words that stand among those `asked`. None where there are no words.

    >>> from softgrpo.words import words
    >>> copied_share(words("Rivers have rights"), words("Rivers deserve legal rights"))
    0.6666666666666666
    """
    own = set(asked)
    return sum(word in own for word in found) / len(found) if found else None


def markup(text: str) -> float | None:
    """Share of the characters that are neither letters nor digits nor space. None where all is space.

    >>> markup("## Yes!"), markup("Yes.")
    (0.5, 0.25)
    """
    shown = "".join(text.split())
    return sum(not c.isalnum() for c in shown) / len(shown) if shown else None
