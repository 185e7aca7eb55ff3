"""Attention of our own inside any model of `transformers` that lets its attention be named.

`H` heads, `K` heads of keys and values, `R` = H / K queries per key, `T` tokens, `D` width of a head.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from transformers import AttentionInterface


def register(name: str, function: Callable[..., Any]) -> None:
    """Make `function` known to `transformers`; without a mask function of the same name no mask is built."""
    AttentionInterface.register(name, function)


@contextlib.contextmanager
def attending(module: Any, name: str) -> Iterator[None]:
    """The model attends by the function registered under `name`."""
    config = module.get_decoder().config
    before = config._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before


def refuse(other: dict[str, Any]) -> None:
    """Raise TypeError for what changes attention and is not built in here; the caller falls back to the plain way."""
    for name in ("softcap", "s_aux", "sliding_window", "position_bias"):
        if other.get(name) is not None:
            raise TypeError(f"attention with {name} is not built in")
