"""How a body is read: JSON without its loopholes, and errors in one line that repeat nothing of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

MOST = 3
"""faults that one answer names"""
TAGS = ("str", "int", "float", "constrained-str", "constrained-float")
"""what pydantic adds to a place where several types are allowed"""


class Body(Request):
    """A request whose JSON holds no NaN, and no half characters."""

    async def json(self) -> Any:
        """Raises `json.JSONDecodeError`."""
        body = await self.body()
        try:
            value = json.loads(body, parse_constant=_no_number)
            if b"\\ud" in body.lower():  # half a character can only be written so
                value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
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


def _no_number(name: str) -> float:
    raise json.JSONDecodeError("NaN and Infinity are no numbers", "", 0)
