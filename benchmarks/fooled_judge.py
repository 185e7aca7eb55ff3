"""The counter-experiment: the first edition's judge as the training judge, and what the run says of it.

python benchmarks/fooled_judge.py

`configs/demo.yaml` with `embedded:first` instead of `embedded`, for longer and on more prompts an evaluation, so that
intervals are narrow. Writes `fooled_judge.json`, `docs/figures/fooled_judge.png` and the part of docs/drift.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from softgrpo.files import write_json, write_text
from softgrpo.reporting.recorder import first_alarms, judged_alone, read_evaluations
from softgrpo.reporting.report import samples

HERE = Path(__file__).parent
ROOT = HERE.parent
PAGE = ROOT / "docs" / "drift.md"
BEGIN, END = "<!-- fooled_judge: begin -->", "<!-- fooled_judge: end -->"
FLAGS = {
    "judge_model_name": "embedded:first",
    "sentinel_judge": "embedded:sentinel",
    "num_train_iters": 32,
    "eval_iterations": 8,
    "eval_prompts": 96,
    "save_steps": 8,
}
SHOWN = 4
"""answers on the page"""


def record(run: Path) -> dict[str, Any]:
    evaluations = judged_alone(read_evaluations(run))
    return {
        "command": "python benchmarks/fooled_judge.py",
        "environment": json.loads((run / "environment.json").read_text(encoding="utf-8")),
        "args": json.loads((run / "args.json").read_text(encoding="utf-8")),
        "evaluations": evaluations,
        "alarms": first_alarms(evaluations),
        "samples": samples(run, evaluations),
    }


def as_markdown(found: dict[str, Any]) -> str:
    """The part of docs/drift.md."""
    rows = "\n".join(
        f"| {e['step']} | {_rate(e)} | {_rate(e, 'sentinel_')} | {e['side_accuracy']:.0%} | {e['common_opening']:.0%} "
        f"| {e['self_bleu']:.2f} | {e['mean_words']:.0f} |"
        for e in found["evaluations"]
    )
    said = "\n".join(f"- iteration {step}: {'; '.join(alarms)}" for step, alarms in found["alarms"]) or "None was said."
    texts = "\n".join(f"- {_answer(s['after']['ours'])}" for s in found["samples"][:SHOWN])
    last, environment = found["evaluations"][-1], found["environment"]
    return f"""{BEGIN}
| iteration | win rate by `{last["judge"]}` | by `{last["sentinel"]}` | on its side | begin alike | self-BLEU | words |
|---|---|---|---|---|---|---|
{rows}

Alarms:

{said}

The first answers of the last evaluation:

{texts}

{last["n_prompts"]} held-out prompts; {environment["processor"]}, {environment["cpu_count"]} cores.
{END}"""


def _rate(e: dict[str, Any], whose: str = "") -> str:
    return f"{e[f'{whose}win_rate']:.0%} [{100 * e[f'{whose}low']:.0f}, {100 * e[f'{whose}high']:.0f}]"


def _answer(reply: str) -> str:
    from softgrpo.rewards.format import section

    return " ".join((section(reply, "answer") or "(no answer)").split()).replace("|", "/").replace("`", "'")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=ROOT / "output" / "fooled_judge")
    run = parser.parse_args().run
    flags = [word for name, value in FLAGS.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, str(ROOT / "main.py"), "--config", str(ROOT / "configs" / "demo.yaml"), *flags]
    subprocess.run([*command, "--output_dir", str(run), "--resume"], check=True, cwd=ROOT)
    found = record(run)
    write_json(HERE / "fooled_judge.json", found)
    figures = ROOT / "docs" / "figures"
    shutil.copyfile(run / "figures" / "win_rate.png", figures / "fooled_judge.png")
    text = PAGE.read_text(encoding="utf-8")
    start, end = text.index(BEGIN), text.index(END) + len(END)
    write_text(PAGE, text[:start] + as_markdown(found) + text[end:])


if __name__ == "__main__":
    main()
