"""An app on a port until a signal comes: what waits is answered, what is judged is kept, and then it ends."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from softgrpo.errors import UserError

GOODBYE = 5
"""seconds that connections have to take their last answers"""
KEPT_OPEN = 75
"""seconds that an idle connection stays: longer than clients keep theirs, so that none is closed as it is used again"""
LAST = 20.0
"""seconds that judgements under way have to end, which are paid for already"""


class Server(uvicorn.Server):
    """One that leaves signals to us, and says when it listens."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """They are caught in `serve`, whose exit status they decide."""
        yield


def serve(app: Any, sock: socket.socket, *, listening: Callable[[], None]) -> tuple[int, bool]:
    """Serve until SIGTERM or SIGINT. The signal that ended it, and whether nothing is left under way."""
    return asyncio.run(_serve(app, sock, listening))


async def _serve(app: Any, sock: socket.socket, listening: Callable[[], None]) -> tuple[int, bool]:
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GOODBYE,
        timeout_keep_alive=KEPT_OPEN,
        ws="none",
    )
    server, service, came = Server(config, listening), app.state.service, [0]

    def stop(number: int) -> None:
        server.force_exit = server.should_exit  # a second one waits for nobody
        came[0] = came[0] or number
        service.stop()
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    await server.serve(sockets=[sock])
    is_done = await service.cohorts.drain(0.0 if server.force_exit else LAST)
    return came[0], is_done and not service.abandoned


def bound(host: str, port: int, *, has_token: bool) -> socket.socket:
    """A socket at an address, where nobody is heard yet.

    Raises `UserError` where it cannot be had, or where anybody could reach it.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise UserError(f"--host {host}: is no address of this machine ({error.strerror}); give 127.0.0.1") from None
    if not has_token and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise UserError(
            f"--host {host}: others could reach it, and spend your budget; set SOFTGRPO_SERVE_TOKEN in the environment "
            "to a secret that every request must bear, or listen at 127.0.0.1"
        )
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        why = error.strerror or type(error).__name__
        raise UserError(f"--host {host} --port {port}: cannot listen there ({why}); give another port, or 0") from None
    return sock


def url(host: str, sock: socket.socket) -> str:
    """Where it can be reached.

    >>> with bound("127.0.0.1", 0, has_token=False) as sock:
    ...     url("127.0.0.1", sock) == f"http://127.0.0.1:{sock.getsockname()[1]}"
    True
    """
    return f"http://{f'[{host}]' if ':' in host else host}:{sock.getsockname()[1]}"
