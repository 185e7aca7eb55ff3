"""What a scored group teaches, and with what weight in an update. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from softgrpo.grpo.advantages import advantages, estimated_reliability, is_flat
from softgrpo.grpo.loss import token_weights
from softgrpo.records import Completion, Lesson, ScoredGroup


@dataclass(frozen=True, slots=True)
class Row:
    """One completion in the loss."""

    completion: Completion
    advantage: float
    weight: float
    """of each of its tokens"""


Rows = dict[tuple[int, ...], list[Row]]
"""by the tokens of their prompt"""


def lesson(
    scored: ScoredGroup, *, scale_advantages: bool = True, shrink_advantages: bool = False, mask_truncated: bool = False
) -> Lesson:
    """Advantages, by wish shrunk by their reliability, and which completions are in the loss.

    Left out are completions without a reward, those cut off when `mask_truncated` asks for it, empty ones, and whole
    groups in which all rewards are equal.
    """
    flat = is_flat(scored.rewards)
    stderrs = scored.stderrs if shrink_advantages and len(scored.stderrs) else None
    values = advantages(scored.rewards, scale=scale_advantages, stderrs_G=stderrs)
    kept = [
        bool(c.token_ids) and not (mask_truncated and c.finish_reason == "length") for c in scored.group.completions
    ]
    return Lesson(
        scored=scored,
        advantages=values,
        trained=np.isfinite(values) & np.array(kept) & (not flat),
        flat=flat,
        reliability=estimated_reliability(scored.rewards, scored.stderrs) if len(scored.stderrs) else float("nan"),
    )


def trained(lessons: Sequence[Lesson]) -> list[Completion]:
    """The completions in the loss."""
    return [
        c
        for lesson in lessons
        for c, is_trained in zip(lesson.scored.group.completions, lesson.trained, strict=True)
        if is_trained
    ]


def weighted(lessons: Sequence[Lesson], loss: str, *, max_completion_length: int) -> Rows:
    """The completions in the loss, each with the weight of its tokens in the mean over the update."""
    lengths = [len(completion.token_ids) for completion in trained(lessons)]
    weights = iter(token_weights(loss, lengths, max_completion_length=max_completion_length))
    rows: Rows = {}
    for lesson in lessons:
        for i, completion in enumerate(lesson.scored.group.completions):
            if lesson.trained[i]:
                row = Row(completion, float(lesson.advantages[i]), next(weights))
                rows.setdefault(lesson.scored.group.prompt_ids, []).append(row)
    return rows


def unweighted(lessons: Sequence[Lesson]) -> Rows:
    """Every completion with tokens, in the loss or not."""
    rows: Rows = {}
    for lesson in lessons:
        for completion, advantage in zip(lesson.scored.group.completions, lesson.advantages, strict=True):
            if completion.token_ids:
                rows.setdefault(lesson.scored.group.prompt_ids, []).append(Row(completion, float(advantage), 0.0))
    return rows
