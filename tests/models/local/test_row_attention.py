"""Attention to shared and own keys, joined, is attention to both."""

from __future__ import annotations

import pytest
import torch

from softgrpo.models.local.row_attention import attend, joined, plainly


def given(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    return draw(3, 2, 5, 8), draw(3, 2, 7, 8), draw(3, 2, 7, 8)


@pytest.mark.parametrize("way", [attend, plainly])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_either_way_is_softmax(way, dtype):
    query, keys, values = (x.to(dtype) for x in given())
    mask = torch.zeros(3, 1, 1, 7)
    mask[0, ..., 4:] = mask[2, ..., 1:] = float("-inf")
    scores = query.double() @ keys.double().mT * 0.3 + mask
    out, normaliser = way(query, keys, values, mask, 0.3)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    assert torch.allclose(out.double(), scores.softmax(-1) @ values.double(), atol=tolerance)
    assert torch.allclose(normaliser.double(), scores.logsumexp(-1), atol=1e-5)
    assert normaliser.dtype == torch.float32
    assert out.dtype == dtype


@pytest.mark.parametrize("cut", [1, 3, 6])
def test_two_parts_joined_are_the_whole(cut):
    query, keys, values = given(1)
    parts = [plainly(query, keys[:, :, part], values[:, :, part], None, 0.3) for part in (slice(cut), slice(cut, 7))]
    whole, _ = plainly(query, keys, values, None, 0.3)
    assert torch.allclose(joined(*parts[0], *parts[1]), whole, atol=1e-5)


def test_scores_far_apart_stay_finite():
    """One part holds all the weight, whichever comes first."""
    one, other = torch.ones(1, 4), -torch.ones(1, 4)
    for high, low in ((1e4, -1e4), (300.0, -300.0)):
        assert torch.equal(joined(one, torch.tensor([high]), other, torch.tensor([low])), one)
        assert torch.equal(joined(other, torch.tensor([low]), one, torch.tensor([high])), one)
