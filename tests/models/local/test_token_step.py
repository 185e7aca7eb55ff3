"""A token of each row from the weights alone: the model's own logits, for decoders of the usual shape and no others."""

from __future__ import annotations

import pytest
import torch
import transformers

from softgrpo.models.local import token_step
from softgrpo.models.local.generation import sample
from softgrpo.models.local.packed_weights import WORTH_IT
from softgrpo.models.local.shared_rows import SharedRows
from softgrpo.models.local.token_step import LeanStep, ModuleStep, has_usual_shape
from softgrpo.training import policy as policies

PROMPTS = [[4, 9, 10], [4, 7, 8, 11, 20, 5]]
SIZES = dict(
    vocab_size=48,
    hidden_size=32,
    intermediate_size=40,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=128,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    tie_word_embeddings=False,
)


def build(family: str, **other):
    """A small model of some family whose every weight is drawn at random, norms and biases too."""
    config = getattr(transformers, f"{family}Config")(**(SIZES | other))
    torch.manual_seed(0)
    module = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.3 + ("norm" in name))
    return module


def logits_of(module, step, *, steps: int = 5) -> torch.Tensor:
    """[steps, rows, V] behind prompts and then tokens in turn."""
    rows = SharedRows(module, PROMPTS, step)
    found = [rows.place(range(3), [0, 0, 1])]
    for k in range(1, steps):
        found.append(rows.step(torch.tensor([7, 8, 9]) + k, torch.ones(3, dtype=torch.bool)))
    return torch.stack(found).float()


@torch.inference_mode()
@pytest.mark.parametrize(
    ("family", "other"),
    [
        ("Llama", {}),
        ("Llama", dict(attention_bias=True, mlp_bias=True)),
        ("Llama", dict(rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=1e4))),
        ("Mistral", dict(sliding_window=None)),
        ("Qwen2", {}),
        ("Qwen3", {}),
    ],
)
def test_the_usual_decoders_give_their_own_logits(family, other):
    module = build(family, **other)
    assert has_usual_shape(module)
    plain, lean = (logits_of(module, step) for step in (ModuleStep(module), LeanStep(module, 3)))
    assert torch.allclose(plain, lean, atol=1e-4)
    for row, prompt in enumerate((PROMPTS[0], PROMPTS[0], PROMPTS[1])):
        ids = torch.tensor([[*prompt, *(7 + row + k for k in range(1, 5))]])
        assert torch.allclose(module(ids).logits[0, -1], lean[-1, row], atol=1e-4)


@pytest.mark.parametrize(
    ("family", "other"),
    [
        ("Gemma", {}),
        ("Gemma2", {}),
        ("Granite", dict(residual_multiplier=0.3)),
        ("Granite", dict(logits_scaling=3.0)),
    ],
)
def test_what_differs_is_left_to_the_model(family, other, monkeypatch):
    """Other norms, caps and multipliers: by the family's name, and the measure would see it too."""
    assert not has_usual_shape(build(family, **other))
    monkeypatch.setattr(token_step, "FAMILIES", {"gemma", "gemma2", "granite"})
    assert not has_usual_shape(build(family, **other))


def test_adapters_are_left_to_the_model(tiny):
    assert has_usual_shape(tiny.module)
    assert not has_usual_shape(policies.with_lora(tiny, rank=2, alpha=4, dropout=0.0, seed=0).module)


@torch.inference_mode()
def test_in_bfloat16_it_is_as_near_to_the_truth_as_the_model():
    exact = build("Llama")
    truth = logits_of(exact, ModuleStep(exact)).log_softmax(-1)
    module = build("Llama").bfloat16()
    assert has_usual_shape(module)
    plain, lean = (
        (logits_of(module, step).log_softmax(-1) - truth).abs().mean()
        for step in (ModuleStep(module), LeanStep(module, 3))
    )
    assert lean < 1.25 * plain


@torch.inference_mode()
def test_weights_are_read_anew_each_time():
    """An update between two samplings is seen by the second."""
    module = build("Llama")
    before = logits_of(module, LeanStep(module, 3))
    module.model.layers[1].mlp.up_proj.weight.mul_(-1)
    after = logits_of(module, LeanStep(module, 3))
    assert not torch.allclose(before, after, atol=1e-2)
    assert torch.allclose(after, logits_of(module, ModuleStep(module)), atol=1e-4)


def test_either_way_samples_the_same(tiny, monkeypatch):
    """In float32, where rounding does not decide. A few steps are left to the model: they do not pay for the layout."""
    assert has_usual_shape(tiny.module)
    used = []
    for way in (LeanStep, ModuleStep):
        plain = way.__call__
        monkeypatch.setattr(
            way, "__call__", lambda self, *given, way=way, plain=plain: (used.append(way), plain(self, *given))[1]
        )

    def drawn(max_tokens: int):
        used.clear()
        how = dict(n=3, temperature=0.8, end_ids=frozenset({2}), pad_id=0, seed=5)
        rows = [d for g in sample(tiny.module, PROMPTS, max_tokens=max_tokens, **how) for d in g]
        return [d.token_ids for d in rows], torch.tensor([x for d in rows for x in d.logprobs]), set(used)

    tokens, logprobs, ways = drawn(WORTH_IT + 4)
    assert ways == {LeanStep}
    assert drawn(WORTH_IT - 1)[2] == {ModuleStep}
    monkeypatch.setattr(token_step, "has_usual_shape", lambda module: False)
    with pytest.warns(UserWarning, match="takes its own steps"):
        same, same_logprobs, ways = drawn(WORTH_IT + 4)
    assert ways == {ModuleStep}
    assert tokens == same
    assert torch.allclose(logprobs, same_logprobs, atol=1e-4)
