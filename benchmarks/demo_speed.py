"""Is the quickstart as fast as it was? `python benchmarks/demo_speed.py --before CHECKOUT`.

Writes `demo_speed.json` beside itself: the first iterations of `configs/demo.yaml`, one evaluation before them and one
after, by this state of the project and by another, in turn and each in a process of its own; seconds as `metrics.jsonl`
has them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from step_speed import ROOT, about, spread

OUTPUT = Path(__file__).with_suffix(".json")
PARTS = ("sample", "judge", "learn", "step")


def run(checkout: Path, iterations: int, prompts: int) -> dict[str, Any]:
    """One short run: seconds of its steps by part, and of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        flags = {
            "config": checkout / "configs" / "demo.yaml",
            "output_dir": out,
            "num_train_iters": iterations,
            "eval_iterations": iterations,
            "eval_prompts": prompts,
        }
        words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        began = time.monotonic()
        env = os.environ | {"PYTHONPATH": str(checkout)}
        subprocess.run([sys.executable, str(checkout / "main.py"), *words], check=True, cwd=checkout, env=env)
        whole = time.monotonic() - began
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {"whole": whole, "steps": [{part: line.get(f"time_{part}", 0.0) for part in PARTS} for line in lines]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="a checkout of another state")
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--prompts", type=int, default=8, help="of an evaluation")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    args.threads, args.worker, args.trl_python = 0, None, sys.executable
    sides = {"before": args.before.resolve(), "now": ROOT}
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for _ in range(args.rounds):
        for side, checkout in sides.items():
            found[side].append(run(checkout, args.iterations, args.prompts))
            print(side, round(found[side][-1]["whole"], 1), flush=True)
    # a step of learning comes once in some iterations: their sums are compared
    seconds = {
        side: {part: spread([sum(s[part] for s in r["steps"]) for r in runs]) for part in PARTS}
        | {"whole": spread([r["whole"] for r in runs])}
        for side, runs in found.items()
    }
    pairs = list(zip(found["before"], found["now"], strict=True))
    record = {
        "seconds_of_all_steps": seconds,
        "times_as_fast_as_before": spread([b["whole"] / n["whole"] for b, n in pairs]),
        **about(args, "demo_speed.py", trl=False),
    }
    OUTPUT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
