"""What the policy is held close to: frozen, or a slow mixture."""

from __future__ import annotations

import copy

import pytest
import torch

from softgrpo.engines.local.reference import MixedReference, Reference
from softgrpo.grpo.tree import pack_trees
from softgrpo.models.local.capabilities import Capabilities

PLAIN = Capabilities()


def test_mixed_reference_is_the_seeds(tiny):
    reference = MixedReference(copy.deepcopy(tiny.module), PLAIN, alpha=0.1)
    target = {name: torch.ones_like(p) for name, p in tiny.module.named_parameters()}
    before = {name: p.clone() for name, p in reference.module.named_parameters()}
    reference.mix(target)
    for name, p in reference.module.named_parameters():
        assert torch.allclose(p, 0.1 * torch.ones_like(p) + 0.9 * before[name])


def test_small_steps_add_up_in_float32(tiny):
    reference = MixedReference(copy.deepcopy(tiny.module).bfloat16(), PLAIN, alpha=1e-4)
    before = {name: w.clone() for name, w in reference.weights.items()}
    target = {name: w + 1 for name, w in before.items()}
    for _ in range(10):
        reference.mix(target)
    for name, p in reference.module.named_parameters():
        assert torch.allclose(reference.weights[name] - before[name], torch.tensor(1e-3), rtol=1e-2)
        assert torch.equal(p, reference.weights[name].bfloat16())


def test_a_mixture_is_put_back_as_it_was(tiny):
    one, other = (MixedReference(copy.deepcopy(tiny.module), PLAIN, alpha=0.3) for _ in range(2))
    one.mix({name: torch.ones_like(p) for name, p in tiny.module.named_parameters()})
    other.restore(copy.deepcopy(one.state()))
    for a, b in zip(one.module.parameters(), other.module.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_frozen_reference_neither_moves_nor_takes_gradients(tiny):
    reference = Reference(tiny.module.requires_grad_(True), PLAIN)
    packed = pack_trees([([4, 9], [[7, 8], [12]])])
    found = reference.logprobs(packed, temperature=0.7)
    assert not found.requires_grad
    with torch.no_grad():
        logits = tiny.module(torch.tensor([[4, 9, 7]])).logits[0] / 0.7
    assert torch.allclose(found[:2], logits[1:].log_softmax(-1)[[0, 1], [7, 8]], atol=1e-5)
    assert reference.state() == {}
    with pytest.raises(TypeError, match="does not move"):
        reference.mix({})
