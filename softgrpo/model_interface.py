"""One place to get a model by name, and the public names of the three kinds."""

from __future__ import annotations

import importlib
import threading
from typing import Any, Self

from softgrpo.models.names import PROVIDERS, ModelName, address, parse
from softgrpo.records import TextModel

_PUBLIC = {
    "HuggingFaceModel": "softgrpo.models.huggingface",
    "OpenAIModel": "softgrpo.models.api.openai",
    "AnthropicModel": "softgrpo.models.api.anthropic",
}
_API_KINDS = {"openai": "OpenAIModel", "anthropic": "AnthropicModel"}


class ModelPool:
    """The models that somebody has opened, each once: a run's, an evaluation's, a scorer's.

    What services are asked through it is on one budget; another pool knows nothing of it. Called from any thread.
    """

    def __init__(
        self, *, dtype: str = "auto", device: str = "auto", max_concurrency: int | None = None, budget: Any = None
    ) -> None:
        """`dtype` and `device` are for local models; `max_concurrency` (calls at once) and `budget` for services."""
        self.dtype, self.device, self.max_concurrency = dtype, device, max_concurrency
        self._budget = budget
        self._open: dict[str, Any] = {}
        self._lock = threading.Lock()

    @property
    def budget(self) -> Any:
        """Who allows and counts what the services are asked; None where nobody does."""
        return self._budget

    @budget.setter
    def budget(self, budget: Any) -> None:
        with self._lock:
            self._budget = budget
            for model in self._open.values():
                if hasattr(model, "budget"):
                    model.budget = budget

    def get(self, name: str) -> TextModel:
        """The model of that name, loaded once. Nothing is asked of a service here: `check` does that, before a run."""
        return self.local(name) if parse(name).is_local else self._service(parse(name))

    def local(self, name: str) -> Any:
        """A `HuggingFaceModel`, shared by all who ask for the same weights: never train it, train a copy."""
        from softgrpo.models.huggingface import HuggingFaceModel

        weights = weights_name(name)
        with self._lock:  # two threads that ask at once get the same one
            if weights not in self._open:
                self._open[weights] = HuggingFaceModel.load(weights, parse(name), dtype=self.dtype, device=self.device)
            return self._open[weights]

    def forget(self, name: str) -> None:
        """Nobody else may ask for these weights as they are: somebody is about to train them."""
        with self._lock:
            self._open.pop(weights_name(name), None)

    def check(self, name: str) -> list[str]:
        """Ask a service whether it serves the model; returns warnings. Local models are not touched."""
        return [] if parse(name).is_local else list(self._service(parse(name)).check())

    def close(self) -> None:
        """Close connections; a model that is asked again opens new ones."""
        with self._lock:
            models = [model for model in self._open.values() if hasattr(model, "close")]
        for model in models:
            model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _service(self, model: ModelName) -> Any:
        kind = _API_KINDS[PROVIDERS[model.provider].package]
        key = f"{model.provider}:{model.name}@{address(model)}"
        with self._lock:
            if key not in self._open:  # shared: what it learns of the service holds for all its roles
                service: Any = getattr(importlib.import_module(_PUBLIC[kind]), kind)(model)
                service.budget = self._budget
                if self.max_concurrency:
                    service.max_concurrency = self.max_concurrency
                self._open[key] = service
            return self._open[key]


def load_model(name: str, *, dtype: str = "auto", device: str = "auto") -> TextModel:
    """The model of that name, opened for the caller alone."""
    return ModelPool(dtype=dtype, device=device).get(name)


def load_local(name: str, *, dtype: str = "auto", device: str = "auto") -> Any:
    """A `HuggingFaceModel`, opened for the caller alone."""
    return ModelPool(dtype=dtype, device=device).local(name)


def same_weights(one: str, other: str) -> bool:
    """Both names mean the same local weights.

    >>> same_weights("embedded", "embedded:likelihood"), same_weights("embedded", "gpt-4o")
    (True, False)
    """
    return parse(one).is_local and parse(other).is_local and weights_name(one) == weights_name(other)


def weights_name(name: str) -> str:
    """What the names of the same local weights have in common.

    >>> weights_name("embedded:prompt"), weights_name("hf:gpt2")
    ('embedded', 'gpt2')
    """
    model = parse(name)
    return "embedded" if model.provider == "embedded" else model.name


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(name)
