"""Does a slow judge hide? A step with a judge behind a service that takes two seconds, on-policy and one step ahead.

    .venv/bin/python benchmarks/overlap.py            # writes overlap.json beside it

The judge is a local server with the OpenAI protocol: two seconds a call, 64 calls at a time. 2 prompts x 16 completions
of the embedded model, a random regular tournament of 48 matches for each group. The share is the median step over the
longer of judging and of sampling with learning, both as that run measured them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from softgrpo.files import read_lines, write_json  # noqa: E402
from softgrpo.reporting.recorder import environment  # noqa: E402
from tests.fakes.chat_models import read  # noqa: E402
from tests.fakes.openai_server import FakeOpenAI  # noqa: E402

LATENCY = 2.0
AT_ONCE = 64
WARM_UP = 2
"""steps that are not counted"""


def settings(model: str, tokens: int) -> dict[str, Any]:
    """A step as the claim means it."""
    return {
        "model_name": model,
        "judge_model_name": "gpt-4o",
        "compare_model_name": "gpt-4o",
        "num_chains": 16,
        "prompts_per_step": 2,
        "judge_calls_per_group": 48,
        "schedule": "random_regular",
        "canary_rate": 0.0,
        "max_completion_length": tokens,
        "kl_weight_beta": 0.0,
        "learning_rate": 1e-5,
        "gradient_accumulation_steps": 1,
        "eval_iterations": 1000,
        "eval_prompts": 1,
        "save_steps": 1000,
        "max_concurrency": AT_ONCE,
    }


def answer(messages: list[Mapping[str, str]]) -> str:
    """The judge prefers more different words; a player answers in form."""
    if "You compare two texts" not in messages[0]["content"]:
        return "<reasoning>\nWhy not.\n</reasoning>\n<answer>\nIt is so.\n</answer>"
    sheet = read(messages)  # type: ignore[arg-type]
    first, second = (len(set(text.split())) for text in sheet.texts)
    return sheet.answer(first > second)


def run(server: FakeOpenAI, folder: Path, steps: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """One run in a process of its own; its steps after the warm-up, the last one aside, which nothing follows."""
    flags = [f"--{name}={value}" for name, value in options.items()]
    command = [
        sys.executable,
        str(ROOT / "main.py"),
        *flags,
        "--output_dir",
        str(folder),
        "--num_train_iters",
        str(steps),
    ]
    env = os.environ | {"OPENAI_API_KEY": server.key, "OPENAI_BASE_URL": server.url, "NO_PROXY": "127.0.0.1"}
    subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL)
    lines = read_lines(folder / "metrics.jsonl")[WARM_UP:-1]
    times = {name: [line[f"time_{name}"] for line in lines] for name in ("step", "sample", "judge", "wait", "learn")}
    bound = [max(j, s + k) for j, s, k in zip(times["judge"], times["sample"], times["learn"], strict=True)]
    ratios = [step / b for step, b in zip(times["step"], bound, strict=True)]
    return {
        "median_seconds": {name: statistics.median(values) for name, values in times.items()},
        "seconds": times,
        "step_over_bound": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
        "unjudged": sum(line["n_unjudged"] for line in lines),
        "most_calls_at_once": server.peak,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--steps", type=int, default=9)
    asked = parser.parse_args()
    options = settings(asked.model, asked.tokens)
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name, staleness in (("on_policy", 0), ("one_ahead", 1)):
            with FakeOpenAI(answer=answer, delay=LATENCY) as server:
                folder = Path(temporary) / name
                found[name] = run(server, folder, asked.steps, options | {"max_staleness": staleness})
    record = {
        "command": " ".join([".venv/bin/python benchmarks/overlap.py", *sys.argv[1:]]),
        "environment": environment(),
        "latency_seconds": LATENCY,
        "settings": options,
        "runs": found,
        "one_ahead_over_on_policy": found["one_ahead"]["median_seconds"]["step"]
        / found["on_policy"]["median_seconds"]["step"],
    }
    write_json(HERE / "overlap.json", record)
    for name, result in found.items():
        median = result["median_seconds"]
        print(
            f"{name:10} step {median['step']:.1f} s: sampling {median['sample']:.1f}, judging {median['judge']:.1f}, "
            f"waiting for it {median['wait']:.1f}, learning {median['learn']:.1f}; "
            f"{result['step_over_bound']['median']:.2f} of the longer part"
        )


if __name__ == "__main__":
    main()
