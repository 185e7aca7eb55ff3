"""What is random while the policy learns: the dropout before its adapter, and nothing else.

A base's own dropout would make the policy another model than the one that sampled, and its own reference another than
itself. So the model learns in eval mode. Layers that compute their activations again only do so in train mode; they
alone are put into it, and what they would drop is nought meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def only_the_adapters(module: Any) -> Iterator[None]:
    """The adapter's `lora_dropout` drops, and layers with gradient checkpointing compute again; afterwards every mode
    and rate is what it was. The backward pass belongs inside: it may compute the forward pass again."""
    with contextlib.ExitStack() as undo:
        for name, part in module.named_modules():
            checkpoints = bool(getattr(part, "gradient_checkpointing", False))
            if checkpoints or "lora_dropout" in name.split("."):
                _set(undo, part, "training", True)
            if checkpoints:  # functions inside it read rates of its own, or of its configuration (OPT, Falcon)
                for owner in (part, getattr(part, "config", None)):
                    for rate in _rates(owner):
                        _set(undo, owner, rate, 0.0)
        yield


def _rates(owner: Any) -> list[str]:
    """The names of its shares that are dropped: of values, or of whole layers.

    >>> from types import SimpleNamespace
    >>> _rates(SimpleNamespace(dropout=0.1, layerdrop=0.2, attn_pdrop=0.0, scaling=0.5, dropped=3))
    ['dropout', 'layerdrop']
    """
    values = {} if owner is None else vars(owner)
    return [name for name, value in values.items() if "drop" in name and isinstance(value, float) and value]


def _set(undo: contextlib.ExitStack, owner: Any, name: str, value: Any) -> None:
    undo.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)
