"""An event loop in a thread of its own, so that a synchronous call can have many requests in flight.

It also serves callers that run a loop already (a notebook), keeps connections open from one call to the next, and
leaves the main thread free to be interrupted. What may block has a thread beside it: a loop that stands still lets
requests time out that a service has answered, and bills.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor, wait
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


class WriterThread:
    """A thread beside the loop for what may block, such as writing to a file that another process holds.

    It does one thing at a time, in the order in which they were given. What was given is done even when whoever waits
    for it is cancelled, and before the process ends; only after an error the rest is left undone.
    """

    def __init__(self) -> None:
        # not the loop's own pool, in which a host's name is looked up: that must not wait behind this
        self._thread = ThreadPoolExecutor(1, "softgrpo-aside")
        self._failed = False

    async def do(self, work: Callable[..., None], *given: Any) -> None:
        """Wait until it is done; raises what it raises."""
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, self._do, work, *given))

    def close(self) -> None:
        """Nothing more will be given; what was, is still done."""
        self._thread.shutdown(wait=False)

    def _do(self, work: Callable[..., None], *given: Any) -> None:
        if self._failed:
            return
        try:
            work(*given)
        except BaseException:
            self._failed = True
            raise


def _stop(loop: asyncio.AbstractEventLoop, pid: int) -> None:
    if pid == os.getpid():
        loop.call_soon_threadsafe(loop.stop)
