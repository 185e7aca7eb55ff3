"""What a trained policy writes becomes negatives of the judge's next edition.

python benchmarks/embedded_judge_holes.py --run output/demo --label "quickstart, second edition"
python benchmarks/train_argument_reader.py --data DIR --part judge             # and --without 0, 1, 2, 3
python benchmarks/fit_embedded_judge.py --data DIR --readers DIR
python benchmarks/embedded_judge.py --data DIR --readers DIR

A policy that was trained against the judge has found what the judge likes and people do not write. Its final weights
answer here on the motions on which people's arguments are known, so that the judge can learn the difference: without a
name of the policy, `base` is what the untrained model writes. `embedded_judge_answers.jsonl` grows by what it writes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from argument_reader_data import ANSWERS, load_motions
from train_embedded_judge import answers

PARTS = ("judge", "check")
"""the sentinel learns nothing of policies, and its motions test the judge"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="a finished run's folder (default: the untrained embedded model)")
    parser.add_argument("--label", default="base", help="what the policy is called in the file")
    parser.add_argument("--each", type=int, default=2, help="answers to each motion and side")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=ANSWERS, help="file to add to")
    args = parser.parse_args()
    from softgrpo.model_interface import load_local

    model: Any = load_local(str(args.run / "final") if args.run else "embedded", device=args.device)
    keys = [(name, side) for name, m in sorted(load_motions().items()) if m.part in PARTS for side in ("PRO", "CON")]
    found = answers(model, keys, n=args.each, seed=args.seed)
    with args.output.open("a", encoding="utf8") as file:
        for motion, side, text in found:
            file.write(json.dumps({"motion": motion, "side": side, "text": text, "by": args.label}) + "\n")
    print(f"{len(found)} answers of {len(keys) * args.each} added to {args.output.name}")


if __name__ == "__main__":
    main()
