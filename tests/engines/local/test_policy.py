"""The model that learns: its adapter is at rest unless somebody uses it, and what it saves loads alone."""

from __future__ import annotations

import pytest
import torch

from softgrpo.engines.local import policy as policies
from softgrpo.records import Sampling

IDS = torch.tensor([[4, 9, 10, 11]])


@pytest.fixture
def policy(tiny):
    """An adapter that says something else than its base."""
    policy = policies.with_lora(tiny, rank=4, alpha=8, dropout=0.0, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in policy.trainable().items():
            if "lora_B" in name:
                p.normal_(generator=generator)
    return policy


def test_the_adapter_is_off_at_rest_and_on_while_the_policy_answers(tiny, policy):
    at_rest = tiny.module(IDS).logits
    with policy.active():
        active = tiny.module(IDS).logits
    assert not torch.allclose(at_rest, active)
    assert torch.equal(tiny.module(IDS).logits, at_rest)
    chats, sampling = [[{"role": "user", "content": "w1"}]], Sampling(n=1, max_tokens=8, temperature=0)
    assert policy.generate(chats, sampling)[0][0].token_ids != tiny.generate(chats, sampling)[0][0].token_ids


def test_the_adapter_is_off_again_where_something_fails(tiny, policy):
    at_rest = tiny.module(IDS).logits
    with pytest.raises(ZeroDivisionError), policy.active():
        raise ZeroDivisionError
    assert torch.equal(tiny.module(IDS).logits, at_rest)


def test_who_is_inside_stays_inside(tiny, policy):
    """Also when somebody within is active too, as whoever measures what the model can do."""
    at_rest = tiny.module(IDS).logits
    with policy.active():
        active = tiny.module(IDS).logits
        with policy.active():
            assert torch.equal(tiny.module(IDS).logits, active)
        assert torch.equal(tiny.module(IDS).logits, active)
        assert policy.capabilities.trees
        assert torch.equal(tiny.module(IDS).logits, active)
    assert torch.equal(tiny.module(IDS).logits, at_rest)


def test_a_merged_adapter_loads_alone_and_answers_alike(policy, tmp_path):
    from transformers import AutoModelForCausalLM

    policy.save_merged(tmp_path)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path)
    with policy.active(), torch.no_grad():
        assert torch.allclose(merged(IDS).logits, policy.module(IDS).logits, atol=1e-3)


def test_whole_weights_learn_in_a_copy_where_others_use_them(tiny):
    assert policies.full(tiny, shared=True).module is not tiny.module
    assert not any(p.requires_grad for p in tiny.module.parameters())
    policy = policies.full(tiny, shared=False)
    assert policy.module is tiny.module
    assert all(p.requires_grad for p in tiny.module.parameters())
    assert policy.trainable().keys() == dict(tiny.module.named_parameters()).keys()


def test_an_adapter_is_all_that_learns(policy):
    assert policy.trainable()
    assert all(".lora_" in name for name in policy.trainable())


def test_what_an_adapter_adds_is_not_in_the_hash_of_its_base(tiny):
    before = tiny.copy("same").weights_hash()
    policies.with_lora(tiny, rank=4, alpha=8, dropout=0.0, seed=0)
    assert tiny.weights_hash() == before
