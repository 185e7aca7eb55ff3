"""The embedded judge: a score per text from the packaged small model, without a key or a network.

Three parts are added up in log-odds: what people find convincing (a head fitted to their judgements), whether the text
is about its subject (does the subject follow from it?), and guards against degenerate text. The last two only take away:
a text cannot buy itself more than "about the subject" or "not degenerate", so neither is worth exploiting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from softgrpo.errors import UserError
from softgrpo.judging import guards
from softgrpo.judging.convincing import QUESTION, Head, load_head
from softgrpo.judging.reading import continuation_logprobs, read
from softgrpo.judging.scoring import Item, ScoringJudge

CONVINCING_BOUND = 5.0
"""the head's score never leaves +- this much: beyond what people wrote it knows nothing"""
ABOUT_ENOUGH = 0.5
"""nats per token by which the subject must become likelier for a text to count as being about it"""
ABOUT_SLOPE = 8.0
"""log-odds taken off per nat that is missing"""
ABOUT_SOFTNESS = 0.25
COHERENT_ENOUGH = 0.0
"""standard deviations: a text that is this much like people's has nothing taken off"""
COHERENT_SLOPE = 2.0
COHERENT_RANGE = 3.0
USED_WEIGHT = 6.0
"""log-odds between a recipe that uses the whole basket and one that uses nothing of it"""
LIKELIHOOD_TEMPERATURE = 0.5
PARTS = ("", "likelihood", "convincing")


class LikelihoodScorer:
    """Mean log-probability of the prompt's subject after the text and the prompt's cue: is it about the subject?

    Alone it is won by repeating the subject; it is here for experiments that show just that.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def score(self, items: Sequence[Item]) -> np.ndarray:
        logprobs = continuation_logprobs(
            self.model, [_with_cue(item.text, item) for item in items], [f" {item.prompt.subject}" for item in items]
        )
        return np.array([values.mean() if values.size else np.nan for values in logprobs])


class ConvincingScorer:
    """The head alone: which argument would people find more convincing, whatever it is about?"""

    def __init__(self, model: Any, head: Head | None = None) -> None:
        self.model = model
        self.head = head or load_head()

    def score(self, items: Sequence[Item]) -> np.ndarray:
        return self.head(read_for(self.model, self.head, [item.text for item in items]).features)


class EmbeddedScorer:
    """All the parts together, in two forward passes per text."""

    def __init__(self, model: Any, head: Head | None = None) -> None:
        self.model = model
        self.head = head or load_head()
        self.aboutness = Aboutness(model)

    def score(self, items: Sequence[Item]) -> np.ndarray:
        parts = self.parts(items)
        return np.array([sum(part.values()) for part in parts])

    def parts(self, items: Sequence[Item]) -> list[dict[str, float]]:
        """What each part adds to (or takes off) each text's score, by name, in log-odds before the temperature."""
        reading = read_for(self.model, self.head, [item.text for item in items])
        convincing, coherent = self.head(reading.features), self.head.coherent(reading.features)
        measured = zip(items, convincing, coherent, self.aboutness(items), reading.fluency, strict=True)
        return [combine(item, float(c), float(k), float(a), float(f)) for item, c, k, a, f in measured]


class Aboutness:
    """Nats per token by which texts make their subjects likelier, restatements of a motion not counted."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._alone: dict[tuple[str, str], np.ndarray] = {}

    def __call__(self, items: Sequence[Item]) -> np.ndarray:
        texts = [guards.without_copies(i.text, i.prompt.subject) if is_argument(i) else i.text for i in items]
        subjects = [f" {item.prompt.subject}" for item in items]
        after = continuation_logprobs(self.model, [_with_cue(t, i) for t, i in zip(texts, items, strict=True)], subjects)
        if missing := sorted({(i.prompt.cue, i.prompt.subject) for i in items} - self._alone.keys()):
            found = continuation_logprobs(
                self.model, [cue for cue, _ in missing], [f" {subject}" for _, subject in missing]
            )
            self._alone.update(zip(missing, found, strict=True))
        alone = [self._alone[item.prompt.cue, item.prompt.subject] for item in items]
        return np.array([gain(a, b) for a, b in zip(after, alone, strict=True)])


def gain(after: np.ndarray, alone: np.ndarray) -> float:
    """Mean gain per token, no token counting for more than three nats or less than minus one.

    The bound keeps a single copied word from carrying a text.

    >>> gain(np.array([-1.0, -9.0]), np.array([-6.0, -7.0]))
    1.0
    """
    return float(np.clip(after - alone, -1.0, 3.0).mean()) if after.size else 0.0


def combine(item: Item, convincing: float, coherent: float, about: float, fluency: float) -> dict[str, float]:
    """The parts of one text's score from what was measured of it."""
    argument = is_argument(item)
    found = guards.surface(item.text, item.prompt.subject if argument else "")
    parts = {name: -value for name, value in guards.penalties(found, is_argument=argument).items()}
    parts["fluency"] = -guards.of_fluency(fluency, found.n_words)
    shortfall = (ABOUT_ENOUGH - about) / ABOUT_SOFTNESS
    parts["about"] = -ABOUT_SLOPE * ABOUT_SOFTNESS * float(np.logaddexp(0.0, shortfall))
    if argument:
        parts["convincing"] = CONVINCING_BOUND * math.tanh(convincing / CONVINCING_BOUND)
        parts["coherent"] = -COHERENT_SLOPE * min(COHERENT_RANGE, max(0.0, COHERENT_ENOUGH - coherent))
    elif ingredients := item.prompt.meta.get("ingredients"):
        parts["used"] = USED_WEIGHT * (share_used(item.text, ingredients) - 1)
    return parts


def share_used(text: str, ingredients: Sequence[str]) -> float:
    """The share of the basket that a recipe names, each ingredient by the last of its content words.

    >>> share_used("Fry the tomatoes in oil.", ["ripe tomato", "dark chocolate"])
    0.5
    """
    named = set(guards.content_stems(text))
    wanted = [stems[-1] for stems in map(guards.content_stems, ingredients) if stems]
    return sum(w in named for w in wanted) / max(1, len(wanted))


def is_argument(item: Item) -> bool:
    """Whether the text argues for a side of a motion, which is what the head and the copying guard know about."""
    return "motion" in item.prompt.meta


def read_for(model: Any, head: Head, texts: Sequence[str]) -> Any:
    """One forward pass with the head's question and layers."""
    return read(model, texts, question=QUESTION, mean_layers=head.mean_layers, last_layers=head.last_layers)


def embedded_judge(model: Any, part: str = "") -> ScoringJudge:
    """The judge named `embedded` or `embedded:PART`; `model` is the embedded `HuggingFaceModel`."""
    if part == "":
        return ScoringJudge("embedded", EmbeddedScorer(model), temperature=load_head().full_temperature)
    if part == "likelihood":
        return ScoringJudge("embedded:likelihood", LikelihoodScorer(model), temperature=LIKELIHOOD_TEMPERATURE)
    if part == "convincing":
        return ScoringJudge("embedded:convincing", ConvincingScorer(model), temperature=load_head().temperature)
    raise UserError(f"unknown part {part!r} of the embedded judge; choose from {', '.join(PARTS[1:])}, or none for all")


def _with_cue(text: str, item: Item) -> str:
    return f"{text}\n\n{item.prompt.cue}"
