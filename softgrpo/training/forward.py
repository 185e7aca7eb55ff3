"""Log-probabilities of drawn tokens under a model, from packed groups."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from softgrpo.grpo.tree import Packed, pack_padded, pack_tree


def token_logprobs(module: Any, packed: Packed, *, temperature: float) -> torch.Tensor:
    """[N] float32 log-probability of each target under the distribution it was drawn from."""
    device = module.device
    mask = packed.attention_mask.to(device)
    if mask.dim() == 4:  # additive, so that every attention implementation takes it
        mask = torch.zeros(mask.shape, dtype=module.dtype, device=device).masked_fill(
            ~mask, torch.finfo(module.dtype).min
        )
    out = module(
        input_ids=packed.input_ids.to(device),
        attention_mask=mask,
        position_ids=packed.position_ids.to(device),
        logits_to_keep=packed.kept.to(device),
        use_cache=False,
    )
    logits_KV = out.logits.flatten(0, 1).float()
    if temperature not in (0, 1):
        logits_KV = logits_KV / temperature
    normaliser_K = logits_KV.logsumexp(-1)
    predictor, target = packed.predictor.to(device), packed.target.to(device)
    return logits_KV[predictor, target] - normaliser_K[predictor]


@torch.no_grad()
def reads_trees(module: Any, pad_id: int) -> bool:
    """Whether the model sees a tree as it sees plain rows (not so with sliding windows, state-space layers, or
    attention that ignores a 4-D mask).

    The measure is the model's own: a tree must come far closer to plain rows than a row whose branches see each other.
    """
    window = getattr(module.config, "sliding_window", None)
    if window is not None and getattr(module.config, "use_sliding_window", True):
        return False
    vocabulary = module.get_input_embeddings().num_embeddings
    prompt = [(7 * k + 3) % vocabulary for k in range(5)]
    completions = [[(11 * k + i) % vocabulary for k in range(4 + i)] for i in range(3)]
    tree = pack_tree(prompt, completions)
    chain = replace(tree, attention_mask=torch.ones_like(tree.attention_mask).tril())
    plain = pack_padded(prompt, completions, pad_id)
    try:
        as_tree, as_chain, as_rows = (token_logprobs(module, p, temperature=1.0) for p in (tree, chain, plain))
    except (TypeError, ValueError, RuntimeError, IndexError):
        return False
    return bool((as_tree - as_rows).abs().mean() < 0.2 * (as_chain - as_rows).abs().mean())
