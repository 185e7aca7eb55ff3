"""Log-probabilities of drawn tokens under a model, from packed groups.

Three ways, the fastest that the model allows: a tree by attention; a tree under a mask; padded rows. Logits are taken a
slice of the vocabulary at a time where the model's head is a plain product.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch

from softgrpo.engines.local.chunked_logprobs import chunked_logprobs
from softgrpo.grpo.tree import Packed
from softgrpo.models.local import tree_attention
from softgrpo.models.local.attention import attending
from softgrpo.models.local.capabilities import Capabilities, additive
from softgrpo.models.local.prefix_tree import PrefixTree


def token_logprobs(module: Any, capabilities: Capabilities, packed: Packed, *, temperature: float) -> torch.Tensor:
    """[N] float32 log-probability of each target under the distribution it was drawn from."""
    predictor, target = packed.predictor.to(module.device), packed.target.to(module.device)
    kept = packed.kept.to(module.device)
    scale = temperature if temperature > 0 else 1.0
    if capabilities.plain_head:
        hidden_PH, weight_VH = _states(module, capabilities, packed, kept), module.get_output_embeddings().weight
        return chunked_logprobs(hidden_PH, weight_VH, predictor, target, temperature=scale)
    logits_KV = _logits(module, capabilities, packed, kept).float() / scale
    return logits_KV[predictor, target] - logits_KV.logsumexp(-1)[predictor]


def backward(loss: torch.Tensor, module: Any, capabilities: Capabilities, packed: Packed) -> None:
    """Gradients of a loss made from `token_logprobs`: with gradient checkpointing the forward pass is computed again,
    and must attend as it did."""
    with attending(module, tree_attention.NAME) if _by_attention(capabilities, packed) else nullcontext():
        loss.backward()


def _by_attention(capabilities: Capabilities, packed: Packed) -> bool:
    return bool(packed.trees) and capabilities.tree_attention


def _states(module: Any, capabilities: Capabilities, packed: Packed, kept: torch.Tensor) -> torch.Tensor:
    """[B * K, hidden] last hidden states at the kept positions."""
    if _by_attention(capabilities, packed):
        return tree_attention.tree_states(module, packed.input_ids[0], PrefixTree.trees(*packed.trees), kept)
    return module.get_decoder()(**_inputs(module, packed)).last_hidden_state[:, kept].flatten(0, 1)


def _logits(module: Any, capabilities: Capabilities, packed: Packed, kept: torch.Tensor) -> torch.Tensor:
    """[B * K, V] logits at the kept positions."""
    if _by_attention(capabilities, packed):
        return tree_attention.tree_logits(module, packed.input_ids[0], PrefixTree.trees(*packed.trees), kept)
    return module(**_inputs(module, packed), logits_to_keep=kept).logits.flatten(0, 1)


def _inputs(module: Any, packed: Packed) -> dict[str, Any]:
    """The plain way, with the mask of the tree or of the padding."""
    mask = packed.tokens
    if mask is None:
        mask = additive(PrefixTree.trees(*packed.trees).mask(), module.dtype)
    return {
        "input_ids": packed.input_ids.to(module.device),
        "attention_mask": mask.to(module.device),
        "position_ids": packed.position_ids.to(module.device),
        "use_cache": False,
    }
