"""Nothing is random while the policy learns but the dropout before its adapter: a base's own dropout stays off."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
import transformers
from transformers.models.opt import modeling_opt

from softgrpo.engines.local import policy as policies
from softgrpo.engines.local.dropout import only_the_adapters
from softgrpo.engines.local.learner import Learner, LearnerSettings
from softgrpo.engines.local.reference import Reference
from softgrpo.models.huggingface import HuggingFaceModel
from tests.engines.local.learning import SETTINGS, training_groups_for

SMALL = dict(vocab_size=52, pad_token_id=0, eos_token_id=1, bos_token_id=1, max_position_embeddings=128)
USUAL = SMALL | dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
LLAMA = USUAL | dict(intermediate_size=64, num_key_value_heads=2)
GPT2 = dict(vocab_size=52, pad_token_id=0, eos_token_id=1, bos_token_id=1, n_positions=128, n_embd=32, n_layer=2)
FAMILIES = {
    # modules of dropout
    "GPT2": (GPT2 | dict(n_head=4), "resid_pdrop embd_pdrop attn_pdrop"),
    # floats that are read by functions, and whole layers left out
    "OPT": (USUAL | dict(ffn_dim=64, word_embed_proj_dim=32), "dropout attention_dropout layerdrop"),
    # the config, read while computing
    "Falcon": (USUAL, "hidden_dropout attention_dropout"),
    # attention's own
    "Llama": (LLAMA, "attention_dropout"),
    # a router's noise
    "Mixtral": (LLAMA | dict(num_local_experts=4, num_experts_per_tok=2), "attention_dropout router_jitter_noise"),
    # a head with a bias: logits are held whole, with and without checkpointing
    "Phi": (USUAL | dict(intermediate_size=64), "resid_pdrop embd_pdrop attention_dropout"),
}
DROPPING = [family for family in FAMILIES if family != "Mixtral"]  # peft drops nothing before fused experts
WAYS = [
    pytest.param(True, False, id="lora"),
    pytest.param(True, True, id="lora, checkpointing"),
    pytest.param(False, False, id="full"),
    pytest.param(False, True, id="full, checkpointing"),
]


def build(family: str, dropout: float, tokenizer) -> HuggingFaceModel:
    """A small model whose every weight is drawn at random."""
    sizes, names = FAMILIES[family]
    config = getattr(transformers, f"{family}Config")(**sizes, **dict.fromkeys(names.split(), dropout))
    torch.manual_seed(0)
    module = getattr(transformers, f"{family}{'LMHeadModel' if family == 'GPT2' else 'ForCausalLM'}")(config).eval()
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.copy_(torch.randn(p.shape) * 0.2 + ("norm" in name or "ln_" in name) * name.endswith("weight"))
    return HuggingFaceModel(family, module.requires_grad_(False), tokenizer)


def learner(family, tokenizer, *, lora, checkpointing, dropout=0.3, lora_dropout=0.0) -> Learner:
    base = build(family, dropout, tokenizer)
    if lora:
        policy = policies.with_lora(base, rank=4, alpha=8, dropout=lora_dropout, seed=0)
        reference = Reference(policy.module, policy.capabilities)
    else:
        policy = policies.Policy(family, copy.deepcopy(base.module), tokenizer)
        reference = Reference(base.module, policy.capabilities)
    return Learner(policy, reference, LearnerSettings(**SETTINGS, gradient_checkpointing=checkpointing))


def gradients(learner, training_groups, seed=1):
    """KL to the reference, and the gradient by name."""
    torch.manual_seed(seed)
    kl = learner.gradients(training_groups).kl
    return kl, {name: m.grad for name, m in learner.masters.items() if m.grad is not None}


def furthest(one, other):
    assert one.keys() == other.keys()
    size = max(g.norm().item() for g in one.values())
    return max((g - other[name]).norm().item() for name, g in one.items()) / size


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("lora", "checkpointing"), WAYS)
def test_a_bases_own_dropout_is_off_while_learning(tiny, family, lora, checkpointing):
    """Before any update the policy is its reference, and the gradient is that of a model without dropout."""
    training_groups = training_groups_for(build(family, 0.0, tiny.tokenizer))
    _, expected = gradients(
        learner(family, tiny.tokenizer, lora=lora, checkpointing=False, dropout=0.0), training_groups
    )
    found = learner(family, tiny.tokenizer, lora=lora, checkpointing=checkpointing)
    kl, gradient = gradients(found, training_groups)
    assert kl == pytest.approx(0, abs=1e-6)
    assert furthest(expected, gradient) < 1e-4


@pytest.mark.parametrize("family", DROPPING)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_adapters_own_dropout_drops_and_the_same_twice(tiny, family, checkpointing):
    """Also when a layer is computed again: what was dropped then is dropped now."""
    training_groups = training_groups_for(build(family, 0.0, tiny.tokenizer))
    make = lambda **options: learner(family, tiny.tokenizer, lora=True, **options)  # noqa: E731
    _, without = gradients(make(checkpointing=checkpointing), training_groups)
    kl, dropped = gradients(make(checkpointing=checkpointing, lora_dropout=0.5), training_groups)
    # a decoder that draws for whole layers while it trains has another stream when its layers are computed again
    draws = family == "OPT" and "torch.rand(" in inspect.getsource(modeling_opt.OPTDecoder.forward)
    _, kept = gradients(make(checkpointing=checkpointing and draws, lora_dropout=0.5), training_groups)
    _, another = gradients(make(checkpointing=checkpointing, lora_dropout=0.5), training_groups, seed=2)
    assert kl == pytest.approx(0, abs=1e-6), "a fresh adapter adds nothing, and the reference drops nothing"
    assert furthest(dropped, kept) < 1e-4
    assert furthest(dropped, without) > 0.1
    assert furthest(dropped, another) > 0.1


@pytest.mark.parametrize("family", DROPPING)
def test_afterwards_everything_is_as_it_was(tiny, family):
    """Settings, rates and modes, also when learning fails; nothing that is saved says otherwise."""
    found = learner(family, tiny.tokenizer, lora=True, checkpointing=True, lora_dropout=0.5)
    module = found.policy.module

    def state():
        rates = [(m.p if isinstance(m, torch.nn.Dropout) else None, m.training) for m in module.modules()]
        floats = [{k: v for k, v in vars(m).items() if isinstance(v, float)} for m in module.modules()]
        return rates, floats, module.config.to_dict()

    before = state()
    with pytest.raises(ZeroDivisionError), only_the_adapters(module):
        assert state() != before
        raise ZeroDivisionError
    assert state() == before
    found.gradients(training_groups_for(build(family, 0.0, tiny.tokenizer)))
    assert state() == before
    assert before[2][FAMILIES[family][1].split()[0]] == 0.3


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_checkpointing_computes_every_layer_again_and_only_then(tiny, family, checkpointing):
    found = learner(family, tiny.tokenizer, lora=False, checkpointing=checkpointing)
    decoder = found.policy.module.get_decoder()
    layers = decoder.h if family in ("GPT2", "Falcon") else decoder.layers
    attention = next(m for m in layers[1].modules() if type(m).__name__.endswith("Attention"))
    training_groups = training_groups_for(build(family, 0.0, tiny.tokenizer), groups=1)
    calls = []
    attention.register_forward_pre_hook(lambda *given: calls.append(torch.is_grad_enabled()))
    found.gradients(training_groups)
    assert calls == [True] * (2 if checkpointing else 1)
