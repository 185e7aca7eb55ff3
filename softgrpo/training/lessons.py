"""What a scored group teaches. Pure."""

from __future__ import annotations

import numpy as np

from softgrpo.grpo.advantages import advantages, estimated_reliability, is_flat
from softgrpo.records import Lesson, ScoredGroup


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
