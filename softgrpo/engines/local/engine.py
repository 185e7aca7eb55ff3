"""The engine of one machine: a `transformers` policy, its learner, and what it is held close to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from softgrpo.engines.base import EngineCapabilities
from softgrpo.engines.local.learner import Learner
from softgrpo.engines.local.policy import Policy
from softgrpo.errors import UserError
from softgrpo.models.faults import let_through
from softgrpo.records import Completion, Group, Message, Mismatch, Prompt, Sampling, TrainingGroup, UpdateReport

STATE = "engine_state.pt"
UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, UnpicklingError, AttributeError, KeyError, TypeError)
"""what is raised on the way from damaged or foreign bytes to a state"""


class LocalEngine:
    """See `Engine`. Every `mix_every` updates the policy is mixed into the reference, if that is one that moves."""

    def __init__(self, policy: Policy, learner: Learner, *, mix_every: int | None = None) -> None:
        self.policy, self.learner = policy, learner
        self.name = policy.name
        self.mix_every = mix_every

    @property
    def capabilities(self) -> EngineCapabilities:
        """What the model allows."""
        found = self.policy.capabilities
        return EngineCapabilities(shares_prompts=found.trees, chunks_logits=found.plain_head)

    def stream(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, Group]]:
        """Each group as its last completion has ended; tokens and log-probabilities as they were drawn."""
        for place, completions in self.policy.stream([p.messages for p in prompts], sampling):
            ids = self.policy.encode_chat(prompts[place].messages, sampling.prefill)
            yield place, Group(prompt=prompts[place], prompt_ids=tuple(ids), completions=tuple(completions))

    def generate(self, chats: Sequence[Sequence[Message]], sampling: Sampling) -> list[list[Completion]]:
        """What the policy says."""
        return self.policy.generate(chats, sampling)

    def logprobs(self, groups: Sequence[Group]) -> list[list[np.ndarray]]:
        """One forward pass over each group."""
        return [self.learner.logprobs(group) for group in groups]

    def mismatch(self, groups: Sequence[TrainingGroup]) -> Mismatch:
        """From one forward pass over the first completions."""
        return self.learner.mismatch(groups)

    def update(self, groups: Sequence[TrainingGroup], *, seed: int) -> UpdateReport:
        """One update, and after some of them a mixing of the reference."""
        torch.manual_seed(seed)
        report = self.learner.update(groups)
        if self.learner.reference and self.mix_every and self.learner.updates % self.mix_every == 0:
            self.learner.reference.mix(self.learner.masters)
        return report

    def save(self, folder: Path) -> None:
        """The model or its adapter, and beside it the optimizer's float32 weights and moments, and the reference."""
        self.policy.save(folder)
        torch.save(self.learner.state(), folder / STATE)

    def restore(self, folder: Path) -> None:
        """Put the saved state back, bit for bit."""
        try:
            state: dict[str, Any] = torch.load(folder / STATE, map_location="cpu", weights_only=True)
            is_ours = self.learner.fits(state)
        except UNREADABLE as error:
            let_through(error)
            raise unreadable(folder, error) from error
        if not is_ours:
            raise UserError(f"checkpoint {folder} holds other weights than this configuration trains")
        self.learner.restore(state)

    def export(self, folder: Path) -> None:
        """The weights, with an adapter added into them."""
        self.policy.save_merged(folder)


def unreadable(checkpoint: Path, error: Exception) -> UserError:
    """What to do about a checkpoint that is damaged."""
    return UserError(
        f"checkpoint {checkpoint} cannot be read ({type(error).__name__}); "
        "remove that folder to resume from the one before"
    )
