"""`softgrpo train`: all the flags of a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from softgrpo.config.judging import JudgingFlags, SamplingFlags
from softgrpo.config.learning import LearningFlags
from softgrpo.config.machine import BudgetFlags, EvaluationFlags, MachineFlags, RunFlags
from softgrpo.config.players import NONE, ModelFlags, TaskFlags


@dataclass(frozen=True, kw_only=True)
class TrainConfig(  # the last base comes first in `--help`
    MachineFlags,
    BudgetFlags,
    EvaluationFlags,
    LearningFlags,
    JudgingFlags,
    SamplingFlags,
    RunFlags,
    TaskFlags,
    ModelFlags,
):
    """`softgrpo train`. Names and defaults of the first four groups' older flags are the seed's."""

    @property
    def n_updates(self) -> int:
        """Optimizer updates of the whole run."""
        return -(-self.num_train_iters // self.gradient_accumulation_steps)

    @property
    def settled(self) -> dict[str, Any]:
        """The flags with what is in force where one is left open that once had to be said."""
        return asdict(self) | {
            "scale_advantages": self.scales_advantages,
            "sentinel_judge": self.sentinel_name or NONE,
            "sentinel_pairs": self.sentinel_limit,
        }
