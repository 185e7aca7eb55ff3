"""What a failed attempt methods: try again, do without a parameter, give this call up, or stop. Pure.

Both SDKs raise an error with a status and a body, or none where no answer came; services word their bodies
differently, so that a few codes and phrases are told apart here and nowhere else.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from softgrpo.errors import UserError


class APIStop(UserError):
    """No further call can succeed: the key is refused, the quota is used up, the model is unknown."""

    replies: Sequence[Any] = ()
    """what had been answered until then, in the order of the calls; None where nothing was"""
    completions: Sequence[Sequence[Any]] = ()
    """the same of a model that wrote texts: a row for each chat, `failed` where nothing was"""


class BudgetReached(APIStop):
    """The next call may cost more than is left of the budget."""


class UnreadableReply(Exception):
    """An answer came that is not of the protocol: truncated JSON, a gateway's page, no choices."""


class Meaning(Enum):
    """What to do after a failed attempt."""

    AGAIN = "again"
    """may pass: a rate limit, an overloaded server, a lost connection, no answer in time"""
    REFUSED_PARAMETER = "refused parameter"
    GIVE_UP = "give up"
    """this call cannot succeed, others may: too long, filtered"""
    BAD_KEY = "bad key"
    NO_QUOTA = "no quota"
    NO_MODEL = "no model"


STOPS = (Meaning.BAD_KEY, Meaning.NO_QUOTA, Meaning.NO_MODEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failed attempt."""

    meaning: Meaning
    message: str
    """the server's words or ours; may echo a key and is cleaned before anyone sees it"""
    status: int = 0
    """0 when no answer came"""
    wait: float | None = None
    """seconds that the server asks to wait"""
    parameters: tuple[str, ...] = ()
    """sent parameters that the server refuses by name, of those that can be left out or renamed"""
    unbilled: bool = False
    """the server said no, or was never reached: nobody pays for the attempt"""


FAULTS = (UnreadableReply, json.JSONDecodeError, UnicodeDecodeError, TimeoutError, asyncio.TimeoutError)
"""a service's faults, beside the two kinds that its SDK raises; any other error is a mistake of ours"""
RATE_LIMITED, OVERLOADED = 429, 529
"""what asks for fewer calls; a plain 500 does not"""


def read_failure(error: Exception, negotiable: Iterable[str]) -> Failure:
    """What one of the `FAULTS`, or an SDK's status or connection error, means.

    `negotiable` are the parameters that were sent and that the call can do without, or under another name.
    """
    answer: Any = error
    if (status := getattr(answer, "status_code", None)) is not None:
        body = answer.body
        meaning, parameters = read_status(status, body, negotiable)
        return Failure(
            meaning=meaning,
            message=f"{status} {'; '.join(_texts(body)) or 'without a message'}",
            status=status,
            wait=retry_after(answer.response.headers, time.time()),
            parameters=parameters,
            unbilled=True,
        )
    unreached = type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout")
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)) or type(error).__name__ == "APITimeoutError":
        message = "no answer in time"
    elif isinstance(error, FAULTS):
        message = f"unreadable answer: {error}"
    else:
        message = f"no connection: {error.__cause__ or error}".rstrip(": ")
    return Failure(meaning=Meaning.AGAIN, message=message, unbilled=unreached)


def read_status(status: int, body: Any, negotiable: Iterable[str] = ()) -> tuple[Meaning, tuple[str, ...]]:
    """What a status and its body mean, and which parameters are refused.

    >>> [read_status(429, {"code": code})[0].name for code in ("rate_limit_exceeded", "insufficient_quota")]
    ['AGAIN', 'NO_QUOTA']
    >>> read_status(400, {"error": {"message": "`temperature` is deprecated for this model"}}, ["seed", "temperature"])
    (<Meaning.REFUSED_PARAMETER: 'refused parameter'>, ('temperature',))
    """
    codes, message = " ".join(_codes(body)), " ".join(_texts(body))
    if status == 402 or (status < 500 and re.search(QUOTA_CODES, codes)) or re.search(QUOTA_WORDS, message):
        return Meaning.NO_QUOTA, ()
    if status == 403 and re.search(r"flagged|moderation", f"{codes} {message}"):
        return Meaning.GIVE_UP, ()
    if status in (401, 403) or (status == 400 and re.search(KEY_WORDS, f"{codes} {message}")):
        return Meaning.BAD_KEY, ()
    if status == 404 or (status == 400 and re.search(MODEL_WORDS, f"{codes} {message}")):
        return Meaning.NO_MODEL, ()
    if status in (408, 409, 425, 429) or (status >= 500 and status != 501):
        return Meaning.AGAIN, ()
    if status in (400, 422) and (names := refused_parameters(body, negotiable)):
        return Meaning.REFUSED_PARAMETER, names
    return Meaning.GIVE_UP, ()


QUOTA_CODES = r"insufficient_(quota|credit|balance|funds)|billing|spend_limit|payment_required"
QUOTA_WORDS = r"(?i)credit balance is too low"
KEY_WORDS = r"(?i)api[ _]key[ _](not[ _]valid|invalid)|invalid[ _]api[ _]key"
MODEL_WORDS = r"(?i)model_not_found|invalid_model|not a valid model"
REFUSAL_WORDS = (
    r"(?i)support|unknown|unrecogni[sz]ed|not permitted|not allowed|forbidden|deprecat|unexpected|not enabled"
    r"|not available|extra|cannot|only|invalid|less than|greater than|range|at most|maximum|must"
)


def refused_parameters(body: Any, negotiable: Iterable[str]) -> tuple[str, ...]:
    """Which of these parameters a 400 or 422 names.

    >>> body = {"param": "max_tokens", "message": "'max_tokens' is not supported. Use 'max_completion_tokens' instead."}
    >>> refused_parameters(body, ["max_tokens", "temperature"])
    ('max_tokens',)
    >>> refused_parameters({"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"]}]}, ["seed", "temperature"])
    ('seed',)
    """
    named = _find(body, "param")
    if isinstance(named, str) and named:
        return tuple(name for name in negotiable if name == re.split(r"[.\[]", named)[0])
    words = " ".join([*_codes(body), *_texts(body)])[:500]  # the beginning: bodies may quote the request after it
    if not re.search(REFUSAL_WORDS, words):
        return ()
    return tuple(name for name in negotiable if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", words))


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that a server asks to wait, from `Retry-After` (seconds or a date) or `retry-after-ms`.

    >>> retry_after({"retry-after": "2"}, 0.0), retry_after({"retry-after-ms": "250"}, 0.0), retry_after({}, 0.0)
    (2.0, 0.25, None)
    >>> retry_after({"retry-after": "Thu, 01 Jan 1970 00:00:30 GMT"}, 10.0)
    20.0
    """
    for key, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            return max(0.0, float(headers[key]) / unit)
        except (KeyError, ValueError):
            pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - now)
    except (TypeError, ValueError):
        return None


def _find(body: Any, key: str) -> Any:
    for part in body if isinstance(body, list) else [body]:
        if isinstance(part, Mapping):
            if key in part:
                return part[key]
            if (found := _find(part.get("error"), key)) is not None:
                return found
    return None


def _codes(body: Any) -> Iterator[str]:
    yield from _strings(body, ("code", "type", "error_code", "status", "reason", "loc"))


def _texts(body: Any) -> Iterator[str]:
    if isinstance(body, str):
        yield body
    yield from _strings(body, ("message", "msg", "detail", "error"))


def _strings(body: Any, keys: tuple[str, ...]) -> Iterator[str]:
    """Strings under these keys at any depth, without what a body quotes from the request."""
    if isinstance(body, (list, tuple)):
        for part in body:
            yield from _strings(part, keys)
    elif isinstance(body, Mapping):
        for key, value in body.items():
            if key in keys and isinstance(value, str):
                yield value
            elif key in keys and isinstance(value, list):
                yield from (part for part in value if isinstance(part, str))
            if key not in ("input", "ctx", "messages"):
                yield from _strings(value, keys)
