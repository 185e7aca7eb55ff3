"""What a policy learns from a judge that can be fooled: the same training against two judges, watched by texture.

    .venv/bin/python benchmarks/judge_hacking.py            # writes judge_hacking.json beside it

Against `embedded:likelihood` (is the motion likely after the text?) a policy learns to say the motion again. Against
the whole embedded judge it should not. Both runs share everything but the judge.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from quickstart import pairs_of, texture

from softgrpo.files import write_json
from softgrpo.reporting.recorder import environment, judged_alone, read_evaluations

HERE = Path(__file__).parent
ROOT = HERE.parent
JUDGES = ("embedded:likelihood", "embedded")
SETTINGS = {
    "num_train_iters": 36,
    "eval_iterations": 12,
    "eval_prompts": 48,
    "learning_rate": 6e-5,
    "kl_weight_beta": 0.0,
    "reasoning_weight": 0.0,
    "save_steps": 1000,
}


def train(judge: str, folder: Path) -> list[dict[str, Any]]:
    """One run, resumed if it was begun; what each of its evaluations says and what its texts are like."""
    flags = [f"--{name}={value}" for name, value in SETTINGS.items()]
    command = [sys.executable, str(ROOT / "main.py"), "--config", str(ROOT / "configs" / "demo.yaml"), *flags]
    subprocess.run([*command, "--judge_model_name", judge, "--output_dir", str(folder), "--resume"], check=True)
    other = next(name for name in JUDGES if name != judge)
    again = "import sys; from softgrpo.cli import main; sys.exit(main())"
    evaluate = [sys.executable, "-c", again, "evaluate", "--run", str(folder), "--judge_model_name", other]
    subprocess.run(evaluate, check=True, cwd=ROOT)
    return [_one(folder, e) for e in judged_alone(read_evaluations(folder))]


def _one(folder: Path, found: dict[str, Any]) -> dict[str, Any]:
    keys = ("step", "judge", "win_rate", "low", "high", "win_rate_both_formed", "format_adherence", "n_pairs")
    lines = pairs_of(folder, found)
    return {key: found[key] for key in keys} | texture(lines) | {"first_texts": [line["ours"] for line in lines[:3]]}


def as_markdown(record: dict[str, Any]) -> str:
    """The table of docs/embedded_judge.md."""
    rows = [
        "| trained against | iteration | win rate by that judge | by the other | words from the motion | distinct-2 |",
        "|---|---|---|---|---|---|",
    ]
    for judge, evaluations in record["runs"].items():
        others = {e["step"]: e for e in evaluations if e["judge"] != judge}
        for e in evaluations:
            if e["judge"] == judge:
                other = others.get(e["step"])
                rows.append(
                    f"| `{judge}` | {e['step']} | {e['win_rate']:.0%} [{e['low']:.0%}, {e['high']:.0%}] | "
                    f"{'' if other is None else format(other['win_rate'], '.0%')} | {e['copied_from_motion']:.0%} | "
                    f"{e['distinct_2']:.2f} |"
                )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "output" / "judge_hacking")
    output = parser.parse_args().output
    runs = {judge: train(judge, output / judge.replace(":", "_")) for judge in JUDGES}
    command = ".venv/bin/python benchmarks/judge_hacking.py"
    write_json(
        HERE / "judge_hacking.json",
        {"command": command, "environment": environment(), "settings": SETTINGS, "runs": runs},
    )
    print(as_markdown({"runs": runs}))


if __name__ == "__main__":
    main()
