"""What an object of the Responses API says. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from softgrpo.errors import UserError

SAID = {"output_text": "text", "refusal": "refusal"}
"""parts of a message that the reader sees, and the field of each; a refusal is for the judge to weigh"""


def output_text(given: dict[str, Any], i: int) -> str:
    """The text of its messages, without the reasoning and the calls of tools; nothing where it has no output.

    Raises `UserError` naming response i where it has another form: its text, taken for empty, would lose every match.

    >>> parts = [{"type": "output_text", "text": "No: "}, {"type": "refusal", "refusal": "I won't."}]
    >>> thought = {"type": "reasoning", "summary": [{"text": "Hm."}]}
    >>> output_text({"output": [thought, {"type": "message", "content": parts}]}, 0), output_text({}, 0)
    ("No: I won't.", '')
    >>> output_text({"output": "Yes."}, 3)
    Traceback (most recent call last):
    softgrpo.errors.UserError: response_objs.3: its output is no list; send an object of the Responses API
    """
    messages = (item for item in _objects(given.get("output"), i, "output") if item.get("type") == "message")
    return "".join(text for message in messages for text in _texts(message.get("content"), i))


def _texts(content: Any, i: int) -> Iterator[str]:
    if isinstance(content, str):  # the short form of a message
        yield content
        return
    for part in _objects(content, i, "content of a message"):
        if (name := SAID.get(str(part.get("type")))) is not None:
            text = part.get(name)
            if not isinstance(text, str):
                raise _wrong(i, f"{name} of a part", "text")
            yield text


def _objects(found: Any, i: int, what: str) -> list[dict[str, Any]]:
    """Of a field that may be absent, or null."""
    if found is None:
        return []
    if not isinstance(found, list):
        raise _wrong(i, what, "list")
    if not all(isinstance(one, dict) for one in found):
        raise _wrong(i, what, "list of objects")
    return found


def _wrong(i: int, what: str, wanted: str) -> UserError:
    return UserError(f"response_objs.{i}: its {what} is no {wanted}; send an object of the Responses API")
