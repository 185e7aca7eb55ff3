"""What a scored group teaches. Pure."""

from __future__ import annotations

import numpy as np

from softgrpo.grpo.advantages import advantages, is_flat
from softgrpo.records import Lesson, ScoredGroup


def lesson(scored: ScoredGroup, *, scale_advantages: bool = True, mask_truncated: bool = False) -> Lesson:
    """Advantages, and which completions are in the loss.

    Left out are completions without a reward, those cut off when `mask_truncated` asks for it, empty ones, and whole
    groups in which all rewards are equal.
    """
    flat = is_flat(scored.rewards)
    values = advantages(scored.rewards, scale=scale_advantages)
    kept = [
        bool(c.token_ids) and not (mask_truncated and c.finish_reason == "length") for c in scored.group.completions
    ]
    return Lesson(
        scored=scored, advantages=values, trained=np.isfinite(values) & np.array(kept) & (not flat), flat=flat
    )
