"""What surrounds a run while it goes on: its signals, its clock, its console. Nothing of it is saved."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from softgrpo.reporting.console import Console
from softgrpo.training.interrupts import Interrupts

RECENT = 20
"""steps from which the time that is left is told"""


class Session:
    """One process's work on a run. Inside `with session`, Ctrl-C and SIGTERM raise KeyboardInterrupt."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.times: dict[str, float] = defaultdict(float)
        """seconds of the present step, by what they were spent on"""
        self.durations: list[float] = []
        """of the steps that were recorded"""
        self._interrupts = Interrupts()
        self._begun = self._step_begun = time.monotonic()
        self._said: set[str] = set()

    def __enter__(self) -> Session:
        self._interrupts.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._interrupts.__exit__(*error)

    def uninterrupted(self) -> AbstractContextManager[None]:
        """What is inside ends before an interrupt is raised: an update, a file."""
        return self._interrupts.held()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Its seconds count under that name."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.times[name] += time.monotonic() - started

    def begin_step(self) -> None:
        """The clock of a step starts; saving after the last one's record counts in this one."""
        self._step_begun = time.monotonic()
        self.times = defaultdict(float, save=self.times["save"])

    def step_seconds(self) -> float:
        """Since the step began."""
        self.times["elapsed"] = time.monotonic() - self._begun
        return time.monotonic() - self._step_begun

    def end_step(self, seconds: float) -> None:
        """A step is recorded, with the saving in it: what is saved from now on is the next one's."""
        self.durations.append(seconds)
        self.times.pop("save", None)

    def seconds_left(self, steps: int) -> float:
        """For so many steps at the pace of the last ones."""
        recent = self.durations[-RECENT:]
        return steps * sum(recent) / len(recent) if recent else float("nan")

    def say(self, text: str) -> None:
        """One line that stays."""
        self.console.say(text)

    def say_once(self, key: str, text: str) -> None:
        """The same, the first time only."""
        if key not in self._said:
            self._said.add(key)
            self.console.say(text)
