"""A local HTTP server with scripted faults: what the fake OpenAI and Anthropic servers share.

It listens on a real socket, so that the real SDKs can be tested with everything under them.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with one request."""

    kind: str
    """`status`, `hang`, `drop`, `cut`, `truncate`, `page`, `empty`, `other`"""
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str = ""
    message: str = "scripted fault"
    seconds: float = 0.0


def status(number: int, code: str = "", message: str = "scripted fault", **headers: str) -> Fault:
    """An error status; `retry_after="2"` becomes the header `Retry-After: 2`."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return Fault(kind="status", status=number, code=code, message=message, headers=named)


def hang(seconds: float = 30.0) -> Fault:
    """No answer for so long."""
    return Fault(kind="hang", seconds=seconds)


DROP = Fault(kind="drop")  # the connection is reset without a word
CUT = Fault(kind="cut")  # the body ends before its Content-Length
TRUNCATE = Fault(kind="truncate")  # a complete HTTP answer whose JSON is cut off
PAGE = Fault(kind="page")  # a gateway's HTML page under status 200
EMPTY = Fault(kind="empty")  # a reply without text
OTHER = Fault(kind="other", message="Both have their merits.")  # a reply that says something else


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request as it arrived."""

    at: float
    """on the monotonic clock"""
    method: str
    path: str
    headers: Mapping[str, str]
    """names in lower case"""
    body: Any
    fault: Fault | None


class Refusal(Exception):
    """An error answer in the protocol's own words."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None, **headers: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param, self.headers = status, code, message, param, headers


class FakeServer:
    """Answers on a free port of this machine until it is closed; `with` closes it.

    `faults` are taken by the requests for a reply as they arrive, one each; None lets a request pass. `fault_for`
    decides by the request instead. `seen` is every request, `peak` the most that were under way at once.
    """

    prefix: ClassVar[str] = ""

    def __init__(
        self,
        *,
        key: str = "sk-right-key-0123456789",
        models: Iterable[str] | Mapping[str, Mapping[str, Any]] = (),
        answer: Callable[[list[dict[str, Any]]], str] | str = "Yes.",
        refuses: Iterable[str] = (),
        faults: Iterable[Fault | None] = (),
        fault_for: Callable[[Seen], Fault | None] | None = None,
        delay: float = 0.0,
        lists_models: bool = True,
    ) -> None:
        self.key, self.answer, self.delay, self.lists_models = key, answer, delay, lists_models
        self.models = dict(models) if isinstance(models, Mapping) else {name: {} for name in models}
        self.refuses = set(refuses)
        self.faults = deque(faults)
        self.fault_for = fault_for
        self.seen: list[Seen] = []
        self.peak = self._under_way = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._http = _Listener(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}{self.prefix}"

    @property
    def replies_asked(self) -> list[Seen]:
        """The requests for a reply, without those for the list of models."""
        return [seen for seen in self.seen if seen.method == "POST"]

    def close(self) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What a protocol says.

    def respond(self, seen: Seen) -> Any:
        """The JSON of an answer, or a `Refusal`."""
        raise NotImplementedError

    def error(self, refusal: Refusal) -> Any:
        """The JSON of an error."""
        raise NotImplementedError

    def with_text(self, payload: Any, text: str) -> Any:
        """The same answer with another text, and nothing weighed."""
        raise NotImplementedError

    # The socket.

    def arrived(self, method: str, path: str, headers: Mapping[str, str], body: Any) -> Seen:
        with self._lock:
            self._under_way += 1
            self.peak = max(self.peak, self._under_way)
            seen = Seen(at=time.monotonic(), method=method, path=path, headers=headers, body=body, fault=None)
            if method == "POST":
                fault = self.faults.popleft() if self.faults else self.fault_for and self.fault_for(seen)
                seen = Seen(at=seen.at, method=method, path=path, headers=headers, body=body, fault=fault or None)
            self.seen.append(seen)
            return seen

    def left(self) -> None:
        with self._lock:
            self._under_way -= 1

    def wait(self, seconds: float) -> None:
        self._closing.wait(seconds)

    def text_for(self, messages: list[dict[str, Any]]) -> str:
        return self.answer if isinstance(self.answer, str) else self.answer(messages)


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error here."""


class _Handler(BaseHTTPRequestHandler):
    owner: FakeServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._handle(None)

    def do_POST(self) -> None:
        self._handle(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _handle(self, body: Any) -> None:
        headers = {key.lower(): value for key, value in self.headers.items()}
        seen = self.owner.arrived(self.command, self.path, headers, body)
        try:
            self._answer(seen)
        finally:
            self.owner.left()

    def _answer(self, seen: Seen) -> None:
        fault = seen.fault
        if self.owner.delay:
            self.owner.wait(self.owner.delay)
        if fault is not None and fault.kind == "hang":
            self.owner.wait(fault.seconds)
        if fault is not None and fault.kind == "drop":
            # a reset instead of an orderly end
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        try:
            if fault is not None and fault.kind == "status":
                raise Refusal(fault.status, fault.code, fault.message, **fault.headers)
            payload = self.owner.respond(seen)
        except Refusal as refusal:
            self._send(refusal.status, json.dumps(self.owner.error(refusal)).encode(), refusal.headers)
            return
        if fault is not None and fault.kind == "empty":
            payload = self.owner.with_text(payload, "")
        if fault is not None and fault.kind == "other":
            payload = self.owner.with_text(payload, fault.message)
        text = json.dumps(payload).encode()
        if fault is not None and fault.kind == "truncate":
            text = text[: len(text) // 2]
        if fault is not None and fault.kind == "page":
            self._send(200, b"<html>Bad gateway</html>", {}, kind="text/html")
        elif fault is not None and fault.kind == "cut":
            self._send(200, text[: len(text) // 2], {}, length=len(text))
            self.close_connection = True
        else:
            self._send(200, text, {})

    def _send(
        self,
        code: int,
        body: bytes,
        headers: Mapping[str, str],
        *,
        length: int | None = None,
        kind: str = "application/json",
    ) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""
