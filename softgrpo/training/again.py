"""A recorded run used again: its settings, its weights, and what it says on a topic of one's own."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from softgrpo.config import SampleConfig, TrainConfig
from softgrpo.errors import UserError
from softgrpo.model_interface import load_local
from softgrpo.records import Sampling
from softgrpo.reporting.console import harmless
from softgrpo.rewards.format import section
from softgrpo.tasks import load_task, own_questions
from softgrpo.training import checkpoint


def sample(config: SampleConfig) -> int:
    """`softgrpo sample`: the base and the trained model on one topic, one after the other."""
    folder, run = open_run(config.run)
    if not config.topic.strip():
        raise UserError('sample needs a topic: softgrpo sample --run output "Cities should ban cars"')
    model_name, _ = which_weights(folder, run, config.checkpoint)
    task = load_task(run.task)
    sampling = Sampling(
        temperature=config.temperature,
        max_tokens=run.max_completion_length,
        seed=config.seed,
        prefill=run.opening_for(run.model_name),
    )
    for question in own_questions(run.task, config.topic):
        prompt = task.prompt(question, num_shots=run.shots_for(run.model_name))
        print(f"\n=== {harmless(question.text)}")
        for title, name in (("base", run.model_name), ("trained", model_name)):
            model = load_local(name, dtype=run.dtype, device=config.device)
            text = model.generate([prompt.messages], sampling)[0][0].text
            shown = section(text, "answer") or f"(no answer section)\n{text}"
            print(f"\n--- {title}\n{harmless(shown)}")
    return 0


def open_run(name: str) -> tuple[Path, TrainConfig]:
    """A run's folder and what was asked of it."""
    folder = Path(name)
    if not (folder / "args.json").exists():
        raise UserError(f"--run {name}: holds no run (no args.json)")
    return folder, asked(folder)


def asked(folder: Path) -> TrainConfig:
    """What the run was begun with."""
    values: dict[str, Any] = json.loads((folder / "args.json").read_text(encoding="utf-8"))
    known = {f.name for f in fields(TrainConfig)}
    return TrainConfig(**{name: value for name, value in values.items() if name in known})


def which_weights(folder: Path, run: TrainConfig, name: str) -> tuple[str, int]:
    """Where the asked-for weights lie, and at which step they were."""
    if name == "base":
        return run.model_name, 0
    if name == "final":
        if not (folder / "final" / "config.json").exists():
            raise UserError(f"{folder} has no final model yet; finish the run with --resume, or name a checkpoint")
        return str(folder / "final"), run.num_train_iters
    path = folder / "checkpoints" / name
    if path not in checkpoint.found(folder / "checkpoints"):
        there = ", ".join(p.name for p in checkpoint.found(folder / "checkpoints")) or "none"
        raise UserError(f"--checkpoint {name}: not in {folder}; there are: final, base, {there}")
    return str(path), int(name.removeprefix("step-"))
