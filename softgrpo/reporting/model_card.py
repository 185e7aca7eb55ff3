"""What a run leaves behind: the model with its card, the figures, the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from softgrpo.config.train import TrainConfig
from softgrpo.files import whole_folder
from softgrpo.reporting.recorder import read_evaluations
from softgrpo.reporting.report import recorded_task, task_name


def write_final(folder: Path, export: Callable[[Path], None], config: TrainConfig) -> None:
    """`final/`: what `export` writes (the model, its tokenizer) and a model card."""
    with whole_folder(folder / "final") as aside:
        export(aside)
        (aside / "README.md").write_text(card(folder, config), encoding="utf-8")


def card(folder: Path, config: TrainConfig) -> str:
    """The model card, with the results of the run's own evaluations."""
    evaluations = read_evaluations(folder)
    rows = "\n".join(
        f"| {e['step']} | {e['judge']} | {e['opponent']} | {_percent(e['win_rate'])} "
        f"[{_percent(e['low'])}, {_percent(e['high'])}] | {_percent(e['win_rate_both_formed'])} "
        f"| {_percent(e['format_adherence'])} | {e['n_pairs']} | {e['n_unjudged']} |"
        for e in evaluations
    )
    task = recorded_task(folder)
    asked_form = task.get("dataset", {}).get("format", "reasoning_answer")
    beside = ", beside format rewards" if task.get("format", "reasoning_answer") else ""
    prefill = config.prefill_for(config.model_name, asked_form).strip()
    opened = f"with the reply opened by `{prefill}`" if prefill else "with nothing added"
    base = f"base_model: {config.model_name}\n" if "/" in config.model_name else ""
    return f"""---
library_name: transformers
tags: [grpo, softgrpo]
{base}---

# {config.model_name}, trained on {task_name(folder, config.task)} with GRPO

Trained for {config.num_train_iters} iterations of {config.prompts_per_step} x {config.num_chains} completions. The
reward is the standing in a round-robin tournament judged by `{config.judge_model_name}`{beside}.

Win rates on {config.eval_prompts} held-out prompts, with 95% intervals over subjects:

| iteration | judge | opponent | win rate | where both kept the form | format | pairs | unjudged |
|---|---|---|---|---|---|---|---|
{rows}

A win rate is one judge's view. Ask another (`softgrpo evaluate --judge_model_name ...`) before you rely on it.

The model expects the task's chat: the system text and `{config.shots_for(config.model_name)}` worked example(s) of that
task, {opened}.
"""


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}%"
