"""Ctrl-C and SIGTERM raise KeyboardInterrupt, but never in the middle of an update or of a file."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


class Interrupts:
    """Install with `with Interrupts() as interrupts`, guard with `with interrupts.held()`."""

    def __init__(self) -> None:
        self._held = 0
        self._pending = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._arrived)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """What is inside ends before an interrupt is raised."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            if self._pending and not self._held:
                self._pending = False
                raise KeyboardInterrupt

    def _arrived(self, *_: object) -> None:
        if self._held:
            self._pending = True
        else:
            raise KeyboardInterrupt
