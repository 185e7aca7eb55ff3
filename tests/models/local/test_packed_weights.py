"""Packed weights give the same products, bit for bit, and are gone afterwards."""

from __future__ import annotations

import copy

import torch

from softgrpo.models.local import packed_weights as packing


def test_same_logits_and_nothing_left_behind(tiny):
    module = copy.deepcopy(tiny.module).bfloat16()
    ids = torch.randint(6, 40, (3, 5), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = module(ids).logits
        with packing.packed_weights(module, 3, steps=packing.WORTH_IT):
            if packing._is_possible():
                assert all("forward" in m.__dict__ for m in module.modules() if type(m) is torch.nn.Linear)
            inside = module(ids).logits
    assert torch.equal(before, inside)
    assert not any("forward" in m.__dict__ for m in module.modules())


def test_nothing_is_packed_for_few_steps_or_in_float32(tiny):
    for module, steps in ((copy.deepcopy(tiny.module).bfloat16(), 1), (tiny.module, 10**6)):
        with packing.packed_weights(module, 3, steps=steps):
            assert not any("forward" in m.__dict__ for m in module.modules())
