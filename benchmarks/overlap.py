"""Does a slow judge hide? A step with a judge behind a service that takes two seconds, on-policy and one step ahead.

    .venv/bin/python benchmarks/overlap.py            # writes overlap.json beside it

The judge is a local server with the OpenAI protocol: two seconds a call, 64 calls at a time. 2 prompts x 16 completions
of the embedded model, a random regular tournament of 48 matches for each group. The share is the median step over the
longer of judging and of sampling with learning, both as that run measured them. Beside it TRL's `GRPOTrainer` in its
faster setting with the same prompts, group and length, whose reward function holds the same tournaments by `rank()`,
both groups at once (`--trl_python` names an interpreter that has TRL).
"""

from __future__ import annotations

import argparse
import json
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
TRL_SIDE = "trl_bf16"
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


def trl_worker(tokens: int, steps: int) -> list[dict[str, float]]:
    """Seconds of TRL's steps after the warm-up: from one end of a step to the next, and of the judge within."""
    import time
    from concurrent.futures import ThreadPoolExecutor

    import step_sides
    from transformers import TrainerCallback

    from softgrpo import rank
    from softgrpo.config import TrainConfig
    from softgrpo.judges.by_name import load_judge
    from softgrpo.model_interface import ModelPool
    from softgrpo.rewards.format import section
    from softgrpo.tasks import load_task

    task, shots = load_task("debate"), TrainConfig(model_name="embedded").shots_for("embedded")
    prompts = [task.prompt(question, num_shots=shots) for question in task.train[:2]]
    judge = load_judge("gpt-4o", models=ModelPool(max_concurrency=AT_ONCE))
    judging, out = 0.0, []

    def reward(completions: list[Any], **_: Any) -> list[float]:
        nonlocal judging
        began = time.monotonic()
        texts = [c[0]["content"] for c in completions]
        groups = [texts[i : i + 16] for i in range(0, len(texts), 16)]
        with ThreadPoolExecutor(2) as pool:
            held = pool.map(lambda texts: rank("Why?", _shown(texts), judge, judge_calls=48).scores, groups)
            scores = [float(s) for found in held for s in found]
        judging += time.monotonic() - began
        return scores

    def _shown(texts: list[str]) -> list[str]:
        return [section(text, "answer") or f"unformed {i}: {text}" for i, text in enumerate(texts)]

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.last, self.judged = time.monotonic(), 0.0

        def on_step_end(self, *_: Any, **__: Any) -> None:
            now = time.monotonic()
            out.append({"step": now - self.last, "judge": judging - self.judged})
            self.last, self.judged = now, judging

    asked = [[dict(m) for m in p.messages] for p in prompts]
    trainer = step_sides.trl_trainer(TRL_SIDE, asked, group=16, tokens=tokens, max_steps=steps, reward=reward, least=0)
    trainer.add_callback(Clock())
    trainer.train()
    return out[WARM_UP:-1]


def trl_run(server: FakeOpenAI, python: str, tokens: int, steps: int) -> dict[str, Any]:
    """The same step by TRL."""
    command = [python, __file__, "--worker", "--tokens", str(tokens), "--steps", str(steps)]
    env = os.environ | {"OPENAI_API_KEY": server.key, "OPENAI_BASE_URL": server.url, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(command, check=True, env=env, stdout=subprocess.PIPE, text=True)
    lines = json.loads(done.stdout.strip().splitlines()[-1])
    times = {name: [line[name] for line in lines] for name in ("step", "judge")}
    times["sample_and_learn"] = [s - j for s, j in zip(times["step"], times["judge"], strict=True)]
    return {
        "side": TRL_SIDE,
        "median_seconds": {name: statistics.median(values) for name, values in times.items()},
        "seconds": times,
        "step_over_bound": statistics.median(
            s / max(j, s - j) for s, j in zip(times["step"], times["judge"], strict=True)
        ),
        "most_calls_at_once": server.peak,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl_python", default="", help="an interpreter that imports trl; without it TRL is left out")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--steps", type=int, default=9)
    asked = parser.parse_args()
    if asked.worker:
        print(json.dumps(trl_worker(asked.tokens, asked.steps)))
        return
    options = settings(asked.model, asked.tokens)
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name, staleness in (("on_policy", 0), ("one_ahead", 1)):
            with FakeOpenAI(answer=answer, delay=LATENCY) as server:
                folder = Path(temporary) / name
                found[name] = run(server, folder, asked.steps, options | {"max_staleness": staleness})
    if asked.trl_python:
        with FakeOpenAI(answer=answer, delay=LATENCY) as server:
            trl = trl_run(server, asked.trl_python, asked.tokens, asked.steps)
    record = {
        "command": f"python benchmarks/overlap.py --tokens {asked.tokens} --steps {asked.steps}",
        "environment": environment(),
        "latency_seconds": LATENCY,
        "settings": options,
        "runs": found,
        "trl": trl if asked.trl_python else None,
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
