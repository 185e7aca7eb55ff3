"""What a text shares with answers to other prompts in meaning: directions of a judge's hidden states. Pure.

A vector carries its subject, which is nobody's fault and must go: the mean of the answers to the prompt is taken off.
With it goes what the answers to all prompts have come to share. Left so, the few texts that do not share it would be
those that look alike, all lacking the same, and a policy that has given in would be held there. So it is put back: how
far the mean over prompts has moved since the start of the run. A centre that moves with the policy, such as the mean of
all that is remembered, would hide it again. The mean also moves because other prompts have other subjects: where these
make up nearly all of a judge's vectors, little else is to be seen.

Shapes: `G` texts of a group, `D` numbers of a vector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from softgrpo.rewards.answers import FEW, MANY, Answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where vectors lay before the policy had learned much."""

    centre: np.ndarray
    """[D] mean over prompts"""
    spread: np.ndarray
    """[D] how far answers lay from the mean of their prompt's, root mean square: the unit of each number"""

    @classmethod
    def of(cls, vectors: Sequence[np.ndarray]) -> Start:
        """From [texts, D] of each prompt.

        >>> Start.of([np.array([[1.0, 0.0], [3.0, 0.0]]), np.array([[5.0, 1.0], [7.0, 1.0]])])
        Start(centre=array([4. , 0.5]), spread=array([1., 0.]))
        """
        means = [v.mean(axis=0, dtype=float) for v in vectors]
        apart = np.concatenate([v - mean for v, mean in zip(vectors, means, strict=True)])
        return cls(centre=np.mean(means, axis=0), spread=np.sqrt(np.mean(apart**2, axis=0)))

    def seen_from(self, vectors: np.ndarray) -> np.ndarray:
        """[texts, D] from the centre, in units of the spread; 0 where nothing differed but by rounding."""
        away = vectors - self.centre
        return np.divide(away, self.spread, out=np.zeros_like(away), where=self.spread > 1e-6 * self.spread.max())


def meaning_in_common(groups: Sequence[Answers], around: Sequence[Answers], start: Start) -> list[np.ndarray | None]:
    """[G] for each group: the mean of a text's greatest cosines with those `around` on other subjects, `MANY` of them.

    From 0 to 1, a negative cosine counting as 0, and 0 without a text. None where a group has no vectors.
    """
    others = [(a.subject, start.seen_from(a.vectors)) for a in around if a.vectors is not None]
    shift = np.mean([v.mean(axis=0) for _, v in others], axis=0) if others else np.zeros(1)
    there = [(subject, _directions(v, shift)) for subject, v in others]
    out: list[np.ndarray | None] = []
    for group in groups:
        if group.vectors is None:
            out.append(None)
            continue
        theirs = [directions for subject, directions in there if subject != group.subject]
        shown = [i for i, text in enumerate(group.texts) if text is not None]
        cost = np.zeros(len(group.texts))
        if theirs and shown:
            near = _directions(start.seen_from(group.vectors[shown]), shift) @ np.concatenate(theirs).T
            n = math.ceil(MANY * near.shape[1] * max(1.0, FEW / len(theirs)))
            cost[shown] = np.sort(np.clip(near, 0.0, 1.0), axis=1)[:, -n:].sum(axis=1) / n
        out.append(cost)
    return out


def _directions(vectors: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """[texts, D] of length 1: how each differs from its prompt's answers, and all of them from the start; 0 if not."""
    apart = vectors - vectors.mean(axis=0) + shift
    length = np.linalg.norm(apart, axis=1, keepdims=True)
    return np.divide(apart, length, out=np.zeros_like(apart), where=length > 0)
