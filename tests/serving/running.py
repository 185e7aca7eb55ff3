"""A server for tests: an app on a real socket in a thread, or the command in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn

from softgrpo.serving import app_for

ROOT = Path(__file__).parents[2]
CODE = "import sys; from softgrpo.cli import run; sys.exit(run('serve', sys.argv[1:]))"


@contextlib.contextmanager
def serving(scorer: Any, **limits: Any) -> Iterator[str]:
    """The address of an app that serves this scorer."""
    app = app_for(scorer, **limits)
    config = uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=2, ws="none")
    server = uvicorn.Server(config)
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        await server.serve()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    while not server.started:
        time.sleep(0.01)
        assert thread.is_alive()
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        loops[0].call_soon_threadsafe(app.state.service.stop)
        server.should_exit = True
        thread.join(20)
        app.state.service.close()
        assert not thread.is_alive()


@contextlib.asynccontextmanager
async def client(url: str, **options: Any):
    """A function that posts JSON and gives status and answer."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(60), **options) as session:

        async def post(path: str, body: Any = None, **fields: Any) -> tuple[int, Any]:
            async with session.post(url + path, json=fields if body is None else body) as response:
                return response.status, await response.json()

        post.session = session  # type: ignore[attr-defined]
        yield post


class Process:
    """`softgrpo serve` in a process of its own; `with` kills it."""

    def __init__(self, folder: Path, *flags: str, **env: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CODE, "--port", "0", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)} | env,
        )
        assert self.process.stdout
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if found := re.search(r"at (http://\S+) \(docs", line):
                self.url = found[1]
                return
        raise AssertionError(f"{self.said}{self.process.communicate()}")

    def end(self, number: int) -> tuple[int, str]:
        """Send a signal; the exit status and all that was said."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=40)
        return self.process.returncode, self.said + out + err

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
