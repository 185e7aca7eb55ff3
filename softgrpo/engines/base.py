"""What an engine is: whoever samples groups and learns from them. The loop knows no more of it than this."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from softgrpo.records import Completion, Group, Message, Mismatch, Prompt, Sampling, TrainingGroup, UpdateReport


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCapabilities:
    """What an engine can do, found out before a run and shown to who wants to know."""

    samples_logprobs: bool = True
    """its completions carry the log-probabilities with which they were drawn"""
    shares_prompts: bool = True
    """a group's prompt is computed once, in sampling and in learning"""
    chunks_logits: bool = True
    """logits are never held whole"""
    resumes_exactly: bool = True
    """`restore` gives back what `save` had, bit for bit"""


class Engine(Protocol):
    """A policy that answers and learns. It is a model like any other to an evaluation (`name`, `generate`)."""

    name: str

    @property
    def capabilities(self) -> EngineCapabilities:
        """What it can do."""
        ...

    def stream(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, Group]]:
        """Groups of `sampling.n` completions as they are finished, each with the place of its prompt."""
        ...

    def generate(self, chats: Sequence[Sequence[Message]], sampling: Sampling) -> list[list[Completion]]:
        """`sampling.n` completions of each chat, in the order of the chats."""
        ...

    def logprobs(self, groups: Sequence[Group]) -> list[list[np.ndarray]]:
        """Of each completion of each group [T]: log-probability of its tokens under the present weights, at the
        temperature of the run; NaN where the loss mask is False."""
        ...

    def mismatch(self, groups: Sequence[TrainingGroup]) -> Mismatch:
        """How far the present weights lie from those that sampled, without learning."""
        ...

    def update(self, groups: Sequence[TrainingGroup], *, seed: int) -> UpdateReport:
        """Learn from whole groups: one optimizer update. `seed` is for what is random in it."""
        ...

    def save(self, folder: Path) -> None:
        """Everything that `restore` needs, into a folder that is there, beside a model that others can load."""
        ...

    def restore(self, folder: Path) -> None:
        """Go on from what was saved. Raises `UserError` where it cannot be read, or belongs to other weights."""
        ...

    def export(self, folder: Path) -> None:
        """The trained model for everybody: Hugging Face format, whole weights, the tokenizer."""
        ...
