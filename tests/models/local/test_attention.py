"""Attention to shared and own keys, merged, is attention to both."""

from __future__ import annotations

import pytest
import torch

from softgrpo.models.local.attention import attention_with_lse, merge_attention_states


def given(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    return draw(3, 2, 5, 8), draw(3, 2, 7, 8), draw(3, 2, 7, 8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("masked", [True, False])
def test_it_is_softmax(dtype, masked):
    query, keys, values = (x.to(dtype) for x in given())
    mask = torch.zeros(3, 1, 1, 7)
    if masked:
        mask[0, ..., 4:] = mask[2, ..., 1:] = float("-inf")
    scores = query.double() @ keys.double().mT * 0.3 + mask
    out, lse = attention_with_lse(query, keys, values, mask if masked else None, 0.3)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    assert torch.allclose(out.double(), scores.softmax(-1) @ values.double(), atol=tolerance)
    assert torch.allclose(lse.double(), scores.logsumexp(-1), atol=1e-5)
    assert lse.dtype == torch.float32
    assert out.dtype == dtype


@pytest.mark.parametrize("cut", [1, 3, 6])
def test_two_parts_merged_are_the_whole(cut):
    query, keys, values = given(1)
    parts = [
        attention_with_lse(query, keys[:, :, part], values[:, :, part], None, 0.3)
        for part in (slice(cut), slice(cut, 7))
    ]
    whole = (query @ keys.mT * 0.3).softmax(-1) @ values
    assert torch.allclose(merge_attention_states(*parts[0], *parts[1]), whole, atol=1e-5)


def test_scores_far_apart_stay_finite():
    """One part holds all the weight, whichever comes first."""
    one, other = torch.ones(1, 4), -torch.ones(1, 4)
    for high, low in ((1e4, -1e4), (300.0, -300.0)):
        assert torch.equal(merge_attention_states(one, torch.tensor([high]), other, torch.tensor([low])), one)
        assert torch.equal(merge_attention_states(other, torch.tensor([low]), one, torch.tensor([high])), one)
