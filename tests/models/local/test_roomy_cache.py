"""The cache with room gives what the usual one gives, whatever happens to its rows."""

from __future__ import annotations

import torch
from transformers import DynamicCache

from softgrpo.models.local.roomy_cache import ROOM, RoomyLayer, roomy_cache


def test_same_keys_after_growing_repeating_and_selecting(tiny):
    generator = torch.Generator().manual_seed(0)
    usual, roomy = DynamicCache(config=tiny.module.config), roomy_cache(tiny.module.config)
    assert all(isinstance(layer, RoomyLayer) for layer in roomy.layers)
    rows = 2
    for step in range(2 * ROOM + 10):
        if step == 3:
            rows = 6
            for cache in (usual, roomy):
                cache.batch_repeat_interleave(3)
        if step in (20, ROOM + 5):
            rows -= 2
            keep = torch.randperm(rows + 2, generator=generator)[:rows]
            for cache in (usual, roomy):
                cache.batch_select_indices(keep)
        new = 5 if step == 0 else 1
        keys, values = (torch.randn(rows, 2, new, 8, generator=generator) for _ in range(2))
        for layer in range(2):
            a, b = usual.update(keys, values, layer), roomy.update(keys, values, layer)
            assert torch.equal(a[0], b[0])
            assert torch.equal(a[1], b[1])
    assert usual.get_seq_length() == roomy.get_seq_length() == 2 * ROOM + 14


def test_writing_a_token_moves_nothing_else(tiny):
    cache = roomy_cache(tiny.module.config)
    one = torch.ones(2, 2, 1, 8)
    first, _ = cache.update(one, one, 0)
    second, _ = cache.update(2 * one, one, 0)
    assert first.data_ptr() == second.data_ptr()
    assert second[0, 0, :, 0].tolist() == [1, 2]
