"""What an evaluation is made of: of a run's flags those that concern it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from softgrpo.config.judging import JudgingFlags, SamplingFlags
from softgrpo.config.machine import EvaluationFlags, MachineFlags, RunFlags
from softgrpo.config.players import ModelFlags, TaskFlags
from softgrpo.config.train import TrainConfig


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings(MachineFlags, EvaluationFlags, JudgingFlags, SamplingFlags, RunFlags, TaskFlags, ModelFlags):
    """Who answers what, how, and who judges it."""

    @classmethod
    def of(cls, run: TrainConfig, **changes: Any) -> EvaluationSettings:
        """Those of a run, with some of them changed.

        >>> EvaluationSettings.of(TrainConfig(eval_prompts=8), eval_samples=2).eval_prompts
        8
        """
        return cls(**({f.name: getattr(run, f.name) for f in fields(cls)} | changes))


Settings = TrainConfig | EvaluationSettings
"""a run's, or an evaluation's of its own"""
