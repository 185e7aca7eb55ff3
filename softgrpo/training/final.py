"""What a run leaves behind: the model with its card, the figures, the page."""

from __future__ import annotations

from pathlib import Path

from softgrpo.config import TrainConfig
from softgrpo.files import whole_folder
from softgrpo.reporting.report import task_name, write_report
from softgrpo.training.heldout import read_all
from softgrpo.training.policy import Policy


def write(folder: Path, policy: Policy, config: TrainConfig) -> None:
    """`final/`: the model (merged when trained by adapter), its tokenizer and a model card."""
    with whole_folder(folder / "final") as aside:
        policy.save_merged(aside)
        (aside / "README.md").write_text(card(folder, config), encoding="utf-8")


def report(folder: Path) -> list[Path]:
    """Figures and page; a missing plotting library costs the figures, not the run."""
    return write_report(folder)


def card(folder: Path, config: TrainConfig) -> str:
    """The model card, with the results of the run's own evaluations."""
    evaluations = read_all(folder / "evaluations")
    rows = "\n".join(
        f"| {e['step']} | {e['judge']} | {e['opponent']} | {_percent(e['win_rate'])} "
        f"[{_percent(e['low'])}, {_percent(e['high'])}] | {_percent(e['win_rate_both_formed'])} "
        f"| {_percent(e['format_adherence'])} | {e['n_pairs']} | {e['n_unjudged']} |"
        for e in evaluations
    )
    opening = config.opening_for(config.model_name).strip()
    opened = f"with the reply opened by `{opening}`" if opening else "with nothing added"
    base = f"base_model: {config.model_name}\n" if "/" in config.model_name else ""
    return f"""---
library_name: transformers
tags: [grpo, softgrpo]
{base}---

# {config.model_name}, trained on {task_name(folder, config.task)} with GRPO

Trained for {config.num_train_iters} iterations of {config.prompts_per_step} x {config.num_chains} completions. The
reward is the standing in a round-robin tournament judged by `{config.judge_model_name}`, beside format rewards.

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
