"""Small models of many families, whose every weight is drawn at random: norms and biases too."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from softgrpo.models.local.capabilities import Capabilities

SPECIAL = dict(vocab_size=48, pad_token_id=0, bos_token_id=1, eos_token_id=2)
USUAL = SPECIAL | dict(
    hidden_size=32,
    intermediate_size=40,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=128,
    tie_word_embeddings=False,
)
GPT2 = SPECIAL | dict(n_positions=128, n_embd=32, n_layer=2, n_head=4, tie_word_embeddings=False)
LATENT = dict(
    num_key_value_heads=4,
    kv_lora_rank=8,
    q_lora_rank=8,
    qk_rope_head_dim=8,
    qk_nope_head_dim=8,
    v_head_dim=4,
    n_routed_experts=4,
    n_group=1,
    topk_group=1,
    num_experts_per_tok=2,
    moe_intermediate_size=16,
    first_k_dense_replace=1,
)
SHARED = Capabilities(tree_attention=True, tree_mask=True, plain_head=True)
SHARED_WHOLE = Capabilities(tree_attention=True, tree_mask=True, plain_head=False)
MASKED = Capabilities(tree_mask=True, plain_head=True)
APART = Capabilities(plain_head=True)
PLAIN = Capabilities()

FAMILIES: dict[str, tuple[str, dict[str, Any], Capabilities]] = {
    "Llama": ("Llama", {}, SHARED),
    "Llama, biases": ("Llama", dict(attention_bias=True, mlp_bias=True), SHARED),
    "Llama, stretched": (
        "Llama",
        dict(rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=1e4)),
        SHARED,
    ),
    "Mistral": ("Mistral", dict(sliding_window=None), SHARED),
    "Qwen2": ("Qwen2", {}, SHARED),
    "Qwen3": ("Qwen3", {}, SHARED),
    "Gemma": ("Gemma", {}, SHARED),
    # the oldest `transformers` that is promised hands its attention no arguments of others
    "GPT-2": ("GPT2", GPT2, MASKED if transformers.__version__.startswith("5.0.") else SHARED),
    "Granite": ("Granite", dict(residual_multiplier=0.3, logits_scaling=3.0), SHARED_WHOLE),
    "Phi": ("Phi", {}, SHARED_WHOLE),
    # windows, caps, sinks, other positions, latent keys
    "Mistral, window": ("Mistral", dict(sliding_window=4), APART),
    "Qwen2, window": ("Qwen2", dict(use_sliding_window=True, sliding_window=4, max_window_layers=1), APART),
    "Gemma2": (
        "Gemma2",
        dict(sliding_window=4, query_pre_attn_scalar=8, attn_logit_softcapping=2.0, final_logit_softcapping=3.0),
        PLAIN,
    ),
    "GPT-OSS": (
        "GptOss",
        dict(
            num_local_experts=4,
            num_experts_per_tok=2,
            sliding_window=4,
            rope_parameters=dict(rope_type="default", rope_theta=1e4),
        ),
        APART,
    ),
    "Bloom": ("Bloom", SPECIAL | dict(hidden_size=32, n_layer=2, n_head=4, tie_word_embeddings=False), APART),
    "DeepSeek-V3": ("DeepseekV3", LATENT, Capabilities(tree_mask=True, plain_head=True)),
}
"""by what is particular: the name in `transformers`, sizes other than usual, and what is to be found of it"""


def build_family(name: str, *, seed: int = 0) -> Any:
    """One of `FAMILIES`."""
    family, other, _ = FAMILIES[name]
    sizes = other if "vocab_size" in other else USUAL | other
    if family == "DeepseekV3":
        sizes = {key: value for key, value in sizes.items() if key != "head_dim"}
    config = getattr(transformers, f"{family}Config")(**sizes)
    module = getattr(transformers, f"{family}{'LMHeadModel' if family == 'GPT2' else 'ForCausalLM'}")(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, parameter in module.named_parameters():
            is_norm = "norm" in key or "ln_" in key
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator) + is_norm)
    return module
