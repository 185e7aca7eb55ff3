"""Models by name: whoever asks a pool for one, and when, there is one of each; another pool has its own."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from softgrpo import model_interface
from softgrpo.model_interface import ModelPool, load_local, load_model
from softgrpo.models import huggingface
from softgrpo.models.api import openai

SERVICE, LOCAL = "gpt-4o", "some/weights"


class Slow:
    """A model that takes a moment to load, and keeps what it was given."""

    def __init__(self, *given, **options):
        time.sleep(0.05)
        self.given, self.options = given, options
        self.closed = 0

    @classmethod
    def load(cls, *given, **options):
        return cls(*given, **options)


class Service(Slow):
    budget, max_concurrency = None, 16

    def check(self):
        return ["it is announced to shut down"]

    def close(self):
        self.closed += 1


@pytest.fixture(autouse=True)
def kinds(monkeypatch):
    monkeypatch.setattr(openai, "OpenAIModel", Service)
    monkeypatch.setattr(huggingface, "HuggingFaceModel", Slow)


@pytest.mark.parametrize("name", [SERVICE, LOCAL])
def test_threads_that_ask_at_once_get_the_same_model(name):
    """What a service is found to refuse, and how many calls it takes at once, holds for all who ask it."""
    models = ModelPool()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(models.get, [name] * 4))
    assert len({id(model) for model in found}) == 1


@pytest.mark.parametrize(
    ("one", "other"), [("gpt-4o", "openai:gpt-4o"), ("embedded:prompt", "embedded"), ("hf:some/weights", LOCAL)]
)
def test_names_that_mean_the_same_get_the_same_model(one, other):
    models = ModelPool()
    assert models.get(one) is models.get(other)


def test_another_address_is_another_model():
    models = ModelPool()
    assert models.get(SERVICE) is not models.get("openai:gpt-4o@http://localhost:1/v1")


@pytest.mark.parametrize("name", [SERVICE, LOCAL])
def test_another_pool_has_models_of_its_own(name):
    assert ModelPool().get(name) is not ModelPool().get(name)


@pytest.mark.parametrize(("load", "name"), [(load_model, SERVICE), (load_model, LOCAL), (load_local, LOCAL)])
def test_outside_a_pool_a_model_is_opened_anew(load, name):
    assert load(name) is not load(name)


def test_weights_that_are_to_be_trained_are_loaded_again():
    models = ModelPool()
    before = models.local(LOCAL)
    assert models.local(LOCAL) is before
    models.forget(LOCAL)
    assert models.local(LOCAL) is not before
    models.forget("never/loaded")


def test_precision_and_device_are_for_local_models():
    model = ModelPool(dtype="float32", device="cpu").get(LOCAL)
    assert model.options == {"dtype": "float32", "device": "cpu"}
    assert load_local(LOCAL, dtype="bfloat16").options == {"dtype": "bfloat16", "device": "auto"}


def test_calls_at_once_are_for_services():
    assert ModelPool(max_concurrency=3).get(SERVICE).max_concurrency == 3
    assert ModelPool().get(SERVICE).max_concurrency == 16, "its own"


def test_a_budget_is_that_of_all_services_whenever_they_were_opened():
    models = ModelPool(budget="small")
    early, local = models.get(SERVICE), models.get(LOCAL)
    assert early.budget == "small"
    models.budget = "large"
    assert (models.budget, early.budget, models.get("openai:gpt-5").budget) == ("large",) * 3
    assert not hasattr(local, "budget")
    assert ModelPool().get(SERVICE).budget is None


def test_a_check_asks_services_alone():
    models = ModelPool()
    assert models.check(SERVICE) == ["it is announced to shut down"]
    began = time.monotonic()
    assert models.check(LOCAL) == []
    assert time.monotonic() - began < 0.04, "it is not loaded"


def test_closing_closes_what_has_connections():
    models = ModelPool()
    services = [models.get(SERVICE), models.get("openai:gpt-5")]
    models.get(LOCAL)
    models.close()
    assert [service.closed for service in services] == [1, 1]
    assert models.get(SERVICE) is services[0]


def test_the_public_kinds_are_found_by_name():
    assert model_interface.OpenAIModel is Service
    assert model_interface.HuggingFaceModel is Slow
    with pytest.raises(AttributeError):
        _ = model_interface.NoSuchModel
