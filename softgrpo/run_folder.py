"""A recorded run found again: what was asked of it, and where its weights lie. Reads small files alone."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from softgrpo.config import TrainConfig
from softgrpo.errors import UserError
from softgrpo.models.folders import checkpoints

STATE = "trainer_state.pt"
"""the file with which a checkpoint is whole"""
LEDGER = "verdicts.sqlite"
SPENDING = "spending.json"


def open_run(name: str) -> tuple[Path, TrainConfig]:
    """A run's folder and what was asked of it."""
    folder = Path(name)
    if not (folder / "args.json").exists():
        raise UserError(f"--run {name}: holds no run (no args.json)")
    return folder, recorded_config(folder)


def recorded_config(folder: Path) -> TrainConfig:
    """What the run was begun with."""
    values: dict[str, Any] = json.loads((folder / "args.json").read_text(encoding="utf-8"))
    known = {f.name for f in fields(TrainConfig)}
    return TrainConfig(**{name: value for name, value in values.items() if name in known})


def whole_checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    return [path for path in checkpoints(folder / "checkpoints") if (path / STATE).exists()]


def final_step(folder: Path, run: TrainConfig) -> int:
    """After which iteration the final model was as it is: the last, unless an alarm has ended the run."""
    path = folder / "finished"
    noted = path.read_text(encoding="utf-8").strip() if path.exists() else ""
    return int(noted) if noted else run.num_train_iters


def which_weights(folder: Path, run: TrainConfig, name: str) -> tuple[str, int]:
    """Where the asked-for weights lie, and at which step they were."""
    if name == "base":
        return run.model_name, 0
    if name == "final":
        if not (folder / "final" / "config.json").exists():
            raise UserError(f"{folder} has no final model yet; finish the run with --resume, or name a checkpoint")
        return str(folder / "final"), final_step(folder, run)
    path, there = folder / "checkpoints" / name, whole_checkpoints(folder)
    if path not in there:
        names = ", ".join(p.name for p in there) or "none"
        raise UserError(f"--checkpoint {name}: not in {folder}; there are: final, base, {names}")
    return str(path), int(name.removeprefix("step-"))
