"""What answers have in common with answers to other prompts, of an iteration and of those before, as a cost. Pure.

A judge that likes an opening teaches a policy to begin every answer with it, whatever was asked. So what stands in
answers to many other prompts costs; what one of them shares by chance costs next to nothing. A level that a group's
texts have in common does no harm, since an advantage is a reward less the group's mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from softgrpo.rewards.answers import Answers
from softgrpo.rewards.common_meaning import Start, meaning_in_common
from softgrpo.rewards.common_words import words_in_common

SAMENESS = "sameness"
"""the reward part's name"""
PROMPTS = 32
"""whose answers are remembered"""
BEGINNING = 16
"""prompts by which the start is known; before, nothing is said of meaning"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """The answers to the last prompts of a run; each memory is made from the one before.

    Prompts stand in the order of the iterations, and within one in that of its prompts, whichever was answered first.

    >>> memory = Recent()
    >>> for subject in "abcdefghi":
    ...     groups = [Answers(subject=subject, texts=("Free buses for all", f"{subject} {subject}", None))]
    ...     costs, memory = memory.costs(groups), memory.after(groups)
    >>> costs[0].tolist(), len(memory.answers), Recent.of(memory.state()) == memory
    ([1.0, 0.0, 0.0], 9, True)
    """

    answers: tuple[Answers, ...] = ()
    """oldest first"""
    start: Start | None = None
    """where a judge's vectors lay at first; None before that is known"""

    def costs(self, groups: Sequence[Answers]) -> list[np.ndarray]:
        """[G] for each group of an iteration, from 0 to 1: what its texts share with the other groups and the past.

        The mean of what they share in words and in meaning; in words alone where there is no start or no vectors.
        """
        around = [*self.answers, *_known(groups)]
        words = words_in_common(groups, around)
        if self.start is None:
            return words
        meaning = meaning_in_common(groups, around, self.start)
        return [w if m is None else (w + m) / 2 for w, m in zip(words, meaning, strict=True)]

    def after(self, groups: Sequence[Answers]) -> Recent:
        """The memory after these groups."""
        answers = (*self.answers, *_known(groups))[-PROMPTS:]
        vectors = [a.vectors for a in answers if a.vectors is not None]
        begins = self.start is None and len(vectors) >= BEGINNING
        return Recent(answers=answers, start=Start.of(vectors) if begins else self.start)

    def state(self) -> dict[str, Any]:
        """As it is saved: lists, numbers and text, none rounded."""
        answers = [
            {"subject": a.subject, "texts": list(a.texts), "vectors": None if a.vectors is None else a.vectors.tolist()}
            for a in self.answers
        ]
        start = self.start and {"centre": self.start.centre.tolist(), "spread": self.start.spread.tolist()}
        return {"answers": answers, "start": start}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Recent:
        """A saved one."""
        start = state.get("start")
        return cls(
            answers=tuple(
                Answers(
                    subject=a["subject"],
                    texts=tuple(a["texts"]),
                    vectors=None if a["vectors"] is None else np.array(a["vectors"], dtype=np.float32),
                )
                for a in state.get("answers", ())
            ),
            start=start and Start(**{name: np.array(values) for name, values in start.items()}),
        )


def _known(groups: Sequence[Answers]) -> list[Answers]:
    """A group of which nobody has anything to show leaves no trace."""
    return [known for g in groups if (known := g.known).texts]
