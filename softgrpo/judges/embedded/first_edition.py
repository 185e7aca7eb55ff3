"""The judge's first edition, `embedded:first`: it sees neither the side nor, in people's texts, the topic.

It is kept for the experiment that shows how a policy takes it in, and what an alarm says of that
(`benchmarks/judge_hacking.py`). Its heads and guards live on in the second edition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from softgrpo.judges.embedded import guards
from softgrpo.judges.embedded.aboutness import Aboutness, is_argument
from softgrpo.judges.embedded.convincing import Head, Strengths, load_head, read_for
from softgrpo.judges.embedded.other_tasks import parts_of_other
from softgrpo.judges.embedded.total import total
from softgrpo.judges.text_scores import Item

CONVINCING_BOUND = 5.0
"""the head's score never leaves +- this much: beyond what people wrote it knows nothing"""
ABOUT_ENOUGH = 0.8
"""aboutness from which a text counts as being about its subject"""
ABOUT_SLOPE = 3.5
"""log-odds taken off per unit that is missing"""
ABOUT_SOFTNESS = 0.3
"""width of the bend, so that the score has no edge"""
CREDIT_FROM = 0.9
CREDIT_SOFTNESS = 0.3
"""being convincing earns nothing on another subject: half of it at this aboutness, and soon none below"""
COHERENT_ENOUGH = -1.2
"""standard deviations: a text that is this much like people's has nothing taken off"""
COHERENT_SLOPE = 3.0
"""log-odds taken off per standard deviation that is missing"""
COHERENT_RANGE = 3.0
"""standard deviations after which no more is taken off"""


class FirstEditionScorer:
    """All the parts of the first edition, in two forward passes per text."""

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
    if not is_argument(item):
        return parts_of_other(item, about=about, fluency=measured.fluency)
    parts = guards_of_argument(item, measured.fluency, measured.ending, strengths.guards)
    shortfall = (ABOUT_ENOUGH - about) / ABOUT_SOFTNESS
    parts["about"] = -strengths.about * ABOUT_SLOPE * ABOUT_SOFTNESS * float(np.logaddexp(0.0, shortfall))
    bounded = CONVINCING_BOUND * math.tanh(measured.convincing / CONVINCING_BOUND)
    on_subject = 1 / (1 + math.exp((CREDIT_FROM - about) / CREDIT_SOFTNESS))
    parts["convincing"] = bounded * on_subject if bounded > 0 else bounded
    parts["coherent"] = strengths.coherent * of_coherence(measured.coherent)
    return parts


def guards_of_argument(item: Item, fluency: float, ending: float, strength: float) -> dict[str, float]:
    """What the guards take off an argument's score, by name; `strength` is a factor on all of them."""
    found = guards.surface(item.text, item.prompt.subject)
    taken = guards.penalties(found) | {
        "fluency": guards.of_fluency(fluency, found.n_words),
        "fragments": guards.of_fragments(found, ending),
    }
    return {name: -strength * value for name, value in taken.items()}


def of_coherence(coherent: float) -> float:
    """What is taken off a text that reads like the small model's own, at a strength of 1."""
    return -COHERENT_SLOPE * min(COHERENT_RANGE, max(0.0, COHERENT_ENOUGH - coherent))
