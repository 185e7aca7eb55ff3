"""Log-probabilities by every way a model allows: the same numbers, the same gradient, in every family."""

from __future__ import annotations

import warnings

import pytest
import torch

from softgrpo.engines.local.policy_logprobs import backward, token_logprobs
from softgrpo.grpo.tree import pack_padded, pack_trees
from softgrpo.models.local.capabilities import Capabilities, measured
from tests.engines.local.learning import WAYS
from tests.fakes.families import FAMILIES, build_family

PROMPT, COMPLETIONS = [4, 9, 10, 11], [[7, 8, 9], [12], [13, 14, 15, 16, 1]]
MASKS = [[True, False, True], [True], [False, False, True, True, False]]
PLAIN = Capabilities()


def packed_for(capabilities, masks=None):
    if capabilities.trees:
        return pack_trees([(PROMPT, COMPLETIONS)], masks)
    return pack_padded(PROMPT, COMPLETIONS, 0, masks)


def found(module, capabilities, packed):
    module.requires_grad_(True).zero_grad()
    logprobs = token_logprobs(module, capabilities, packed, temperature=0.7)
    backward((logprobs * torch.arange(1.0, len(logprobs) + 1)).sum(), module, capabilities, packed)
    gradient = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
    return logprobs.detach(), gradient


def assert_same_gradient(one, other):
    assert one.keys() == other.keys()
    size = max(g.norm() for g in one.values())
    for name, value in one.items():
        assert (other[name] - value).norm() <= 1e-4 * value.norm() + 1e-5 * size, name


@torch.no_grad()
def row_by_row(module, masks=None):
    """One forward pass for each completion, and of it the tokens that are trained."""
    out = []
    for i, completion in enumerate(COMPLETIONS):
        ids = torch.tensor([[*PROMPT, *completion]])
        logits = module(ids, use_cache=False).logits[0, len(PROMPT) - 1 : -1] / 0.7
        values = logits.log_softmax(-1)[torch.arange(len(completion)), completion]
        out.append(values if masks is None else values[masks[i]])
    return torch.cat(out)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("masks", [None, MASKS])
def test_all_ways_agree(tiny, way, masks):
    logprobs, gradient = found(tiny.module, WAYS[way], packed_for(WAYS[way], masks))
    assert torch.allclose(logprobs, row_by_row(tiny.module, masks), atol=1e-5)
    _, plain = found(tiny.module, PLAIN, packed_for(PLAIN, masks))
    assert_same_gradient(plain, gradient)


@pytest.mark.parametrize("way", ["attention", "padded"])
def test_padded_rows_are_read_as_such_whatever_the_model_can(tiny, way):
    logprobs, _ = found(tiny.module, WAYS[way], pack_padded(PROMPT, COMPLETIONS, 0))
    assert torch.allclose(logprobs, row_by_row(tiny.module), atol=1e-5)


def test_prompts_side_by_side_do_not_see_each_other(tiny):
    packed = pack_trees([(PROMPT, COMPLETIONS), ([5, 6], [[7, 8, 9]])])
    alone = pack_trees([([5, 6], [[7, 8, 9]])])
    for way in ("attention", "mask"):
        together = token_logprobs(tiny.module, WAYS[way], packed, temperature=1.0)
        assert torch.allclose(together[-3:], token_logprobs(tiny.module, WAYS[way], alone, temperature=1.0), atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_learns_as_in_plain_rows(name):
    """By what is found of it: values of whole forward passes, and the gradient of padded rows."""
    module = build_family(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        capabilities = measured(module)
    logprobs, gradient = found(module, capabilities, packed_for(capabilities))
    assert torch.allclose(logprobs, row_by_row(module), atol=1e-4)
    _, plain = found(module, PLAIN, packed_for(PLAIN))
    assert_same_gradient(plain, gradient)


def test_in_bfloat16_a_trees_gradient_is_as_near_to_the_truth_as_that_of_rows():
    _, truth = found(build_family("Llama"), PLAIN, packed_for(PLAIN))
    off = []
    for way in (WAYS["padded"], WAYS["attention"]):
        _, gradient = found(build_family("Llama").bfloat16(), way, packed_for(way))
        off.append(sum((gradient[name].float() - g).norm() / g.norm() for name, g in truth.items()))
    assert off[1] < 1.25 * off[0]


def test_a_head_with_a_cap_is_read_whole(tiny, monkeypatch):
    """Logits that are bent after the product."""
    plain = tiny.module.forward

    def capped(*args, **kwargs):
        out = plain(*args, **kwargs)
        out.logits = 2 * torch.tanh(out.logits / 2)
        return out

    monkeypatch.setattr(tiny.module, "forward", capped)
    with pytest.warns(UserWarning, match="no plain product"):
        capabilities = measured(tiny.module)
    packed = pack_trees([(PROMPT, [[7]])])
    logits = tiny.module(torch.tensor([PROMPT])).logits[0, -1]
    assert token_logprobs(tiny.module, capabilities, packed, temperature=1.0).item() == pytest.approx(
        logits.log_softmax(-1)[7].item(), abs=1e-5
    )


@pytest.mark.parametrize("way", WAYS)
def test_at_temperature_zero_log_probabilities_are_those_at_one(tiny, way):
    """As they are recorded when the likeliest token is taken."""
    packed = packed_for(WAYS[way])
    at = lambda t: token_logprobs(tiny.module, WAYS[way], packed, temperature=t)  # noqa: E731
    assert torch.equal(at(0.0), at(1.0))
