"""How much memory does an update take beside weights, gradients and optimizer? `python benchmarks/learning_memory.py`.

Writes `learning_memory.json` beside itself. This project and TRL each compute the gradient of one batch (8
completions of 96 tokens behind a prompt of 185) with bfloat16 weights, each in a process of its own. The figure is the
peak of resident memory while the gradient is computed, less what was resident once weights, gradients and optimizer
were there; the peak is reset before (Linux). TRL's attention is the kernel that needs the least memory.
"""

from __future__ import annotations

import argparse
import gc
import json
from pathlib import Path
from typing import Any

import step_speed

OUTPUT = Path(__file__).with_suffix(".json")


def status(name: str) -> int:
    """Bytes, from the process's own status."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024


def peak_of(work: Any) -> int:
    """Bytes above what is resident now; the work is done once before, so that gradients and buffers are there."""
    work()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    work()
    return status("VmHWM") - before


def worker(side: str, args: argparse.Namespace) -> int:
    """Bytes of one side."""
    import step_sides
    import torch

    tokenizer = step_sides.model().tokenizer
    asked = step_sides.chats(tokenizer, args.length, args.prompts)
    group, tokens = args.group, args.tokens
    if side == "ours":
        ours = step_sides.Ours(dtype="bfloat16")
        training_groups = ours.training_groups(ours.groups(asked, group=group, tokens=tokens, seed=0))
        return peak_of(lambda: ours.learner.gradients(training_groups))
    trainer = step_sides.trl_trainer(side, asked, group=group, tokens=tokens, max_steps=1)
    batch = step_sides.trl_batch(trainer, *step_sides.made_up(tokenizer, asked, group=group, tokens=tokens))
    for p in trainer.model.parameters():
        p.grad = torch.zeros_like(p)
    return peak_of(lambda: trainer.compute_loss(trainer.model, batch).backward())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    step_speed.add_common(parser)
    parser.set_defaults(prompts=1)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps({"bytes": worker(args.worker, args)}))
        return
    sides = ["ours", "trl_bf16"]
    found: dict[str, list[int]] = {side: [] for side in sides}
    for _ in range(args.rounds):
        for side in sides:
            command = [step_speed.python_of(side, args), __file__, "--worker", side, *step_speed.passed_on(args)]
            found[side].append(step_speed.answer(command)["bytes"])
    ratios = [a / b for a, b in zip(found["ours"], found["trl_bf16"], strict=True)]
    record = {
        "megabytes": {side: step_speed.spread([b / 1e6 for b in values]) for side, values in found.items()},
        "ours_over_trl": step_speed.spread(ratios),
        **step_speed.about(args, "learning_memory.py"),
    }
    OUTPUT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
