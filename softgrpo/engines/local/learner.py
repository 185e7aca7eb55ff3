"""From training groups to new weights. The model computes in its own precision; gradients, moments and weights of the
optimizer are float32."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from softgrpo.engines.local.dropout import only_the_adapters
from softgrpo.engines.local.micro_batches import MicroBatch, micro_batches
from softgrpo.engines.local.policy import Policy
from softgrpo.engines.local.policy_logprobs import backward, token_logprobs
from softgrpo.engines.local.reference import Reference
from softgrpo.grpo.loss import LossTerms, check_loss, policy_loss
from softgrpo.grpo.training_group import Row, RowsByPrompt, n_trained_tokens, trained, unweighted, weighted
from softgrpo.records import Group, Mismatch, TrainingGroup, UpdateReport


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerSettings:
    """How the policy learns; the names are those of the flags."""

    learning_rate: float = 5e-6
    adam_beta1: float = 0.9
    adam_beta2: float = 0.99
    weight_decay: float = 0.1
    max_grad_norm: float = 0.1
    n_updates: int = 250
    warmup_percent: float = 0.18
    loss: str = "grpo"
    clip_low: float = 0.2
    clip_high: float = 0.2
    clip_dual: float = 3.0
    kl_weight_beta: float = 0.04
    num_inner_epochs: int = 1
    micro_batch_tokens: int = 4096
    max_completion_length: int = 786
    temperature: float = 0.9
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        check_loss(self.loss)

    def rate(self, update: int) -> float:
        """Learning rate of the update with this number (from 0): a linear warm-up, then constant."""
        warm = math.ceil(self.warmup_percent * self.n_updates)
        return self.learning_rate * min(1.0, (update + 1) / max(warm, 1))


MEASURED_TOKENS = 512
"""that one forward pass reads, at most, where there is only the mismatch to be known"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures(Mismatch):
    """Of one pass over the groups; means over the tokens in the loss."""

    loss: float
    kl: float
    clip_share: float


class Learner:
    """Holds the optimizer; one `update` is one pass over all groups (or `num_inner_epochs` of them)."""

    def __init__(self, policy: Policy, reference: Reference | None, settings: LearnerSettings) -> None:
        self.policy = policy
        self.reference = reference
        self.settings = settings
        self.updates = 0
        self.params = policy.trainable()
        self.masters = {
            name: p if p.dtype == torch.float32 else p.detach().float().requires_grad_()
            for name, p in self.params.items()
        }
        decayed = [m for m in self.masters.values() if m.dim() >= 2]
        plain = [m for m in self.masters.values() if m.dim() < 2]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=settings.learning_rate,
            betas=(settings.adam_beta1, settings.adam_beta2),
            fused=True,
        )
        self.capabilities = policy.capabilities
        if settings.gradient_checkpointing:
            _checkpoint_activations(policy.module)

    def update(self, groups: Sequence[TrainingGroup]) -> UpdateReport:
        """One optimizer step per inner epoch. A non-finite gradient leaves the weights."""
        first = report = self._epoch(groups)
        for _ in range(self.settings.num_inner_epochs - 1):
            if report.skipped:
                break
            report = self._epoch(groups)
        self.updates += 1
        return replace(report, mismatch_abs=first.mismatch_abs, mismatch_k3=first.mismatch_k3)

    def gradients(self, groups: Sequence[TrainingGroup]) -> Figures:
        """Add the update's gradient into the float32 masters."""
        sums, settings = np.zeros(6), self.settings
        rows = weighted(groups, settings.loss, max_completion_length=settings.max_completion_length)
        with only_the_adapters(self.policy.module):
            for batch in self._micro_batches(rows):
                sums += self._micro_batch(batch)
        loss, *others = sums.tolist()
        n_tokens = max(n_trained_tokens(trained(groups)), 1)
        names = ("kl", "clip_share", "bounded_share", "mismatch_abs", "mismatch_k3")
        return Figures(loss=loss, **{name: x / n_tokens for name, x in zip(names, others, strict=True)})

    @torch.no_grad()
    def mismatch(self, groups: Sequence[TrainingGroup]) -> Mismatch:
        """How the learner sees these groups' first completions, whether or not they teach anything.

        One forward pass over what a micro-batch holds, and no more than `MEASURED_TOKENS` of it: where there is no
        update this is all that is computed after judging, a small part of what sampling takes. Nothing is drawn.
        """
        for batch in self._micro_batches(unweighted(groups), MEASURED_TOKENS):
            with self.policy.active():
                terms = self._terms(batch, None)
            n = len(batch.packed.target)
            return Mismatch(
                mismatch_abs=terms.mismatch_abs.item() / n,
                mismatch_k3=terms.mismatch_k3.item() / n,
                bounded_share=terms.bounded.item() / n,
            )
        return Mismatch(mismatch_abs=math.nan, mismatch_k3=math.nan, bounded_share=math.nan)

    def _epoch(self, groups: Sequence[TrainingGroup]) -> UpdateReport:
        rate = self.settings.rate(self.updates)
        rows = trained(groups)
        n_trained, n_tokens = len(rows), n_trained_tokens(rows)
        nan = float("nan")
        if not rows:
            return UpdateReport(
                update=self.updates + 1,
                learning_rate=rate,
                loss=nan,
                kl=nan,
                clip_share=nan,
                grad_norm=nan,
                n_trained=0,
                n_tokens=0,
                skipped="no group had differing rewards",
                **asdict(self.mismatch(groups)),
            )
        figures = self.gradients(groups)
        norm = float(torch.nn.utils.clip_grad_norm_(self.masters.values(), self.settings.max_grad_norm))
        is_sound = math.isfinite(norm) and math.isfinite(figures.loss)
        if is_sound:
            self._step(rate)
        self.optimizer.zero_grad(set_to_none=True)
        return UpdateReport(
            **asdict(figures if self.reference else replace(figures, kl=nan)),
            update=self.updates + 1,
            learning_rate=rate,
            grad_norm=norm,
            n_trained=n_trained,
            n_tokens=n_tokens,
            skipped="" if is_sound else f"the gradient's norm is {norm}, the loss {figures.loss}",
        )

    @torch.no_grad()
    def _step(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.write_weights()

    @torch.no_grad()
    def write_weights(self) -> None:
        """The model's weights are the masters', rounded."""
        for name, p in self.params.items():
            if self.masters[name] is not p:
                p.copy_(self.masters[name])

    @torch.no_grad()
    def logprobs(self, group: Group) -> list[np.ndarray]:
        """Of each completion [T]: log-probability of its tokens under the present weights; NaN on untrained ones."""
        asked = {group.prompt_ids: [Row(c, 0.0, 0.0) for c in group.completions if any(c.loss_mask)]}
        parts = iter([part for batch in self._micro_batches(asked) for part in self._by_row(batch)])
        found = [np.full(len(c.token_ids), np.nan) for c in group.completions]
        for completion, values in zip(group.completions, found, strict=True):
            if any(completion.loss_mask):
                values[np.array(completion.loss_mask)] = next(parts)
        return found

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold beside the model."""
        return {
            "updates": self.updates,
            "masters": {name: m.detach() for name, m in self.masters.items()},
            "optimizer": self.optimizer.state_dict(),
            "reference": self.reference.state() if self.reference else {},
        }

    def fits(self, state: Mapping[str, Any]) -> bool:
        """A saved state is that of these weights."""
        shapes = {name: tuple(m.shape) for name, m in self.masters.items()}
        return {name: tuple(m.shape) for name, m in state["masters"].items()} == shapes

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to a saved state, bit for bit."""
        for name, master in self.masters.items():
            master.copy_(state["masters"][name])
        self.write_weights()
        self.optimizer.load_state_dict(state["optimizer"])
        self.updates = state["updates"]
        if self.reference:
            self.reference.restore(state["reference"])

    def _micro_batch(self, batch: MicroBatch) -> np.ndarray:
        """Its gradient into the masters; returns its sums."""
        temperature = self.settings.temperature
        ref = self.reference.logprobs(batch.packed, temperature=temperature) if self.reference else None
        with self.policy.active():
            terms = self._terms(batch, ref)
            # inside active(): it may compute the forward pass again
            backward(terms.loss, self.policy.module, self.capabilities, batch.packed)
        for name, p in self.params.items():
            master = self.masters[name]
            if master is not p and p.grad is not None:
                master.grad = p.grad.float() if master.grad is None else master.grad.add_(p.grad)
                p.grad = None
        sums = (terms.loss, terms.kl, terms.clipped, terms.bounded, terms.mismatch_abs, terms.mismatch_k3)
        return torch.stack([x.detach().float() for x in sums]).cpu().numpy().astype(float)

    def _terms(self, batch: MicroBatch, ref: torch.Tensor | None) -> LossTerms:
        device, settings, rows = self.policy.device, self.settings, batch.rows
        row_T = batch.packed.row.to(device)
        of_rows = lambda values: torch.tensor(values, dtype=torch.float32, device=device)  # noqa: E731
        return policy_loss(
            self._token_logprobs(batch),
            of_rows([x for row in rows for x in row.sampling_logprobs]),
            ref,
            of_rows([row.advantage for row in rows])[row_T],
            of_rows([row.weight for row in rows])[row_T],
            row_T,
            loss=settings.loss,
            clip_low=settings.clip_low,
            clip_high=settings.clip_high,
            clip_dual=settings.clip_dual,
            kl_weight_beta=settings.kl_weight_beta,
        )

    def _token_logprobs(self, batch: MicroBatch) -> torch.Tensor:
        return token_logprobs(
            self.policy.module, self.capabilities, batch.packed, temperature=self.settings.temperature
        )

    def _by_row(self, batch: MicroBatch) -> list[np.ndarray]:
        with self.policy.active():
            values = self._token_logprobs(batch).cpu().numpy()
        return np.split(values, np.cumsum([len(row.sampling_logprobs) for row in batch.rows])[:-1])

    def _micro_batches(self, rows: RowsByPrompt, most: int = sys.maxsize) -> Iterator[MicroBatch]:
        tokens = min(most, self.settings.micro_batch_tokens)
        return micro_batches(rows, tokens, self.capabilities, self.policy.tokenizer.pad_token_id)


def _checkpoint_activations(module: Any) -> None:
    """Newer transformers have another name for it."""
    enable = getattr(module, "activation_checkpointing_enable", None) or module.gradient_checkpointing_enable
    enable({"use_reentrant": False})
