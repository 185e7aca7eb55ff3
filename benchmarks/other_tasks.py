"""Comedy and recipes on the embedded default: a few minutes each, recorded with their intervals.

.venv/bin/python benchmarks/other_tasks.py      # writes other_tasks.json, docs/other_tasks.md and their figures
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from softgrpo.evaluation.head_to_head import path_of
from softgrpo.files import read_lines, write_json, write_text
from softgrpo.reporting.recorder import judged_alone, read_evaluations

HERE = Path(__file__).parent
ROOT = HERE.parent
TASKS = ("comedy", "recipes")
SETTINGS = {"num_train_iters": 14, "eval_iterations": 7, "eval_prompts": 40, "save_steps": 1000}


def train(task: str, folder: Path) -> dict[str, Any]:
    """One run with the quickstart's settings but for those above; what it recorded."""
    flags = [f"--{name}={value}" for name, value in SETTINGS.items()]
    config = ROOT / "configs" / "demo.yaml"
    command = [sys.executable, str(ROOT / "main.py"), "--config", str(config), "--dataset_name", task, *flags]
    subprocess.run([*command, "--output_dir", str(folder), "--resume"], check=True)
    figures = ROOT / "docs" / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "figures" / "win_rate.png", figures / f"{task}_win_rate.png")
    evaluations = judged_alone(read_evaluations(folder))
    path = path_of(folder / "evaluations", evaluations[-1]["step"], evaluations[-1]["judge"])
    last = read_lines(path.with_name(f"{path.stem}.pairs.jsonl"))
    return {
        "environment": json.loads((folder / "environment.json").read_text()),
        "evaluations": evaluations,
        "seconds": read_lines(folder / "metrics.jsonl")[-1]["time_elapsed"],
        "last_texts": [{"question": line["question"], "text": line["ours"]} for line in last[:3]],
    }


def as_markdown(found: dict[str, Any]) -> str:
    """The page of the docs."""
    parts = [
        "# Comedy and recipes on the embedded default",
        "The quickstart's settings with fewer iterations, written by `benchmarks/other_tasks.py` from\n"
        "`benchmarks/other_tasks.json`. The embedded judge knows these tasks by aboutness and guards alone (see\n"
        "[embedded_judge.md](embedded_judge.md)): the runs show that the tasks train, not that the jokes are good.",
    ]
    for task, run in found["runs"].items():
        rows = "\n".join(
            f"| {e['step']} | {_share(e, 'win_rate', 'low', 'high')} "
            f"| {_share(e, 'win_rate_both_formed', 'both_formed_low', 'both_formed_high')} "
            f"| {100 * e['format_adherence']:.0f}% | {e['n_pairs']} | {e['n_forfeits']} | {e['n_unjudged']} |"
            for e in run["evaluations"]
        )
        machine = f"{run['environment']['processor']}, {run['environment']['cpu_count']} cores"
        texts = "\n\n".join(
            f"{' '.join(s['question'].split())}\n\n```text\n{s['text'].replace('```', '').strip()}\n```"
            for s in run["last_texts"]
        )
        parts.append(
            f"## {task}\n\n![win rate over training](figures/{task}_win_rate.png)\n\n"
            "| iteration | win rate [95%] | where both kept the form [95%] | format | pairs | by forfeit | unjudged |\n"
            f"|---|---|---|---|---|---|---|\n{rows}\n\n"
            f"{run['seconds'] / 60:.1f} minutes on {machine}. The first held-out answers afterwards:\n\n{texts}"
        )
    return "\n\n".join(parts) + "\n"


def _share(e: dict[str, Any], mean: str, low: str, high: str) -> str:
    return "-" if e[mean] is None else f"{100 * e[mean]:.0f}% [{100 * e[low]:.0f}, {100 * e[high]:.0f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "output")
    output = parser.parse_args().output
    found = {
        "command": ".venv/bin/python benchmarks/other_tasks.py",
        "settings": SETTINGS,
        "runs": {task: train(task, output / task) for task in TASKS},
    }
    write_json(HERE / "other_tasks.json", found)
    write_text(ROOT / "docs" / "other_tasks.md", as_markdown(json.loads((HERE / "other_tasks.json").read_text())))


if __name__ == "__main__":
    main()
