"""A client of `softgrpo serve` that sends one sample until it is answered, however long server or judge are away."""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
import weakref
from typing import Any
from urllib.parse import urlsplit

from softgrpo.errors import UserError

TOKEN = "SOFTGRPO_SERVE_TOKEN"
HELD_S = 60.0  # seconds that one request is held; then the same is sent again
LONGEST_S = 15.0  # between two attempts
LONGEST_DEADLINE_S = 86400.0  # that the server takes
AGAIN = (502, 503, 504)  # the server, or what stands before it, is not there for the moment
_sessions: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = weakref.WeakKeyDictionary()


async def ask(base: str, body: dict[str, Any], *, token: str | None, patience: float) -> dict[str, Any]:
    """The answer to a member of a cohort. The same request again and again: the server knows it.

    A group that its judge failed as a whole is asked for until the patience ends, and only then has no reward: a judge
    that is away holds a training up, and does not feed it zeros. Raises `UserError` for what the server refuses.
    """
    import aiohttp

    url = f"{base.rstrip('/')}/v1/cohort"
    until, pause, unjudged = time.monotonic() + patience, 0.5, None
    timeout = aiohttp.ClientTimeout(total=HELD_S + 60)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    while True:
        try:
            async with session().post(url, json=body | {"wait_s": HELD_S}, headers=headers, timeout=timeout) as answer:
                status, found = answer.status, _object(await answer.read())
        except aiohttp.InvalidURL:
            raise UserError(_no_url(base)) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            status, found = 503, {"detail": f"no answer: {type(error).__name__}"}
        is_over = time.monotonic() > until
        if status == 200 and not {"reward", "neutral_reward", "reward_parts"} <= found.keys():
            raise UserError(f"{url} answers 200 without a reward: that is another server; give url= of softgrpo serve")
        if status == 200 and not found.get("again"):
            return found
        if status == 200:
            unjudged = found
        if is_over and unjudged and status in (200, 202):
            return unjudged
        if status not in (200, 202, *AGAIN):
            raise UserError(f"{url} answers {status}: {found.get('detail', 'no word of why; is it softgrpo serve?')}")
        if is_over:
            raise UserError(f"{url} has given no reward within {patience:g} s (the last: {found}); see its log")
        if status != 202:  # then it waits, and has a place
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_S)


def session() -> Any:
    """One for each event loop, with as many connections as there are samples: those that wait hold back none."""
    import aiohttp

    loop = asyncio.get_running_loop()
    if (found := _sessions.get(loop)) is None or found.closed:
        found = _sessions[loop] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    return found


def check_url(given: Any) -> None:
    """Raises `UserError` for what is no http(s) URL with a host.

    >>> check_url("localhost:8009")
    Traceback (most recent call last):
    softgrpo.errors.UserError: url 'localhost:8009' is no http:// or https:// URL; give one, as http://127.0.0.1:8009
    """
    try:
        parts = urlsplit(given if isinstance(given, str) else "")
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise UserError(_no_url(given))


def whole(name: str, given: Any, *, least: int) -> int:
    """A whole number of at least that, which may come as text. Raises `UserError`.

    >>> whole("size", "8", least=2)
    8
    """
    number = _number(given)
    if not number.is_integer() or number < least:
        raise UserError(f"{name} {given!r} is no whole number of at least {least}; give one")
    return int(number)


def seconds(name: str, given: Any) -> float:
    """A number of seconds, which may come as text. Raises `UserError`."""
    number = _number(given)
    if not 0 < number <= LONGEST_DEADLINE_S:
        raise UserError(f"{name} {given!r} is no number of seconds up to {LONGEST_DEADLINE_S:g}; give one above 0")
    return number


def token_of(name: str = TOKEN) -> str | None:
    """The token in the environment, without the white space around it; None where there is none.

    Raises `UserError`, which does not show it, for what no header can bear.
    """
    token = os.environ.get(name, "").strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise UserError(f"{name}: holds what is no printable ASCII, or a space; set it to letters, digits and signs")
    return token or None


def _no_url(given: Any) -> str:
    return f"url {given!r} is no http:// or https:// URL; give one, as http://127.0.0.1:8009"


def _number(given: Any) -> float:
    """NaN for what is none."""
    try:
        number = math.nan if isinstance(given, bool) else float(given)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _object(body: bytes) -> dict[str, Any]:
    """Nothing, where the body is no JSON object."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
