"""What a run leaves behind: the model with its card, the figures, the page."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from softgrpo.config.train import TrainConfig
from softgrpo.files import whole_folder
from softgrpo.reporting.recorder import first_alarms, judged_alone, read_evaluations
from softgrpo.reporting.report import recorded_task, task_name


def write_final(folder: Path, export: Callable[[Path], None], config: TrainConfig, step: int) -> None:
    """`final/`: what `export` writes (the model as it was after that iteration, its tokenizer) and a model card."""
    with whole_folder(folder / "final") as aside:
        export(aside)
        (aside / "README.md").write_text(card(folder, config, step), encoding="utf-8")


def card(folder: Path, config: TrainConfig, step: int | None = None) -> str:
    """The model card, with the results of the run's own evaluations. `step`: of the weights (default: the last)."""
    evaluations = read_evaluations(folder)
    rows = "\n".join(
        f"| {e['step']} | {_cell(e['judge'])} | {_cell(e['opponent'])} | {_percent(e['win_rate'])} "
        f"[{_percent(e['low'])}, {_percent(e['high'])}] | {_sentinel(e)} | {_percent(e['win_rate_both_formed'])} "
        f"| {_percent(e['format_adherence'])} | {e['n_pairs']} | {e['n_unjudged']} |"
        for e in judged_alone(evaluations)
    )
    step = config.num_train_iters if step is None else step
    trained = f"{config.num_train_iters}" if step == config.num_train_iters else f"{step} of {config.num_train_iters}"
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

Trained for {trained} iterations of {config.prompts_per_step} x {config.num_chains} completions. The
reward is the standing in a round-robin tournament judged by `{config.judge_model_name}`{beside}.

Win rates on {config.eval_prompts} held-out prompts, with 95% intervals over subjects:

| iteration | judge | opponent | win rate | sentinel | where both kept the form | format | pairs | unjudged |
|---|---|---|---|---|---|---|---|---|
{rows}
{_alarms(evaluations)}
A win rate is one judge's view. Ask another (`softgrpo evaluate --judge_model_name ...`) before you rely on it.

The model expects the task's chat: the system text and `{config.shots_for(config.model_name)}` worked example(s) of that
task, {opened}.
"""


def _sentinel(e: Mapping[str, Any]) -> str:
    """What the sentinel saw beside the judge, where one looked on."""
    if not e.get("sentinel"):
        return "-"
    low, high = (_percent(e[f"sentinel_{name}"]) for name in ("low", "high"))
    return f"{_cell(e['sentinel'])}: {_percent(e['sentinel_win_rate'])} [{low}, {high}]"


def _alarms(evaluations: Sequence[dict[str, Any]]) -> str:
    """Each alarm at its first time."""
    lines = [f"- iteration {step}: {_cell(alarm)}" for step, words in first_alarms(evaluations) for alarm in words]
    head = ["", "Alarms: read this model's texts before you rely on a win rate.", "", *lines, ""]
    return "\n".join(head) if lines else ""


def _cell(text: str) -> str:
    """A name or words as text of one line and one cell, whatever is in them.

    >>> _cell("<b>a|b</b>\\n[x](y)")
    '&lt;b&gt;a\\\\|b&lt;/b&gt; \\\\[x](y)'
    """
    return re.sub(r"([|\[`*\\])", r"\\\1", " ".join(html.escape(text, quote=False).split()))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}%"
