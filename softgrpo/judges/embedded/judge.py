"""The embedded judge: a score per text from the packaged small model, without a key or a network.

Three parts are added up in log-odds: what people find convincing (a head fitted to their judgements), whether the
text is about its subject (does the subject follow from it?), and guards against degenerate text. The last two only
take away: a text cannot buy itself more than "about the subject" or "not degenerate".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from softgrpo.errors import UserError
from softgrpo.judges.embedded import PARTS, guards
from softgrpo.judges.embedded.convincing import QUESTION, Head, Strengths, load_head
from softgrpo.judges.embedded.hidden_states import follow, read
from softgrpo.judges.embedded.stems import content_stems
from softgrpo.judges.text_scores import Item, ScoringJudge
from softgrpo.records import Ledger

CONVINCING_BOUND = 5.0
"""the head's score never leaves +- this much: beyond what people wrote it knows nothing"""
ABOUT_ENOUGH = 0.8
"""aboutness (below) from which a text counts as being about its subject"""
ABOUT_SLOPE = 3.5
"""log-odds taken off per unit that is missing"""
ABOUT_SOFTNESS = 0.3
"""width of the bend, so that the score has no edge"""
OTHER_ABOUT_SLOPE = 1.5
OTHER_ABOUT_BOUND = 3.0
"""jokes and recipes, of which the head knows nothing, are told apart by their aboutness, up to a bound"""
CREDIT_FROM = 0.9
CREDIT_SOFTNESS = 0.3
"""being convincing earns nothing on another subject: half of it at this aboutness, and soon none below"""
TOPIC_LAYERS = (8, 24)
NEARNESS_WEIGHT = 5.0
"""nats that a cosine of one is worth, at each of these layers"""
COHERENT_ENOUGH = -1.2
"""standard deviations: a text that is this much like people's has nothing taken off"""
COHERENT_SLOPE = 3.0
"""log-odds taken off per standard deviation that is missing"""
COHERENT_RANGE = 3.0
"""standard deviations after which no more is taken off"""
USED_WEIGHT = 6.0
"""log-odds between a recipe that uses the whole basket and one that uses nothing of it"""
TAIL = 2.0
"""log-odds below zero from which a sum is drawn in"""
LIKELIHOOD_TEMPERATURE = 0.5


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


class ConvincingScorer:
    """The head alone: which argument would people find more convincing, whatever it is about?"""

    def __init__(self, model: Any, head: Head | None = None) -> None:
        self.model = model
        self.head = head or load_head()
        self.temperature = self.head.temperature

    def score(self, items: Sequence[Item]) -> np.ndarray:
        return self.head(read_for(self.model, self.head, [item.text for item in items]).features)


class EmbeddedScorer:
    """All the parts together, in two forward passes per text."""

    def __init__(self, model: Any, head: Head | None = None) -> None:
        self.model = model
        self.head = head or load_head()
        self.temperature = self.head.full_temperature
        self.aboutness = Aboutness(model, self.head)

    def score(self, items: Sequence[Item]) -> np.ndarray:
        return np.array([total(parts) for parts in self.parts(items)])

    def parts(self, items: Sequence[Item]) -> list[dict[str, float]]:
        """What each part adds to (or takes off) each text's score, by name, in log-odds before the temperature."""
        reading = read_for(self.model, self.head, [item.text for item in items])
        convincing, coherent = self.head(reading.features), self.head.coherent(reading.features)
        columns = (convincing, coherent, self.aboutness(items), reading.fluency, reading.endings)
        return [
            combine(item, Measured(*map(float, row)), self.head.strengths)
            for item, *row in zip(items, *columns, strict=True)
        ]


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


@dataclass(frozen=True, slots=True)
class Measured:
    """What the small model says of one text."""

    convincing: float
    coherent: float
    about: float
    fluency: float
    ending: float
    """how foreseeable the sentences' ends are"""


def combine(item: Item, measured: Measured, strengths: Strengths) -> dict[str, float]:
    """The parts of one text's score from what was measured of it."""
    about = measured.about
    argument = is_argument(item)
    found = guards.surface(item.text, item.prompt.subject if argument else "")
    parts = {name: -value for name, value in guards.penalties(found, is_argument=argument).items()}
    parts["fluency"] = -guards.of_fluency(measured.fluency, found.n_words)
    if argument:
        parts["fragments"] = -guards.of_fragments(found, measured.ending)
        parts = {name: strengths.guards * value for name, value in parts.items()}
        shortfall = (ABOUT_ENOUGH - about) / ABOUT_SOFTNESS
        parts["about"] = -strengths.about * ABOUT_SLOPE * ABOUT_SOFTNESS * float(np.logaddexp(0.0, shortfall))
        bounded = CONVINCING_BOUND * math.tanh(measured.convincing / CONVINCING_BOUND)
        on_subject = 1 / (1 + math.exp((CREDIT_FROM - about) / CREDIT_SOFTNESS))
        parts["convincing"] = bounded * on_subject if bounded > 0 else bounded
        missing = min(COHERENT_RANGE, max(0.0, COHERENT_ENOUGH - measured.coherent))
        parts["coherent"] = -strengths.coherent * COHERENT_SLOPE * missing
        return parts
    parts["about"] = OTHER_ABOUT_SLOPE * min(about, OTHER_ABOUT_BOUND)
    if isinstance(ingredients := item.prompt.meta.get("ingredients"), list):
        parts["used"] = USED_WEIGHT * (share_used(item.text, ingredients) - 1)
    return parts


def total(parts: Mapping[str, float]) -> float:
    """The sum of the parts, bad sums drawn together: of two hopeless texts neither is beaten for certain.

    It changes no order, and makes the probabilities agree with people's.

    >>> total({"convincing": 1.5, "about": -0.5}), round(total({"repeated": -10.0}), 2)
    (1.0, -3.58)
    """
    value = sum(parts.values())
    return value if value > 0 else -TAIL * math.log1p(-value / TAIL)


def share_used(text: str, ingredients: Sequence[str]) -> float:
    """The share of the basket that a recipe names, each ingredient by the last of its content words.

    >>> share_used("Fry the tomatoes in oil.", ["ripe tomato", "dark chocolate"])
    0.5
    """
    named = set(content_stems(text))
    wanted = [stems[-1] for stems in map(content_stems, ingredients) if stems]
    return sum(w in named for w in wanted) / max(1, len(wanted))


def is_argument(item: Item) -> bool:
    """Whether the text argues for a side of a motion, which is what the head and the copying guard know about."""
    return "motion" in item.prompt.meta


def read_for(model: Any, head: Head, texts: Sequence[str]) -> Any:
    """One forward pass with the head's question and layers."""
    return read(model, texts, question=QUESTION, mean_layers=head.mean_layers, last_layers=head.last_layers)


class EmbeddedJudge(ScoringJudge):
    """The judge named `embedded` or `embedded:PART`; `model` is the embedded `HuggingFaceModel`.

    It scores each text once and without a call, so that votes, a ledger and a secret are of no use to it.
    """

    def __init__(
        self, name: str, model: Any, *, votes: int = 1, ledger: Ledger | None = None, secret: bytes = b""
    ) -> None:
        _, _, part = name.partition(":")
        if part not in PARTS:
            known = ", ".join(part for part in PARTS if part)
            raise UserError(f"unknown part {part!r} of the embedded judge; choose from {known}, or none for all")
        scorer = PARTS[part](model)
        super().__init__(f"embedded:{part}" if part else "embedded", scorer, temperature=scorer.temperature)


def _cue(item: Item) -> str:
    return f"\n\n{item.prompt.cue}"
