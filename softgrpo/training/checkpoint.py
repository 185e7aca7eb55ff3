"""A run's state after an update: written aside, then renamed; found again by the highest step."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from softgrpo.errors import UserError
from softgrpo.files import whole_folder
from softgrpo.models.faults import let_through
from softgrpo.models.folders import checkpoints
from softgrpo.training.learner import Learner

STATE = "trainer_state.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stands. Random streams need no state: each follows from the seed and what it is for."""

    iteration: int
    """iterations that the weights have learned from"""
    updates: int
    beside: dict[str, Any]
    """what the trainer keeps beside the weights: what is known of the judge, groups that were sampled ahead"""


def save(folder: Path, learner: Learner, iteration: int, *, beside: dict[str, Any], keep: int) -> Path:
    """Write `checkpoints/step-N` whole, then drop all but the `keep` newest (0 keeps all)."""
    target = folder / f"step-{iteration}"
    with whole_folder(target) as aside:
        learner.policy.save(aside)
        torch.save(
            {
                "iteration": iteration,
                "updates": learner.updates,
                "beside": beside,
                "masters": {name: m.detach() for name, m in learner.masters.items()},
                "optimizer": learner.optimizer.state_dict(),
                "reference": learner.reference.state() if learner.reference else {},
            },
            aside / STATE,
        )
    if keep:
        for old in found(folder)[:-keep]:
            shutil.rmtree(old, ignore_errors=True)
    return target


def restore(checkpoint: Path, learner: Learner) -> Progress:
    """Put the saved state back, bit for bit."""
    try:
        state: dict[str, Any] = torch.load(checkpoint / STATE, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        let_through(error)
        raise UserError(
            f"checkpoint {checkpoint} cannot be read ({type(error).__name__}); "
            "remove that folder to resume from the one before"
        ) from error
    shapes = {name: tuple(m.shape) for name, m in learner.masters.items()}
    if {name: tuple(m.shape) for name, m in state["masters"].items()} != shapes:
        raise UserError(f"checkpoint {checkpoint} holds other weights than this configuration trains")
    with torch.no_grad():
        for name, master in learner.masters.items():
            master.copy_(state["masters"][name])
    learner.write_weights()
    learner.optimizer.load_state_dict(state["optimizer"])
    learner.updates = state["updates"]
    if learner.reference:
        learner.reference.restore(state["reference"])
    return Progress(iteration=state["iteration"], updates=state["updates"], beside=state.get("beside", {}))


def found(folder: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    return [path for path in checkpoints(folder) if (path / STATE).exists()]
