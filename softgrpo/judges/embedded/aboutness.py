"""How much a text is about its subject, by the frozen small model: what follows from it, and where its states lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from softgrpo.judges.embedded import guards
from softgrpo.judges.embedded.convincing import Head
from softgrpo.judges.embedded.hidden_states import follow
from softgrpo.judges.embedded.stems import content_stems
from softgrpo.judges.text_scores import Item

TOPIC_LAYERS = (8, 24)
NEARNESS_WEIGHT = 5.0
"""nats that a cosine of one is worth, at each of these layers"""
LIKELIHOOD_TEMPERATURE = 0.5


def is_argument(item: Item) -> bool:
    """Whether the text argues for a side of a motion, which is what heads and readers know about."""
    return "motion" in item.prompt.meta


class LikelihoodScorer:
    """Mean log-probability of the prompt's subject after the text and the prompt's cue: is it about the subject?

    Alone it is won by repeating the subject; it is here for experiments that show just that.
    """

    temperature = LIKELIHOOD_TEMPERATURE

    def __init__(self, model: Any) -> None:
        self.model = model

    def score(self, items: Sequence[Item]) -> np.ndarray:
        texts, cues = [i.text for i in items], [_cue(i) for i in items]
        logprobs = follow(self.model, texts, cues, [f" {i.prompt.subject}" for i in items]).logprobs
        return np.array([values.mean() if values.size else np.nan for values in logprobs])


class Aboutness:
    """How much a text is about its subject, restatements of a motion not counted.

    Two signs are added: the nats per token by which the text makes the subject's content words likelier, and how
    near the means of its hidden states are to the subject's.
    """

    def __init__(self, model: Any, head: Head) -> None:
        self.model = model
        self.head = head
        self._alone: dict[tuple[str, str], np.ndarray] = {}
        self._direction: dict[str, np.ndarray] = {}
        self._content: dict[str, np.ndarray] = {}

    def __call__(self, items: Sequence[Item]) -> np.ndarray:
        if not items:
            return np.empty(0)
        self._prepare(items)
        texts = [guards.without_copies(i.text, i.prompt.subject) if is_argument(i) else i.text for i in items]
        subjects = [f" {i.prompt.subject}" for i in items]
        found = follow(self.model, texts, [_cue(i) for i in items], subjects, layers=TOPIC_LAYERS)
        gains = [
            gain(after - self._alone[_cue(item), item.prompt.subject], self._content[item.prompt.subject])
            for item, after in zip(items, found.logprobs, strict=True)
        ]
        near = [
            float((self.head.directions(means) * self._direction[item.prompt.subject]).sum())
            for item, means in zip(items, found.means, strict=True)
        ]
        return np.array(gains) + NEARNESS_WEIGHT * np.array(near)

    def _prepare(self, items: Sequence[Item]) -> None:
        """What depends on the prompt alone is computed once per prompt."""
        if alone := sorted({(_cue(i), i.prompt.subject) for i in items} - self._alone.keys()):
            cues, subjects = zip(*alone, strict=True)
            found = follow(self.model, [""] * len(alone), cues, [f" {s}" for s in subjects])
            self._alone.update(zip(alone, found.logprobs, strict=True))
        if new := sorted({i.prompt.subject for i in items} - self._direction.keys()):
            means = follow(self.model, new, [""] * len(new), [""] * len(new), layers=TOPIC_LAYERS).means
            for subject, mean in zip(new, means, strict=True):
                self._direction[subject] = self.head.directions(mean, of_subject=True)
                self._content[subject] = content_tokens(self.model.tokenizer, subject)


def content_tokens(tokenizer: Any, subject: str) -> np.ndarray:
    """[tokens of " subject"] whether each belongs to a word that carries matter; all do if none does."""
    pieces = [tokenizer.decode([i]) for i in tokenizer.encode(f" {subject}", add_special_tokens=False)]
    number = np.cumsum([piece.startswith(" ") for piece in pieces]) - 1
    carries = [bool(content_stems(word)) for word in subject.split()]
    mask = np.array([0 <= n < len(carries) and carries[n] for n in number], dtype=bool)
    return mask if mask.any() else np.ones(len(pieces), dtype=bool)


def gain(gains: np.ndarray, content: np.ndarray) -> float:
    """Mean gain per content token, none counting for more than five nats or less than minus one.

    >>> gain(np.array([5.0, 0.5, -2.0]), np.array([True, False, True]))
    2.0
    """
    return float(np.clip(gains[content], -1.0, 5.0).mean()) if content.any() else 0.0


def _cue(item: Item) -> str:
    return f"\n\n{item.prompt.cue}"
