"""From what was read of an argument to its score. Pure.

Being convincing is bounded; being on the wrong side or off the subject takes away more than most texts differ by. How
much each counts is fitted (`benchmarks/fit_embedded_judge.py`).
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from softgrpo.judges.embedded.argument_reader import DATA

BOUND = 5.0
"""being convincing never counts for more or less than this: beyond what people wrote nothing is known"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What each part counts, in log-odds before the temperature."""

    convincing: float = 0.0
    """per unit of the head of people's choices between arguments; 0 where that head is not used"""
    quality: float = 1.0
    """per log-odd of the reader's quality"""
    centre: float = 0.0
    """the sum of both that counts for nothing"""
    side: float = 4.0
    """taken off for speaking for the other side; half of it at `side_from`"""
    side_from: float = 0.0
    """log-odds for its own side"""
    side_width: float = 1.0
    """how gentle the bend is, in log-odds"""
    topic: float = 6.0
    topic_from: float = 0.0
    topic_width: float = 1.0
    """the same for being about something else"""
    people: float = 0.0
    people_from: float = 0.0
    people_width: float = 1.0
    """the same for being what a small model writes"""
    coherent: float = 0.0
    """factor on what is taken off for reading like the small model's own text"""
    guards: float = 0.0
    """factor on what the guards take off"""
    temperature: float = 1.0


def load_scale(name: str, folder: Path = DATA) -> Scale:
    """A fitted scale of the package, by name."""
    return _scales(folder / "scales.json")[name]


@functools.cache
def _scales(path: Path) -> dict[str, Scale]:
    known = {f.name for f in fields(Scale)}
    found = json.loads(path.read_text(encoding="utf-8"))
    return {name: Scale(**{k: v for k, v in values.items() if k in known}) for name, values in found.items()}


def parts_of_arguments(
    scale: Scale,
    *,
    own_side: np.ndarray,
    on_topic: np.ndarray,
    quality: np.ndarray,
    people: np.ndarray | float = 0.0,
    convincing: np.ndarray | float = 0.0,
) -> dict[str, np.ndarray]:
    """Parts [B] of the scores of arguments, from arrays [B]; `own_side`, `on_topic` and `people` are log-odds.

    >>> side, quality = np.array([3.0, -3.0]), np.array([0.5, 2.0])
    >>> parts = parts_of_arguments(Scale(), own_side=side, on_topic=np.array([3.0, 3.0]), quality=quality)
    >>> right, wrong = sum(parts.values())
    >>> bool(right > wrong)
    True
    """
    merit = scale.convincing * convincing + scale.quality * quality - scale.centre
    short_of_people = scale.people_from - people + np.zeros_like(own_side)
    return {
        "convincing": BOUND * np.tanh(merit / BOUND),
        "side": -scale.side * sigmoid((scale.side_from - own_side) / scale.side_width),
        "topic": -scale.topic * sigmoid((scale.topic_from - on_topic) / scale.topic_width),
        "people": -scale.people * sigmoid(short_of_people / scale.people_width),
    }


def sigmoid(x: np.ndarray) -> np.ndarray:
    """[B] 1 / (1 + exp(-x)), without overflow.

    >>> sigmoid(np.array([0.0, -1000.0])).tolist()
    [0.5, 0.0]
    """
    return np.exp(-np.logaddexp(0, -x))
