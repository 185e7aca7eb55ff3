"""What a training step costs beside busy processes, by how threads wait for each other and how many there are.

    .venv/bin/python benchmarks/competing_threads.py            # writes competing_threads.json beside it

A thread that waits by spinning holds a core that whoever it waits for may need. Every way has a process of its own,
which takes a step of the packaged model (sampling and learning) when it is told to; all take theirs in turn, alone and
beside processes that count without end. A slow-down is a median over that way's own median alone, and beside it stands
what sharing the cores explains: with t threads and k other processes on c cores, equal shares leave c t / (t + k) of
the min(t, c) cores that the step has alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]

from softgrpo.files import write_json  # noqa: E402
from softgrpo.reporting.recorder import environment  # noqa: E402

OUTPUT = HERE / "competing_threads.json"
COUNTS = "while True: pass"
SETTLED = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def ways(cores: int) -> dict[str, dict[str, str]]:
    """By name: the environment of a process. The first is what torch does by itself."""
    some, one = {"OMP_NUM_THREADS": str(cores)}, {"OMP_NUM_THREADS": "1"}
    return {
        f"spin, {cores} threads": some,
        f"spin briefly, {cores} threads": some | {"GOMP_SPINCOUNT": "3000"},
        f"sleep, {cores} threads": some | {"OMP_WAIT_POLICY": "PASSIVE"},
        "sleep, 1 thread": one | {"OMP_WAIT_POLICY": "PASSIVE"},
    }


def shared(threads: int, cores: int, busy: int) -> float:
    """The slow-down that equal shares explain."""
    alone = min(threads, cores)
    return alone / min(alone, cores * threads / (threads + busy))


def work(options: argparse.Namespace) -> None:
    """In a process of one way: a line in is a step, its seconds are the line out."""
    from step_sides import Ours, chats

    ours = Ours()
    asked = chats(ours.policy.tokenizer, options.prompt, options.prompts)

    def step() -> float:
        (times,) = ours.steps(asked, group=options.group, tokens=options.tokens, warm=0, n=1)
        return times["step"]

    step()  # fills caches
    print("ready", flush=True)
    while sys.stdin.readline():
        print(step(), flush=True)


class Method:
    """A process that takes steps when it is told to."""

    def __init__(self, given: dict[str, str], arguments: list[str]) -> None:
        clean = {k: v for k, v in os.environ.items() if k not in SETTLED}
        self.process: Any = subprocess.Popen(
            [sys.executable, __file__, "--work", *arguments],
            env=clean | given,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.process.stdout.readline()

    def step(self) -> float:
        """Seconds."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def measured(options: argparse.Namespace, cores: int) -> dict[str, dict[int, list[float]]]:
    """Seconds of each step, by way and number of busy processes."""
    shape = [f"--{n}={getattr(options, n)}" for n in ("prompts", "group", "prompt", "tokens")]
    running = {name: Method(given, shape) for name, given in ways(cores).items()}
    seconds: dict[str, dict[int, list[float]]] = {name: {k: [] for k in options.busy} for name in running}
    for _ in range(options.rounds):
        for k in options.busy:
            busy = [subprocess.Popen([sys.executable, "-c", COUNTS]) for _ in range(k)]
            time.sleep(0.2)
            try:
                for name, way in running.items():
                    seconds[name][k].append(way.step())
            finally:
                for process in busy:
                    process.kill()
                    process.wait()
    for way in running.values():
        way.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", type=int, nargs="*", default=[0, 1, 3])
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=100, help="tokens of a prompt")
    parser.add_argument("--tokens", type=int, default=32, help="tokens of a completion")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options)
        return
    cores = len(os.sched_getaffinity(0))
    found = []
    for name, by_busy in measured(options, cores).items():
        threads = int(ways(cores)[name]["OMP_NUM_THREADS"])
        alone = statistics.median(by_busy[0])
        for busy, seconds in by_busy.items():
            line = {
                "way": name,
                "busy": busy,
                "seconds": statistics.median(seconds),
                "least": min(seconds),
                "most": max(seconds),
                "slowdown": statistics.median(seconds) / alone,
                "explained": shared(threads, cores, busy),
            }
            found.append(line)
            print({k: round(v, 2) if isinstance(v, float) else v for k, v in line.items()}, flush=True)
    asked = {k: v for k, v in vars(options).items() if k != "work"}
    about = {"command": "python benchmarks/competing_threads.py", "asked": asked, "environment": environment()}
    write_json(OUTPUT, {"steps": found, **about})


if __name__ == "__main__":
    main()
