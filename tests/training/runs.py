"""Tiny runs: how they are asked for, and what of them must be the same twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from softgrpo.files import read_lines

PREFILL = "<reasoning> w1 </reasoning> <answer> "
VARIES = ("time_", "sampled_tokens_per_second", "peak_", "spent_", "calls_to_come", "usd_to_come")


def flags(folder: Path, model: Path, judge: Path, **changes: Any) -> list[str]:
    """The command line of a run of seconds."""
    values = dict(
        model_name=model,
        judge_model_name=judge,
        compare_model_name=model,
        output_dir=folder,
        prefill=PREFILL,
        num_chains=4,
        max_completion_length=24,
        max_prompt_length=200,
        num_train_iters=6,
        gradient_accumulation_steps=2,
        learning_rate=0.003,
        eval_iterations=4,
        eval_prompts=4,
        save_steps=2,
        dtype="float32",
        device="cpu",
    )
    values |= changes
    out = []
    for name, value in values.items():
        if isinstance(value, bool):
            out.append(f"--{name}" if value else f"--no-{name}")
        else:
            out += [f"--{name}", str(value)]
    return out


def start(arguments: list[str], **options: Any) -> subprocess.Popen:
    """`softgrpo train` in a process of its own."""
    code = "import sys; from softgrpo.cli import run; sys.exit(run('train', sys.argv[1:]))"
    env = os.environ | {"PYTHONUNBUFFERED": "1"} | options.pop("env", {})
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
        **options,
    )


def steady(folder: Path) -> dict[str, Any]:
    """Everything a run recorded that does not depend on the clock or the folder's name."""
    metrics = [
        {k: v for k, v in line.items() if not k.startswith(VARIES)} for line in read_lines(folder / "metrics.jsonl")
    ]
    groups = {p.name: p.read_text() for p in sorted((folder / "groups").iterdir())}
    evaluations = {p.name: p.read_text() for p in sorted((folder / "evaluations").iterdir())}
    weights = (folder / "final" / "model.safetensors").read_bytes()
    return {"metrics": json.dumps(metrics), "groups": groups, "evaluations": evaluations, "weights": weights}
