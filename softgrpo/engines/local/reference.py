"""What the policy is held close to: its base, or a slow mixture of its own past."""

from __future__ import annotations

from typing import Any

import torch

from softgrpo.engines.local.policy_logprobs import token_logprobs
from softgrpo.grpo.tree import Packed
from softgrpo.models.local.capabilities import Capabilities


class Reference:
    """A frozen model. With an adapter-trained policy it is the same module, whose adapter is off at rest."""

    def __init__(self, module: Any, capabilities: Capabilities) -> None:
        self.module = module
        self.capabilities = capabilities

    @torch.no_grad()
    def logprobs(self, packed: Packed, *, temperature: float) -> torch.Tensor:
        """[N] log-probabilities of the packed targets."""
        return token_logprobs(self.module, self.capabilities, packed, temperature=temperature)

    def mix(self, weights: dict[str, torch.Tensor]) -> None:
        raise TypeError("this reference does not move")

    def state(self) -> dict[str, torch.Tensor]:
        """What a checkpoint must hold of it."""
        return {}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Back to a saved state."""


class MixedReference(Reference):
    """The seed's moving reference: ref <- alpha * policy + (1 - alpha) * ref, kept in float32 so that small steps
    are not rounded away."""

    def __init__(self, module: Any, capabilities: Capabilities, *, alpha: float) -> None:
        super().__init__(module, capabilities)
        self.alpha = alpha
        self.weights = {name: p.detach().float().clone() for name, p in module.named_parameters()}

    @torch.no_grad()
    def mix(self, weights: dict[str, torch.Tensor]) -> None:
        """One step towards the policy's float32 weights."""
        for name, own in self.weights.items():
            own.lerp_(weights[name], self.alpha)
        self._write()

    def state(self) -> dict[str, torch.Tensor]:
        return self.weights

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        for name, value in state.items():
            self.weights[name].copy_(value)
        self._write()

    @torch.no_grad()
    def _write(self) -> None:
        for name, p in self.module.named_parameters():
            p.copy_(self.weights[name])
