"""An event loop in a thread of its own, so that a synchronous call can have many requests in flight.

It also serves callers that run a loop already (a notebook), keeps connections open from one call to the next, and
leaves the main thread free to be interrupted.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import wait
from typing import Any, TypeVar

Result = TypeVar("Result")

_lock = threading.Lock()
_current: tuple[int, asyncio.AbstractEventLoop] | None = None  # the process it was made in, and the loop


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """What the coroutine returns or raises; an interrupt (Ctrl-C) cancels it and is raised at once.

    >>> run(asyncio.sleep(0, "done"))
    'done'
    """
    future = asyncio.run_coroutine_threadsafe(coroutine, event_loop())
    try:
        while not wait([future], timeout=0.5).done:  # in slices: a lock alone cannot be interrupted everywhere
            pass
        return future.result()
    except BaseException:
        future.cancel()
        raise


def event_loop() -> asyncio.AbstractEventLoop:
    """The running loop of this process; a forked process gets its own."""
    global _current
    with _lock:
        if _current is None or _current[0] != os.getpid():
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="softgrpo-requests", daemon=True).start()
            atexit.register(_stop, loop, os.getpid())
            _current = (os.getpid(), loop)
        return _current[1]


def _stop(loop: asyncio.AbstractEventLoop, pid: int) -> None:
    if pid == os.getpid():
        loop.call_soon_threadsafe(loop.stop)
