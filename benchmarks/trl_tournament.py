"""What a tournament costs a step of TRL: our adapter, and the reward functions that one would write by oneself.

    make test-hosts && .venv-hosts/bin/python benchmarks/trl_tournament.py      # writes trl_tournament.json beside it

The judge is a local server with the OpenAI protocol: two seconds a call, 64 calls at a time. 2 prompts x 8 completions
of a tiny model with random weights, so that a step is little else than judging. Three reward functions:

- `adapter`: `scorer.for_trl()`: every pair in both orders, 112 judgements a step;
- `loop`: every pair once, one call after the other, 56 a step: the function in most questions and answers;
- `threads`: the same 56 by a pool of 64 threads.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
os.environ.setdefault("ACCELERATE_USE_CPU", "true")

from softgrpo import Scorer  # noqa: E402
from softgrpo.files import write_json  # noqa: E402
from softgrpo.reporting.recorder import environment  # noqa: E402
from tests.conftest import build_tiny  # noqa: E402
from tests.fakes.chat_models import read  # noqa: E402
from tests.fakes.openai_server import FakeOpenAI  # noqa: E402

LATENCY, AT_ONCE, G, PROMPTS = 2.0, 64, 8, 2
CRITERIA = "The text with more different words."
STEPS = {"adapter": 6, "threads": 6, "loop": 3}
"""the first is not counted"""


def better(first: str, second: str) -> bool:
    return len(set(first.split())) >= len(set(second.split()))


def answer(messages: list[dict[str, str]]) -> str:
    """The server's judge, for our prompt and for the plain one."""
    if "compare two texts" in messages[0]["content"]:
        sheet = read(messages)  # type: ignore[arg-type]
        return sheet.answer(better(*sheet.texts))
    first, second = messages[-1]["content"].split("\n---\n")[1:3]
    return "A" if better(first, second) else "B"


def written_by_oneself(ask: Callable[[str], str], pool: ThreadPoolExecutor | None) -> Callable[..., list[float]]:
    """Every pair once, in the order in which they come; a point for the one that is named."""

    def reward(prompts: Sequence[str], completions: Sequence[str], **_: Any) -> list[float]:
        wins = [0.0] * len(completions)
        pairs = [(g + i, g + j) for g in range(0, len(wins), G) for i, j in itertools.combinations(range(G), 2)]
        asked = [f"{prompts[i]}\n---\n{completions[i]}\n---\n{completions[j]}\n---\nA or B?" for i, j in pairs]
        for (i, j), said in zip(pairs, pool.map(ask, asked) if pool else map(ask, asked), strict=True):
            wins[i if "A" in said else j] += 1 / (G - 1)
        return wins

    return reward


def timed(reward: Any, steps: int, folder: Path) -> list[float]:
    """Seconds of TRL's steps but the first."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.monotonic())

    args = GRPOConfig(
        output_dir=str(folder / "out"), use_cpu=True, bf16=False, per_device_train_batch_size=G * PROMPTS,
        num_generations=G, max_completion_length=16, max_steps=steps, report_to="none", save_strategy="no",
        learning_rate=1e-4, disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder / "tiny"),
        processing_class=AutoTokenizer.from_pretrained(folder / "tiny"),
        args=args,
        reward_funcs=reward,
        train_dataset=Dataset.from_list([{"prompt": f"w{i} w{i + 1}"} for i in range(40)] * 2),
        callbacks=[Clock()],
    )
    trainer.train()
    return [b - a for a, b in itertools.pairwise(ends)]


def side(name: str, folder: Path) -> dict[str, Any]:
    """One of the three, on a server of its own."""
    import openai

    with FakeOpenAI(answer=answer, delay=LATENCY) as server, ThreadPoolExecutor(AT_ONCE) as pool:
        os.environ |= {"OPENAI_API_KEY": server.key, "OPENAI_BASE_URL": server.url, "NO_PROXY": "127.0.0.1"}
        if name == "adapter":
            reward = Scorer(criteria=CRITERIA, judge="gpt-4o", max_concurrency=AT_ONCE).for_trl(num_generations=G)
        else:
            client = openai.OpenAI()

            def ask(text: str) -> str:
                chat: Any = [{"role": "user", "content": text}]
                reply = client.chat.completions.create(model="gpt-4o", messages=chat, max_tokens=5)
                return str(reply.choices[0].message.content)

            reward = written_by_oneself(ask, pool if name == "threads" else None)
        seconds = timed(reward, STEPS[name], folder)
        return {
            "median_seconds": statistics.median(seconds),
            "seconds": seconds,
            "calls_per_step": round((len(server.seen) - (name == "adapter")) / STEPS[name]),
            "most_calls_at_once": server.peak,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    from importlib.metadata import version

    with tempfile.TemporaryDirectory() as folder:
        build_tiny(Path(folder) / "tiny")
        found = {name: side(name, Path(folder)) for name in STEPS}
    record = {
        "command": "python benchmarks/trl_tournament.py",
        "environment": environment(),
        "trl": version("trl"),
        "latency_seconds": LATENCY,
        "slots": AT_ONCE,
        "group": G,
        "prompts_per_step": PROMPTS,
        "sides": found,
        "loop_over_adapter": found["loop"]["median_seconds"] / found["adapter"]["median_seconds"],
    }
    write_json(HERE / "trl_tournament.json", record)
    for name, one in found.items():
        print(f"{name:8} {one['median_seconds']:6.1f} s a step, {one['calls_per_step']} calls")


if __name__ == "__main__":
    main()
