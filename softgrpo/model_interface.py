"""One place to get a model by name, and the public names of the three kinds."""

from __future__ import annotations

import importlib
import threading
from typing import Any

from softgrpo.models.names import PROVIDERS, address, parse
from softgrpo.records import TextModel

_PUBLIC = {
    "HuggingFaceModel": "softgrpo.models.huggingface",
    "OpenAIModel": "softgrpo.models.openai",
    "AnthropicModel": "softgrpo.models.anthropic",
}
_API_KINDS = {"openai": "OpenAIModel", "anthropic": "AnthropicModel"}
_loaded: dict[tuple[str, str, str], Any] = {}
_loading = threading.Lock()
"""two threads that ask for a model at once get the same one"""


def load_model(name: str, *, dtype: str = "auto", device: str = "auto") -> TextModel:
    """The model of that name. The same local weights are loaded once, whatever roles they play.

    Nothing is asked of a service here: `check()` of an API model does that, before a run.
    """
    model = parse(name)
    if model.is_local:
        return load_local(name, dtype=dtype, device=device)
    kind = _API_KINDS[PROVIDERS[model.provider].package]
    key = (f"{model.provider}:{model.name}", address(model), "")
    with _loading:
        if key not in _loaded:  # shared: what it learns of the service and what it spends is one run's
            _loaded[key] = getattr(importlib.import_module(_PUBLIC[kind]), kind)(model)
        return _loaded[key]


def load_local(name: str, *, dtype: str = "auto", device: str = "auto") -> Any:
    """A `HuggingFaceModel`, shared by all who ask for the same weights: never train it, train a copy."""
    from softgrpo.models.huggingface import HuggingFaceModel

    model = parse(name)
    key = (_weights(name), dtype, device)
    with _loading:
        if key not in _loaded:
            _loaded[key] = HuggingFaceModel.load(key[0], model, dtype=dtype, device=device)
        return _loaded[key]


def forget_local(name: str, *, dtype: str = "auto", device: str = "auto") -> None:
    """Nobody else may ask for these weights as they are: somebody is about to train them."""
    _loaded.pop((_weights(name), dtype, device), None)


def same_weights(one: str, other: str) -> bool:
    """Both names mean the same local weights.

    >>> same_weights("embedded", "embedded:likelihood"), same_weights("embedded", "gpt-4o")
    (True, False)
    """
    return parse(one).is_local and parse(other).is_local and _weights(one) == _weights(other)


def check_model(name: str) -> list[str]:
    """Ask a service whether it serves the model; returns warnings. Local models are not touched."""
    return [] if parse(name).is_local else list(load_model(name).check())  # type: ignore[attr-defined]


def _weights(name: str) -> str:
    model = parse(name)
    return "embedded" if model.provider == "embedded" else model.name


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(name)
