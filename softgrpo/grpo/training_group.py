"""A scored group as the loss takes it: advantages, which tokens are trained, and with what weight. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np

from softgrpo.grpo.advantages import advantages, estimated_reliability, is_flat
from softgrpo.grpo.loss import token_weights
from softgrpo.records import Completion, ScoredGroup, TrainingGroup


@dataclass(frozen=True, slots=True)
class Row:
    """One completion in the loss."""

    completion: Completion
    advantage: float
    weight: float
    """of each of its trained tokens"""

    @property
    def sampling_logprobs(self) -> list[float]:
        """Of its trained tokens."""
        return list(compress(self.completion.sampling_logprobs, self.completion.loss_mask))


RowsByPrompt = dict[tuple[int, ...], list[Row]]
"""by the tokens of their prompt"""


def to_training_group(
    scored: ScoredGroup, *, scale_advantages: bool = True, shrink_advantages: bool = False, mask_truncated: bool = False
) -> TrainingGroup:
    """Advantages, by wish shrunk by their reliability, and which completions are in the loss.

    Left out are completions without a reward, those cut off when `mask_truncated` asks for it, those of whose tokens
    the policy chose none, and whole groups in which all rewards are equal.
    """
    flat = is_flat(scored.rewards)
    stderrs = scored.stderrs if shrink_advantages and len(scored.stderrs) else None
    values = advantages(scored.rewards, scale=scale_advantages, stderrs_G=stderrs)
    kept = [any(c.loss_mask) and not (mask_truncated and c.finish_reason == "length") for c in scored.group.completions]
    return TrainingGroup(
        scored=scored,
        advantages=values,
        trained=np.isfinite(values) & np.array(kept) & (not flat),
        flat=flat,
        reliability=estimated_reliability(scored.rewards, scored.stderrs) if len(scored.stderrs) else float("nan"),
    )


def trained(groups: Sequence[TrainingGroup]) -> list[Completion]:
    """The completions in the loss."""
    return [c for group in groups for c in compress(group.scored.group.completions, group.trained) if any(c.loss_mask)]


def n_trained_tokens(completions: Sequence[Completion]) -> int:
    """Tokens that the policy chose.

    >>> n_trained_tokens([Completion(text="", token_ids=(5, 6, 7), loss_mask=(True, False, True))])
    2
    """
    return sum(sum(c.loss_mask) for c in completions)


def weighted(groups: Sequence[TrainingGroup], loss: str, *, max_completion_length: int) -> RowsByPrompt:
    """The completions in the loss, each with the weight of its trained tokens in the mean over the update."""
    lengths = [sum(completion.loss_mask) for completion in trained(groups)]
    weights = iter(token_weights(loss, lengths, max_completion_length=max_completion_length))
    rows: RowsByPrompt = {}
    for group in groups:
        for i, completion in enumerate(group.scored.group.completions):
            if group.trained[i] and any(completion.loss_mask):
                row = Row(completion, float(group.advantages[i]), next(weights))
                rows.setdefault(group.scored.group.prompt_ids, []).append(row)
    return rows


def unweighted(groups: Sequence[TrainingGroup]) -> RowsByPrompt:
    """Every completion of which the policy chose a token, in the loss or not."""
    rows: RowsByPrompt = {}
    for group in groups:
        for completion, advantage in zip(group.scored.group.completions, group.advantages, strict=True):
            if any(completion.loss_mask):
                rows.setdefault(group.scored.group.prompt_ids, []).append(Row(completion, float(advantage), 0.0))
    return rows
