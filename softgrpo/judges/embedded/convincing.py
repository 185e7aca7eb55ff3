"""What people find convincing: a linear head on the frozen small model's hidden states, as a small file.

The head was fitted to pairs of arguments of which people said which one convinced them more (UKPConvArg1Strict,
Habernal and Gurevych, ACL 2016, CC-BY 4.0). `benchmarks/train_embedded_judge.py` makes the file.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softgrpo.judges.embedded.hidden_states import TextFeatures, read
from softgrpo.judges.text_scores import Item

DATA = Path(__file__).parent / "data"
ARRAYS = ("centre", "weights", "coherent_centre", "coherent_weights", "topic_centre", "topic_scale", "subject_centre")
QUESTION = "\n\nIs this argument convincing? Answer:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Strengths:
    """Factors on what the parts may take off a score; fitted with the head, 1 is what the guards were written with."""

    about: float = 1.0
    """for being about something else"""
    coherent: float = 1.0
    """for reading like the small model's own text"""
    guards: float = 1.0
    """for what the guards find"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """score = (features - centre) . weights; differences of scores over the temperature are log-odds."""

    mean_layers: tuple[int, ...]
    """layers whose states are averaged over the text; 0 is the embedding"""
    last_layers: tuple[int, ...]
    """layers whose state at the end of the question is taken"""
    centre: np.ndarray
    """[D] mean of the features over the arguments it was fitted to"""
    weights: np.ndarray
    """[D] standardisation, principal components and logistic regression folded into one vector"""
    coherent_centre: np.ndarray
    """[D] the same for the head below"""
    coherent_weights: np.ndarray
    """[D] tells what people write from what the small model writes; in standard deviations over people's texts"""
    topic_centre: np.ndarray
    """[layers, H] mean over people's texts of their mean states at the layers that show what a text is about"""
    topic_scale: np.ndarray
    """[layers, H] standard deviation of the same"""
    subject_centre: np.ndarray
    """[layers, H] mean over motions"""
    temperature: float
    """of the head alone"""
    full_temperature: float
    """of the whole judge"""
    strengths: Strengths = Strengths()
    """of the whole judge's other parts"""

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """[B] how convincing, from features [B, D]."""
        return (features - self.centre) @ self.weights

    def coherent(self, features: np.ndarray) -> np.ndarray:
        """[B] how much like a person's text rather than a small model's."""
        return (features - self.coherent_centre) @ self.coherent_weights

    def directions(self, means: np.ndarray, *, of_subject: bool = False) -> np.ndarray:
        """[layers, H] unit vectors of what a text or a subject is about, from its mean states; 0 if it is empty."""
        if not means.any():
            return means
        v = (means - (self.subject_centre if of_subject else self.topic_centre)) / self.topic_scale
        return v / np.linalg.norm(v, axis=-1, keepdims=True)

    def save(self, path: Path, notes: dict[str, str]) -> None:
        """Write the file; `notes` say where the head comes from."""
        from safetensors.numpy import save_file

        plain = {k: getattr(self, k) for k in ("mean_layers", "last_layers", "temperature", "full_temperature")}
        plain["strengths"] = asdict(self.strengths)
        arrays = {k: getattr(self, k).astype(np.float32) for k in ARRAYS}
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(arrays, path, metadata={"head": json.dumps(plain), **notes})
        path.chmod(0o644)


@functools.cache
def load_head(path: Path = DATA / "convincing.safetensors") -> Head:
    """The head that comes with the package."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        plain = json.loads(file.metadata()["head"])
        arrays = {key: file.get_tensor(key).astype(np.float64) for key in file.keys()}  # noqa: SIM118
    mean_layers, last_layers = tuple(plain.pop("mean_layers")), tuple(plain.pop("last_layers"))
    strengths = Strengths(**plain.pop("strengths", {}))
    return Head(mean_layers=mean_layers, last_layers=last_layers, strengths=strengths, **plain, **arrays)


def read_for(model: Any, head: Head, texts: Sequence[str]) -> TextFeatures:
    """One forward pass with the head's question and layers."""
    return read(model, texts, question=QUESTION, mean_layers=head.mean_layers, last_layers=head.last_layers)


class ConvincingScorer:
    """The head alone: which argument would people find more convincing, whatever it is about?"""

    def __init__(self, model: Any, head: Head | None = None) -> None:
        self.model = model
        self.head = head or load_head()
        self.temperature = self.head.temperature

    def score(self, items: Sequence[Item]) -> np.ndarray:
        return self.head(read_for(self.model, self.head, [item.text for item in items]).features)
