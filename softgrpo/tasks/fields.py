"""The fields of a YAML document, each of the type it must have. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any

from softgrpo.errors import UserError
from softgrpo.tasks.rows import Row, nearest, show

MEANT = ("id", "split", "reasoning", "answer")
"""names in a prompt or an example that mean something already"""


@dataclass(frozen=True, slots=True)
class Template:
    """A text with `{fields}`."""

    text: str
    fields: tuple[str, ...]

    def __call__(self, values: Mapping[str, str]) -> str:
        return self.text.format_map(values)


def template(value: Any, where: str) -> Template:
    """A text with fields in braces."""
    said = text(value, where)
    try:
        parts = list(Formatter().parse(said))
    except ValueError as error:
        raise UserError(f"{where}: {show(said)}: {error}; write {{name}}, and {{{{ for a brace") from None
    names = []
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if not re.fullmatch(r"[^\W\d]\w*", name) or spec or conversion:
            raise UserError(f"{where}: {show(said)}: {show(name)} is no field; write {{name}}, and {{{{ for a brace")
        if name in MEANT:
            raise UserError(f"{where}: a field cannot be called {name!r}, which means something already; rename it")
        names.append(name)
    return Template(said, tuple(dict.fromkeys(names)))


def mapping(value: Any, known: Sequence[str], where: str, *, needed: Sequence[str] = ()) -> Row:
    """Lines of `field: value` with known names, the needed ones among them."""
    if not isinstance(value, dict):
        raise UserError(f"{where}: {show(value)}: write lines of `field: value`, the fields being {', '.join(known)}")
    for name in value:
        if name not in known:
            raise UserError(f"{where}: unknown field {show(name)}; {nearest(str(name), known)}")
    for name in needed:
        if name not in value:
            raise UserError(f"{where}: field {name!r} is missing; see docs/tasks.md")
    return value


def items(value: Any, where: str) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise UserError(f"{where}: {show(value)}: write a list, a line with a dash for each")
    return value


def text(value: Any, where: str) -> str:
    """A text that is not empty."""
    if not isinstance(value, str):
        raise UserError(f"{where}: {show(value)} is no text; write one")
    if not value.strip():
        raise UserError(f"{where}: is empty; write something there, or leave the line out")
    return value.strip()


def number(value: Any, where: str) -> float:
    """A finite number."""
    try:
        found = float(text(value, where))
    except ValueError:
        raise UserError(f"{where}: {show(value)} is no number; write one such as 0.5") from None
    if found != found or abs(found) == float("inf"):
        raise UserError(f"{where}: {show(value)}: must be a finite number")
    return found


def flag(value: Any, where: str) -> bool:
    """Yes or no."""
    said = text(value, where).lower()
    if said not in ("true", "yes", "false", "no"):
        raise UserError(f"{where}: {show(value)}: choose from true, false")
    return said in ("true", "yes")
