"""A run's state after an update: written aside, then renamed; found again by the highest step."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from softgrpo.engines.base import Engine
from softgrpo.engines.local.engine import UNREADABLE, unreadable
from softgrpo.errors import UserError
from softgrpo.files import whole_folder
from softgrpo.models.faults import let_through
from softgrpo.run_folder import STATE, whole_checkpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stands. Random streams need no state: each follows from the seed and what it is for."""

    iteration: int
    """iterations that the weights have learned from"""
    beside: dict[str, Any]
    """what the loop keeps beside the engine: what is known of the judge, groups that were sampled ahead"""


def save(
    run: Path, engine: Engine, iteration: int, *, beside: dict[str, Any], keep: int, spare: int | None = None
) -> Path:
    """Write `checkpoints/step-N` whole, then drop all but the `keep` newest (0 keeps all) and that of step `spare`."""
    target = run / "checkpoints" / f"step-{iteration}"
    with whole_folder(target) as aside:
        engine.save(aside)
        torch.save({"iteration": iteration, "beside": beside}, aside / STATE)
    if keep:
        for old in whole_checkpoints(run)[:-keep]:
            if old.name != f"step-{spare}":
                shutil.rmtree(old, ignore_errors=True)
    return target


def restore(checkpoint: Path, engine: Engine) -> Progress:
    """Put the saved state back, bit for bit."""
    try:
        state: dict[str, Any] = torch.load(checkpoint / STATE, map_location="cpu", weights_only=True)
        if "masters" in state:
            raise UserError(
                f"checkpoint {checkpoint} is of an earlier version of softgrpo: resume the run with that version, or "
                "begin another"
            )
        progress = Progress(iteration=state["iteration"], beside=state["beside"])
    except UNREADABLE as error:
        let_through(error)
        raise unreadable(checkpoint, error) from error
    engine.restore(checkpoint)
    return progress
