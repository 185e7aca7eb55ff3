"""A decoder of the usual shape from its weights: the model's own states, logits, keys and gradients."""

from __future__ import annotations

import pytest
import torch

from softgrpo.models.local import forest, lean_states
from softgrpo.models.local.forest import Forest
from softgrpo.training import policy as policies
from tests.models.local.test_token_step import build

ROW = Forest(lengths=(5, 3, 4, 1, 2, 6), ancestors=((), (0,), (0, 1), (0,), (), (4,)))
IDS = torch.randint(6, 40, (sum(ROW.lengths),), generator=torch.Generator().manual_seed(1))
KEPT = torch.tensor([0, 3, 4, 7, 8, 11, 12, 13, 14, 17, 20])
FAMILIES = [
    ("Llama", {}),
    ("Llama", dict(attention_bias=True, mlp_bias=True)),
    ("Mistral", dict(sliding_window=None)),
    ("Qwen2", {}),
    ("Qwen3", {}),
]


def states_and_gradients(way, module, weight):
    module.zero_grad()
    states = lean_states.states(module, IDS, ROW, KEPT) if way is lean_states else forest.states(module, IDS, ROW)[KEPT]
    (states * weight).sum().backward()
    return states.detach(), {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("family", "other"), FAMILIES)
def test_the_models_own_states_and_gradients(family, other, monkeypatch):
    """Also when rows are taken one at a time between products."""
    module = build(family, **other)
    assert lean_states.applies(module)
    weight = torch.randn(len(KEPT), 32, generator=torch.Generator().manual_seed(2))
    expected, gradients = states_and_gradients(forest, module, weight)
    for at_once in (lean_states.BYTES_AT_ONCE, 1):
        monkeypatch.setattr(lean_states, "BYTES_AT_ONCE", at_once)
        found, theirs = states_and_gradients(lean_states, module, weight)
        assert torch.allclose(found, expected, atol=1e-4)
        assert theirs.keys() == gradients.keys()
        for name, gradient in gradients.items():
            assert (theirs[name] - gradient).norm() < 1e-5 * gradient.norm(), name


def test_in_bfloat16_the_gradient_is_as_near_to_the_truth_as_the_models():
    weight = torch.randn(len(KEPT), 32, generator=torch.Generator().manual_seed(2))
    _, truth = states_and_gradients(forest, build("Llama"), weight)
    off = []
    for way in (forest, lean_states):
        _, found = states_and_gradients(way, build("Llama").bfloat16(), weight.bfloat16())
        off.append(sum((found[name].float() - g).norm() / g.norm() for name, g in truth.items() if name in found))
    assert off[1] < 1.25 * off[0]


@torch.no_grad()
def test_logits_and_what_is_kept():
    module, kept = build("Qwen2"), torch.tensor([2, 7, 20])
    found = []
    for way in (forest, lean_states):
        layers = {}
        keep = lambda layer, key, value, layers=layers: layers.update({layer: torch.cat([key, value])})  # noqa: E731
        found.append((way.logits(module, IDS, ROW, kept, keep=keep), layers))
    (logits, layers), (same, same_layers) = found
    assert torch.allclose(logits, same, atol=1e-4)
    assert sorted(layers) == sorted(same_layers) == [0, 1, 2]
    assert all(torch.allclose(layers[i], same_layers[i], atol=1e-4) for i in layers)


def test_what_has_adapters_or_computes_its_layers_again_is_left_to_the_model(tiny):
    assert lean_states.applies(tiny.module)
    assert not lean_states.applies(policies.with_lora(tiny, rank=2, alpha=4, dropout=0.0, seed=0).module)
    module = build("Llama")
    assert lean_states.applies(module)
    getattr(module, "activation_checkpointing_enable", module.gradient_checkpointing_enable)()
    assert not lean_states.applies(module.train())
    assert lean_states.applies(module.eval())
