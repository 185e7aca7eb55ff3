"""Who may come in, and with how much: an ASGI layer before everything else, which also counts what goes out."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from softgrpo.serving.failing import answer_to, log
from softgrpo.serving.limits import Limits

OPEN = ("/healthz",)
"""paths that need no token"""
BODY_SECONDS = 60.0
"""within which a body must have come"""
DRAINED = 4
"""times the limit that is read and thrown away of a body too large, so that its sender gets to read why"""
LOOPBACK = ("localhost", "127.0.0.1", "::1")

Headers = dict[bytes, bytes]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Refused(Exception):
    """Not let in: a status, and why."""

    def __init__(self, status: int, detail: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


class Door:
    """Checks the token, takes the body in whole, answers what nothing else has answered, and counts."""

    def __init__(
        self,
        app: Any,
        *,
        limits: Limits,
        token: str | None,
        paths: Collection[str],
        count: Callable[[str, int], None],
    ) -> None:
        """`count(path, status)`: the path is one of `paths`, or `other`, since a caller may ask for any."""
        self.app, self.limits, self.count = app, limits, count
        self._paths = paths
        self._token = token.encode() if token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, path = 0, scope["path"].removeprefix(scope.get("root_path", ""))

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            headers: Headers = dict(scope["headers"])
            self._check(path, headers)
            body = await self._body(headers, receive)
            await self.app(scope, _again(body, receive), sending)
        except Refused as refused:
            await _answer(sending, refused.status, refused.detail, *refused.headers)
        except Exception as error:
            number, detail = answer_to(error)
            if number == 500:
                log(error)
            if not status:
                await _answer(sending, number, detail)
        finally:
            self.count(path if path in self._paths else "other", status)

    def _check(self, path: str, headers: Headers) -> None:
        if path in OPEN:
            return
        if self._token is None:
            origin = headers.get(b"origin")
            if origin and not _is_here(origin.decode("latin-1")):
                raise Refused(403, "a page of another site asks; give the server a token, and send that")
        elif not hmac.compare_digest(headers.get(b"authorization", b""), b"Bearer " + self._token):
            wanted = (b"www-authenticate", b"Bearer")
            raise Refused(401, "send the server's token as Authorization: Bearer TOKEN", wanted)

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        most, parts, size = self.limits.max_body, [], 0
        too_large = Refused(
            413,
            f"the body has more than {self.limits.max_body_mb:g} MB; send less, or serve with a higher --max_body_mb",
        )
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > (most if b"expect" in headers else DRAINED * most):
            raise too_large
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refused(400, "the body ended too early")
                    part = message.get("body", b"")
                    size += len(part)
                    if size <= most:
                        parts.append(part)
                    if size > DRAINED * most or (size > most and not message.get("more_body")):
                        raise too_large
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            raise Refused(408, f"the body did not come within {BODY_SECONDS:g} s; send it at once") from None


def _is_here(origin: str) -> bool:
    """A page of this machine's own.

    >>> _is_here("http://localhost:3000"), _is_here("https://elsewhere.example"), _is_here("http://[::1")
    (True, False, False)
    """
    try:
        return urlsplit(origin).hostname in LOOPBACK
    except ValueError:
        return False


def _again(body: bytes, receive: Receive) -> Receive:
    """The whole body as one message, and after it what comes."""
    given = False

    async def receiving() -> MutableMapping[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving


async def _answer(send: Send, status: int, detail: str, *headers: tuple[bytes, bytes]) -> None:
    body = json.dumps({"detail": detail}).encode()
    own = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": own})
    await send({"type": "http.response.body", "body": body})
