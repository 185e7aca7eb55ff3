"""A judge by name."""

from __future__ import annotations

from typing import Any, Protocol

from softgrpo.errors import UserError
from softgrpo.judges import JUDGES
from softgrpo.judges.chat.keys import SECRET
from softgrpo.judges.embedded import PARTS
from softgrpo.model_interface import load_model
from softgrpo.models.names import EMBEDDED, parse
from softgrpo.records import Judge, Ledger

PROMPT = "prompt"
"""the part of the embedded model's name by which it is asked like any other local model"""


class Models(Protocol):
    """Whoever has models: each is loaded when it is asked for."""

    def get(self, name: str) -> Any:
        """The model of that name."""
        ...


def check_judge(name: str) -> None:
    """What can be said against a judge's name before anything is loaded."""
    model = parse(name)
    if model.provider == EMBEDDED and model.name not in (*PARTS, PROMPT):
        known = ", ".join(f"{EMBEDDED}:{part}" for part in (*PARTS, PROMPT) if part)
        raise UserError(f"unknown judge {name!r}; choose from {EMBEDDED}, {known}")


def kind_of(name: str) -> str:
    """The key in `JUDGES`: `embedded` and its parts score texts; other local models weigh two labels; API models are
    asked for one.

    >>> [kind_of(name) for name in ("embedded:likelihood", "embedded:prompt", "gpt-4o")]
    ['embedded', 'local', 'chat']
    """
    model = parse(name)
    if model.provider == EMBEDDED and model.name != PROMPT:
        return "embedded"
    return "local" if model.is_local else "chat"


def load_judge(
    name: str,
    *,
    models: Models | None = None,
    dtype: str = "auto",
    device: str = "auto",
    votes: int = 1,
    ledger: Ledger | None = None,
    secret: bytes = SECRET,
) -> Judge:
    """The judge of that name, on a model from `models`; without them it is loaded as `dtype` and `device` say.

    `votes`: how often an API model that gives no probabilities is sampled. `secret`: of the run, from which the
    fences around the texts are drawn. Raises `UserError` for a name that no judge has.
    """
    check_judge(name)
    model = load_model(name, dtype=dtype, device=device) if models is None else models.get(name)
    return JUDGES[kind_of(name)](name, model, votes=votes, ledger=ledger, secret=secret)
