"""Models by name: whoever asks for one, and when, there is one of each."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from softgrpo import model_interface
from softgrpo.model_interface import forget_local, load_local, load_model
from softgrpo.models import huggingface, openai


class Slow:
    """A model that takes a moment to load."""

    def __init__(self, *_, **__):
        time.sleep(0.1)

    @classmethod
    def load(cls, *_, **__):
        return cls()


@pytest.mark.parametrize("name", ["gpt-4o", "some/weights"])
def test_threads_that_ask_at_once_get_the_same_model(monkeypatch, name):
    """What a service is found to refuse, and how many calls it takes at once, holds for all who ask it."""
    monkeypatch.setattr(model_interface, "_loaded", {})
    monkeypatch.setattr(openai, "OpenAIModel", Slow)
    monkeypatch.setattr(huggingface, "HuggingFaceModel", Slow)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(load_model, [name] * 4))
    assert len({id(model) for model in found}) == 1


def test_weights_that_are_to_be_trained_are_loaded_again(monkeypatch):
    monkeypatch.setattr(model_interface, "_loaded", {})
    monkeypatch.setattr(huggingface, "HuggingFaceModel", Slow)
    before = load_local("some/weights")
    assert load_local("some/weights") is before
    forget_local("some/weights")
    assert load_local("some/weights") is not before
