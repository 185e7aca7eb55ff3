"""The answers to one prompt, as they are compared with answers to others. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from softgrpo.records import Contest

KEPT = 8
"""texts by which a prompt's answers are known to other prompts"""
MANY = 0.25
"""share of the answers to other prompts: what so many have in common costs all it can, so that two or three openings
are no way out"""
FEW = 8
"""other prompts, and fewer count as so many: what two of three share may be chance"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The answers to one prompt."""

    subject: str
    """prompts of one subject, such as both sides of a motion, are not compared"""
    texts: tuple[str | None, ...]
    """[G] what a judge is shown; None where there is nothing"""
    question: str = ""
    vectors: np.ndarray | None = None
    """[G, D] a judge's hidden states on them, in any unit; NaN where there is no text. None: the judge has none"""

    @property
    def known(self) -> Answers:
        """What other prompts, now and later, are compared with: the first few that have something to show.

        >>> Answers(subject="s", texts=(None, "a", "b"), question="q").known
        Answers(subject='s', texts=('a', 'b'), question='', vectors=None)
        """
        shown = [i for i, text in enumerate(self.texts) if text is not None][:KEPT]
        vectors = None if self.vectors is None else self.vectors[shown]
        return replace(self, texts=tuple(self.texts[i] for i in shown), question="", vectors=vectors)


def answers_of(contests: Sequence[Contest], vectors: Sequence[np.ndarray | None]) -> list[Answers]:
    """What there is to compare of a judge's contests, with its vectors on their texts."""
    return [
        Answers(subject=c.prompt.subject, question=c.prompt.question, texts=c.texts, vectors=v)
        for c, v in zip(contests, vectors, strict=True)
    ]
