"""Log-probabilities by slices of the vocabulary: the plain ones and their gradient, without the plain way's memory."""

from __future__ import annotations

import pytest
import torch

from softgrpo.engines.local import chunked_logprobs as chunking
from softgrpo.engines.local.chunked_logprobs import chunked_logprobs

P, N, H, V = 7, 12, 5, 1100


def plain(hidden, weight, predictor, target, temperature):
    logits = (hidden @ weight.T).float() / temperature
    return logits.log_softmax(-1)[predictor, target]


def arguments(dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(P, H, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(V, H, generator=generator).to(dtype).requires_grad_()
    predictor = torch.randint(0, P, (N,), generator=generator)
    target = torch.randint(0, V, (N,), generator=generator)
    predictor[:3], target[:2] = 0, 5  # several targets behind one position, one of them twice
    return hidden, weight, predictor, target, torch.randn(N, generator=generator)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_values_and_gradients_are_the_plain_ones(monkeypatch, temperature, dtype, near):
    sizes = []
    slices = chunking._slices
    monkeypatch.setattr(chunking, "_slices", lambda h, w: (sizes.append(len(r)) or (s, r) for s, r in slices(h, w)))
    found = []
    for way in (plain, lambda *a: chunked_logprobs(*a[:4], temperature=a[4])):
        hidden, weight, predictor, target, g = arguments(dtype)
        out = way(hidden, weight, predictor, target, temperature)
        (out * g).sum().backward()
        found.append([x.float() for x in (out, hidden.grad, weight.grad)])
    for a, b in zip(*found, strict=True):
        assert (a - b).norm() <= near * a.norm()
    assert set(sizes) == {V}, "small enough for one slice"


def test_slices_add_up(monkeypatch):
    hidden, weight, predictor, target, g = arguments(torch.float32)
    (chunked_logprobs(hidden, weight, predictor, target) * g).sum().backward()
    whole = hidden.grad.clone(), weight.grad.clone()
    hidden.grad = weight.grad = None
    cut = lambda h, w: ((s, w[s : s + 256]) for s in range(0, V, 256))  # noqa: E731
    monkeypatch.setattr(chunking, "_slices", cut)
    (chunked_logprobs(hidden, weight, predictor, target) * g).sum().backward()
    assert torch.allclose(hidden.grad, whole[0], atol=1e-5)
    assert torch.allclose(weight.grad, whole[1], atol=1e-5)


def test_a_frozen_head_gets_no_gradient():
    hidden, weight, predictor, target, _ = arguments(torch.float32)
    weight.requires_grad_(False)
    chunked_logprobs(hidden, weight, predictor, target).sum().backward()
    assert weight.grad is None
    assert hidden.grad is not None


def test_slices_shrink_as_positions_grow():
    weight = torch.zeros(50_000, 1)
    largest = [max(len(rows) for _, rows in chunking._slices(torch.zeros(p, 1), weight)) * p for p in (100, 1000)]
    assert all(elements <= 1 << 20 for elements in largest)
