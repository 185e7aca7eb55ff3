"""The embedded judge: a score per text from the packaged small model, without a key or a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from softgrpo.judging.scoring import Item, ScoringJudge


class LikelihoodScorer:
    """Mean log-probability of the prompt's subject after the text and the prompt's cue: is it about the subject?"""

    def __init__(self, model: Any) -> None:
        self.model = model

    def score(self, items: Sequence[Item]) -> np.ndarray:
        return self.model.mean_logprobs(
            [f"{item.text}\n\n{item.prompt.cue}" for item in items], [f" {item.prompt.subject}" for item in items]
        )


def embedded_judge(model: Any, part: str = "") -> ScoringJudge:
    """The judge named `embedded` or `embedded:PART`; `model` is the embedded `HuggingFaceModel`."""
    return ScoringJudge(f"embedded:{part}" if part else "embedded", LikelihoodScorer(model), temperature=0.5)
