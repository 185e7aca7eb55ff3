"""What does HTTP cost? Groups a second, and the time that one takes, of `softgrpo serve` beside the `Scorer` itself.

    .venv/bin/python benchmarks/serving_rate.py       # writes serving_rate.json beside it

Groups of 16 texts of about 400 characters, every pair in both orders, under two judges: a function that takes
microseconds, and one that takes 50 ms for a group's 240 matches together. Three ways: `Scorer.score_async` in this
process; `/v1/score`, a whole group a request; `/v1/cohort`, a request for each sample. The server is a process of its
own with a file of cohorts. One group at a time tells the latency, 32 at once the rate; the ways take turns, and each
figure is the median of the rounds with the least and the most.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

import aiohttp  # noqa: E402
from fault_injection import processor  # noqa: E402

from softgrpo import Scorer  # noqa: E402
from softgrpo.files import write_json  # noqa: E402
from softgrpo.judges.callable import CallableJudge  # noqa: E402

SIZE, CHARS, AT_ONCE = 16, 400, 32
WAYS = {"direct": "`Scorer.score_async`", "score": "`/v1/score`", "cohort": "`/v1/cohort`"}
JUDGES = {"instant": 0.0, "50 ms": 0.05}
CRITERIA = "The better text says more."
Ask = Callable[[int], Awaitable[Any]]


class Waiting(CallableJudge):
    """The longer text wins, after a while for each group."""

    def __init__(self, seconds: float) -> None:
        super().__init__(lambda prompt, first, second: 0.9 if len(first) > len(second) else 0.1)
        self.seconds = seconds

    def judge(self, contests: Any) -> Any:
        if self.seconds:
            time.sleep(self.seconds)
        return super().judge(contests)


def scorer(judge: str) -> Scorer:
    return Scorer(criteria=CRITERIA, judge=Waiting(JUDGES[judge]))


def texts(group: int) -> list[str]:
    return [f"{group}/{i} " + "word " * (CHARS // 5 + i) for i in range(SIZE)]


def serve(judge: str, cohorts: str) -> None:
    """This script as the server: prints its address."""
    import uvicorn

    from softgrpo.serving import app_for
    from softgrpo.serving.server import Server, bound, url

    sock = bound("127.0.0.1", 0, has_token=False)
    app = app_for(scorer(judge), cohorts=cohorts)
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_keep_alive=75, ws="none")
    at = url("127.0.0.1", sock)
    asyncio.run(Server(config, lambda: print(at, flush=True)).serve(sockets=[sock]))


def ways(session: aiohttp.ClientSession, url: str, direct: Scorer) -> dict[str, Ask]:
    """How one group is asked for."""

    async def post(path: str, **body: Any) -> Any:
        async with session.post(url + path, json=body) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def by_cohort(i: int) -> Any:
        told = {"cohort": f"c{i}", "size": SIZE, "prompt": f"Question {i}?"}
        each = [post("/v1/cohort", member=k, completion=text, **told) for k, text in enumerate(texts(i))]
        return await asyncio.gather(*each)

    return {
        "direct": lambda i: direct.score_async(f"Question {i}?", texts(i)),
        "score": lambda i: post("/v1/score", prompt=f"Question {i}?", completions=texts(i)),
        "cohort": by_cohort,
    }


async def one_after_the_other(ask: Ask, numbers: range) -> float:
    """Milliseconds of a group, the median."""
    found = []
    for i in numbers:
        began = time.perf_counter()
        await ask(i)
        found.append(1000 * (time.perf_counter() - began))
    return statistics.median(found)


async def many_at_once(ask: Ask, numbers: range) -> float:
    """Groups a second."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(i: int) -> None:
        async with free:
            await ask(i)

    began = time.perf_counter()
    await asyncio.gather(*map(one, numbers))
    return len(numbers) / (time.perf_counter() - began)


async def measured(judge: str, url: str, rounds: int, groups: int) -> dict[str, Any]:
    """Each way's figures of every round."""
    milliseconds: dict[str, list[float]] = {way: [] for way in WAYS}
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        asking, done = ways(session, url, scorer(judge)), 0
        for round_ in range(rounds + 1):  # the first fills the caches
            for way, ask in asking.items():
                one = await one_after_the_other(ask, range(done, done + groups // 4))
                many = await many_at_once(ask, range(done + groups, done + 2 * groups))
                done += 2 * groups
                if round_:
                    milliseconds[way].append(one)
                    rates[way].append(many)
    added = {
        way: [a - b for a, b in zip(milliseconds[way], milliseconds["direct"], strict=True)]
        for way in WAYS
        if way != "direct"
    }
    return {
        "milliseconds": {way: spread(values) for way, values in milliseconds.items()},
        "added_milliseconds": {way: spread(values) for way, values in added.items()},
        "groups_per_second": {way: spread(values) for way, values in rates.items()},
    }


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def as_markdown(found: dict[str, Any]) -> str:
    """The table of docs/serving.md."""
    ranged = lambda v: f"{v['median']:.0f} [{v['min']:.0f}, {v['max']:.0f}]"  # noqa: E731
    lines = [
        "| judge | way | a group, ms | more than direct, ms | groups a second, 32 at once |",
        "|---|---|---|---|---|",
    ]
    for judge, of in found["judges"].items():
        for way, words in WAYS.items():
            more = ranged(of["added_milliseconds"][way]) if way in of["added_milliseconds"] else ""
            one, many = ranged(of["milliseconds"][way]), ranged(of["groups_per_second"][way])
            lines.append(f"| {judge} | {words} | {one} | {more} | {many} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", nargs=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--groups", type=int, default=96)
    options = parser.parse_args()
    if options.serve:
        serve(*options.serve)
        return
    judges = {}
    for judge in JUDGES:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--serve", judge, f"{folder}/cohorts.sqlite"]
            server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert server.stdout
            url = server.stdout.readline().strip()
            judges[judge] = asyncio.run(measured(judge, url, options.rounds, options.groups))
            server.kill()
            server.wait()
    record = {
        "command": "python benchmarks/serving_rate.py",
        "size": SIZE,
        "characters": CHARS,
        "at_once": AT_ONCE,
        "rounds": options.rounds,
        "groups": options.groups,
        "judges": judges,
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
    }
    write_json(Path(__file__).with_suffix(".json"), record)
    print(json.dumps(judges, indent=1))
    print(as_markdown(record))


if __name__ == "__main__":
    main()
