"""From lessons to new weights. The model computes in its own precision; gradients, moments and weights of the
optimizer are float32."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from softgrpo.grpo.loss import policy_loss, token_weights
from softgrpo.grpo.tree import Packed, pack_padded, pack_trees
from softgrpo.models.local.forest import reads_forests
from softgrpo.records import Completion, Lesson, UpdateReport
from softgrpo.training.forward import backward, reads_trees, token_logprobs
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
    kl_weight_beta: float = 0.04
    num_inner_epochs: int = 1
    micro_batch_tokens: int = 4096
    max_completion_length: int = 786
    temperature: float = 0.9
    gradient_checkpointing: bool = False

    def rate(self, update: int) -> float:
        """Learning rate of the update with this number (from 0): a linear warm-up, then constant."""
        warm = math.ceil(self.warmup_percent * self.n_updates)
        return self.learning_rate * min(1.0, (update + 1) / max(warm, 1))


@dataclass(frozen=True, slots=True)
class _Row:
    """One completion in the loss."""

    completion: Completion
    advantage: float
    weight: float


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
        """One optimizer step per inner epoch; the last one's figures. A non-finite gradient leaves the weights."""
        report = self._epoch(lessons)
        for _ in range(self.settings.num_inner_epochs - 1):
            if report.skipped:
                break
            report = self._epoch(lessons)
        self.updates += 1
        return report

    def gradients(self, lessons: Sequence[Lesson]) -> tuple[float, float, float]:
        """Add the update's gradient into the float32 masters; returns the loss, and KL and clipped share per token."""
        totals = np.zeros(3)
        self.policy.module.train(self.settings.gradient_checkpointing or self.policy.adapter)
        try:
            for packed, batch in self._micro_batches(_weighted(lessons, self.settings)):
                totals += self._micro_batch(packed, batch)
        finally:
            self.policy.module.eval()
        n_tokens = max(sum(len(c.token_ids) for c in _trained(lessons)), 1)
        return float(totals[0]), float(totals[1] / n_tokens), float(totals[2] / n_tokens)

    def _epoch(self, lessons: Sequence[Lesson]) -> UpdateReport:
        rate = self.settings.rate(self.updates)
        rows = _trained(lessons)
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
            )
        loss, kl, clip_share = self.gradients(lessons)
        norm = float(torch.nn.utils.clip_grad_norm_(self.masters.values(), self.settings.max_grad_norm))
        skipped = (
            "" if math.isfinite(norm) and math.isfinite(loss) else f"the gradient's norm is {norm}, the loss {loss}"
        )
        if not skipped:
            self._step(rate)
        self.optimizer.zero_grad(set_to_none=True)
        return UpdateReport(
            update=self.updates + 1,
            learning_rate=rate,
            loss=loss,
            kl=kl if self.reference else nan,
            clip_share=clip_share,
            grad_norm=norm,
            n_trained=n_trained,
            n_tokens=n_tokens,
            skipped=skipped,
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

    def _micro_batch(self, packed: Packed, batch: Sequence[_Row]) -> np.ndarray:
        device = self.policy.device
        ref = self.reference.logprobs(packed, temperature=self.settings.temperature) if self.reference else None
        with self.policy.active():
            logprobs = token_logprobs(self.policy.module, packed, temperature=self.settings.temperature)
            old = torch.tensor([x for row in batch for x in row.completion.logprobs], device=device)
            row_T = packed.row.to(device)
            terms = policy_loss(
                logprobs,
                old,
                ref,
                torch.tensor([row.advantage for row in batch], dtype=torch.float32, device=device)[row_T],
                torch.tensor([row.weight for row in batch], dtype=torch.float32, device=device)[row_T],
                row_T,
                loss=self.settings.loss,
                clip_low=self.settings.clip_low,
                clip_high=self.settings.clip_high,
                kl_weight_beta=self.settings.kl_weight_beta,
            )
            backward(terms.loss, self.policy.module, packed)  # inside active(): it may compute the forward pass again
        for name, p in self.params.items():
            master = self.masters[name]
            if master is not p and p.grad is not None:
                master.grad = p.grad.float() if master.grad is None else master.grad.add_(p.grad)
                p.grad = None
        return np.array([terms.loss.item(), terms.kl.item(), terms.clipped.item()])

    def _micro_batches(self, rows: dict[tuple[int, ...], list[_Row]]) -> Iterator[tuple[Packed, list[_Row]]]:
        """Branches with their prompts, as many as `micro_batch_tokens` allows and at least one; prompts together where
        the model reads them as trees that do not see each other."""
        trees: list[tuple[tuple[int, ...], list[_Row]]] = []
        tokens = 0
        for prompt_ids, waiting in rows.items():
            if trees and not (self.tree and self.forests):
                yield self._pack(trees)
                trees = []
            for k, row in enumerate(waiting):
                length = len(row.completion.token_ids)
                more = length + (len(prompt_ids) if not k else 0)
                if trees and tokens + more > self.settings.micro_batch_tokens:
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

    def _pack(self, trees: Sequence[tuple[Sequence[int], Sequence[_Row]]]) -> tuple[Packed, list[_Row]]:
        of_prompt = [(prompt_ids, [row.completion.token_ids for row in rows]) for prompt_ids, rows in trees]
        every = [row for _, rows in trees for row in rows]
        if self.tree:
            return pack_trees(of_prompt), every
        ((prompt_ids, completions),) = of_prompt
        return pack_padded(prompt_ids, completions, self.policy.tokenizer.pad_token_id), every


def _trained(lessons: Sequence[Lesson]) -> list[Completion]:
    """The completions in the loss."""
    return [
        c
        for lesson in lessons
        for c, trained in zip(lesson.scored.group.completions, lesson.trained, strict=True)
        if trained
    ]


def _weighted(lessons: Sequence[Lesson], settings: LearnerSettings) -> dict[tuple[int, ...], list[_Row]]:
    """The completions in the loss, by prompt, each with the weight of its tokens in the mean over the update."""
    kept = [
        (lesson.scored.group.prompt_ids, completion, float(lesson.advantages[i]))
        for lesson in lessons
        for i, completion in enumerate(lesson.scored.group.completions)
        if lesson.trained[i]
    ]
    lengths = [len(completion.token_ids) for _, completion, _ in kept]
    weights = token_weights(settings.loss, lengths, max_completion_length=settings.max_completion_length)
    rows: dict[tuple[int, ...], list[_Row]] = {}
    for (prompt_ids, completion, advantage), weight in zip(kept, weights, strict=True):
        rows.setdefault(prompt_ids, []).append(_Row(completion, advantage, weight))
    return rows


def _checkpoint_activations(module: Any) -> None:
    """Newer transformers have another name for it."""
    enable = getattr(module, "activation_checkpointing_enable", None) or module.gradient_checkpointing_enable
    enable({"use_reentrant": False})
