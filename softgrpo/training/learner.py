"""From lessons to new weights. The model computes in its own precision; gradients, moments and weights of the
optimizer are float32."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from softgrpo.grpo.loss import LossTerms, check_loss, policy_loss
from softgrpo.grpo.tree import Packed, pack_padded, pack_trees
from softgrpo.models.local.forest import reads_forests
from softgrpo.records import Lesson, Mismatch, UpdateReport
from softgrpo.training.dropout import only_the_adapters
from softgrpo.training.forward import backward, reads_trees, token_logprobs
from softgrpo.training.lessons import Row, Rows, trained, unweighted, weighted
from softgrpo.training.policy import Policy
from softgrpo.training.reference import Reference


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
    """Of one pass over the lessons; means over the tokens in the loss."""

    loss: float
    kl: float
    clip_share: float


class Learner:
    """Holds the optimizer; one `update` is one pass over all lessons (or `num_inner_epochs` of them)."""

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
        with policy.active():
            self.tree = reads_trees(policy.module, policy.tokenizer.pad_token_id)
            self.forests = reads_forests(policy.module)
        if settings.gradient_checkpointing:
            _checkpoint_activations(policy.module)

    def update(self, lessons: Sequence[Lesson]) -> UpdateReport:
        """One optimizer step per inner epoch. A non-finite gradient leaves the weights."""
        first = report = self._epoch(lessons)
        for _ in range(self.settings.num_inner_epochs - 1):
            if report.skipped:
                break
            report = self._epoch(lessons)
        self.updates += 1
        return replace(report, mismatch_abs=first.mismatch_abs, mismatch_k3=first.mismatch_k3)

    def gradients(self, lessons: Sequence[Lesson]) -> Figures:
        """Add the update's gradient into the float32 masters."""
        sums, settings = np.zeros(6), self.settings
        rows = weighted(lessons, settings.loss, max_completion_length=settings.max_completion_length)
        with only_the_adapters(self.policy.module):
            for packed, batch in self._micro_batches(rows):
                sums += self._micro_batch(packed, batch)
        loss, *others = sums.tolist()
        n_tokens = max(sum(len(c.token_ids) for c in trained(lessons)), 1)
        names = ("kl", "clip_share", "bounded_share", "mismatch_abs", "mismatch_k3")
        return Figures(loss=loss, **{name: x / n_tokens for name, x in zip(names, others, strict=True)})

    @torch.no_grad()
    def mismatch(self, lessons: Sequence[Lesson]) -> Mismatch:
        """How the learner sees these lessons' first completions, whether or not they teach anything.

        One forward pass over what a micro-batch holds, and no more than `MEASURED_TOKENS` of it: where there is no
        update this is all that is computed after judging, a small part of what sampling takes. Nothing is drawn.
        """
        for packed, batch in self._micro_batches(unweighted(lessons), MEASURED_TOKENS):
            with self.policy.active():
                terms = self._terms(packed, batch, None)
            n = len(packed.target)
            return Mismatch(
                mismatch_abs=terms.mismatch_abs.item() / n,
                mismatch_k3=terms.mismatch_k3.item() / n,
                bounded_share=terms.bounded.item() / n,
            )
        return Mismatch(mismatch_abs=math.nan, mismatch_k3=math.nan, bounded_share=math.nan)

    def _epoch(self, lessons: Sequence[Lesson]) -> UpdateReport:
        rate = self.settings.rate(self.updates)
        rows = trained(lessons)
        n_trained, n_tokens = len(rows), sum(len(c.token_ids) for c in rows)
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
                **asdict(self.mismatch(lessons)),
            )
        figures = self.gradients(lessons)
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

    def _micro_batch(self, packed: Packed, batch: Sequence[Row]) -> np.ndarray:
        """Its gradient into the masters; returns its sums."""
        ref = self.reference.logprobs(packed, temperature=self.settings.temperature) if self.reference else None
        with self.policy.active():
            terms = self._terms(packed, batch, ref)
            backward(terms.loss, self.policy.module, packed)  # inside active(): it may compute the forward pass again
        for name, p in self.params.items():
            master = self.masters[name]
            if master is not p and p.grad is not None:
                master.grad = p.grad.float() if master.grad is None else master.grad.add_(p.grad)
                p.grad = None
        sums = (terms.loss, terms.kl, terms.clipped, terms.bounded, terms.mismatch_abs, terms.mismatch_k3)
        return np.array([x.item() for x in sums])

    def _terms(self, packed: Packed, batch: Sequence[Row], ref: torch.Tensor | None) -> LossTerms:
        device, settings = self.policy.device, self.settings
        row_T = packed.row.to(device)
        of_rows = lambda values: torch.tensor(values, dtype=torch.float32, device=device)  # noqa: E731
        return policy_loss(
            token_logprobs(self.policy.module, packed, temperature=settings.temperature),
            of_rows([x for row in batch for x in row.completion.logprobs]),
            ref,
            of_rows([row.advantage for row in batch])[row_T],
            of_rows([row.weight for row in batch])[row_T],
            row_T,
            loss=settings.loss,
            clip_low=settings.clip_low,
            clip_high=settings.clip_high,
            clip_dual=settings.clip_dual,
            kl_weight_beta=settings.kl_weight_beta,
        )

    def _micro_batches(self, rows: Rows, most: int = sys.maxsize) -> Iterator[tuple[Packed, list[Row]]]:
        """Branches with their prompts, as many as `micro_batch_tokens` and `most` allow and at least one; prompts
        together where the model reads them as trees that do not see each other."""
        most = min(most, self.settings.micro_batch_tokens)
        trees: list[tuple[tuple[int, ...], list[Row]]] = []
        tokens = 0
        for prompt_ids, waiting in rows.items():
            if trees and not (self.tree and self.forests):
                yield self._pack(trees)
                trees = []
            for k, row in enumerate(waiting):
                length = len(row.completion.token_ids)
                more = length + (len(prompt_ids) if not k else 0)
                if trees and tokens + more > most:
                    yield self._pack(trees)
                    trees = []
                if not trees:
                    tokens, more = 0, length + len(prompt_ids)
                if not trees or trees[-1][0] != prompt_ids:
                    trees.append((prompt_ids, []))
                trees[-1][1].append(row)
                tokens += more
        if trees:
            yield self._pack(trees)

    def _pack(self, trees: Sequence[tuple[Sequence[int], Sequence[Row]]]) -> tuple[Packed, list[Row]]:
        of_prompt = [(prompt_ids, [row.completion.token_ids for row in rows]) for prompt_ids, rows in trees]
        every = [row for _, rows in trees for row in rows]
        if self.tree:
            return pack_trees(of_prompt), every
        ((prompt_ids, completions),) = of_prompt
        return pack_padded(prompt_ids, completions, self.policy.tokenizer.pad_token_id), every


def _checkpoint_activations(module: Any) -> None:
    """Newer transformers have another name for it."""
    enable = getattr(module, "activation_checkpointing_enable", None) or module.gradient_checkpointing_enable
    enable({"use_reentrant": False})
