"""How a body is read: JSON without its loopholes, and errors in one line that repeat nothing of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

MOST = 3
"""faults that one answer names"""
TAGS = ("str", "int", "float", "constrained-str", "constrained-int", "constrained-float")
"""what pydantic adds to a place where several types are allowed"""

NAMES = ("cohort", "member")
"""fields in which half a character is left for the schema to refuse: replaced, two names would be one"""


class Body(Request):
    """A request whose JSON holds no NaN, and no half characters in its texts."""

    async def json(self) -> Any:
        """Raises `json.JSONDecodeError`."""
        body = await self.body()
        try:
            text = body.decode(
                "utf-8-sig"
            )  # given bytes, `json` would let through half characters that are not escaped
            value = json.loads(text, parse_constant=_no_number, parse_float=_finite)
            if b"\\ud" in body.lower():
                names = {n: value[n] for n in NAMES if n in value} if isinstance(value, dict) else {}
                value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
                if names:
                    value |= names
        except json.JSONDecodeError:
            raise
        except (ValueError, RecursionError) as error:  # no UTF-8, NaN, an endless number, a thousand brackets
            what = "nested too deeply" if isinstance(error, RecursionError) else "no JSON"
            raise json.JSONDecodeError(what, "", 0) from None
        return value


class Route(APIRoute):
    """Reads its body as a `Body`."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """The usual handler, given another request."""
        usual = super().get_route_handler()

        async def handler(request: Request) -> Any:
            return await usual(Body(request.scope, request.receive))

        return handler


def on_invalid(_: Request, error: Exception) -> JSONResponse:
    """Which field, and what is wrong with it."""
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    said = list(dict.fromkeys(fault_of(fault) for fault in faults))[:MOST]
    is_json = not any(fault["type"] == "json_invalid" for fault in faults)
    return JSONResponse({"detail": "; ".join(said)}, status_code=422 if is_json else 400)


def fault_of(fault: dict[str, Any]) -> str:
    """One of pydantic's in our words.

    >>> fault_of({"type": "missing", "loc": ("body", "size"), "msg": "Field required"})
    'size: Field required'
    """
    kind, place = fault["type"], [str(part) for part in fault["loc"][1:] if part not in TAGS]
    if kind == "json_invalid":
        return f"the body is no JSON ({fault['ctx']['error']}); send one object, in which every number is finite"
    if kind == "extra_forbidden":  # its name is the sender's
        return "the body has a field that is not known here; /docs names those that are"
    if not place:
        return "the body is no JSON object; send one, with Content-Type: application/json"
    return f"{'.'.join(place)}: {fault['msg']}"


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _no_number(digits)


def _no_number(name: str) -> float:
    raise json.JSONDecodeError("NaN and infinity are no numbers", "", 0)
