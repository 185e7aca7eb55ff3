"""Choices by name, whose classes are imported when they are used: `--help` names them all and imports none."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any


class Registry(Mapping[str, Any]):
    """Names and where what they mean is written, `module:name`.

    >>> registry = Registry("shape", {"round": "math:tau", "straight": "math:pi"})
    >>> list(registry), round(registry["straight"], 2)
    (['round', 'straight'], 3.14)
    >>> registry["square"]
    Traceback (most recent call last):
    ValueError: unknown shape 'square'; choose from round, straight
    """

    def __init__(self, kind: str, places: Mapping[str, str]) -> None:
        """`kind` is what an error calls them."""
        self.kind = kind
        self._places = dict(places)

    def check(self, name: str) -> None:
        """Raise `ValueError` for an unknown name, importing nothing."""
        if name not in self._places:
            raise ValueError(f"unknown {self.kind} {name!r}; choose from {', '.join(self)}")

    def __getitem__(self, name: str) -> Any:
        self.check(name)
        module, _, attribute = self._places[name].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places
