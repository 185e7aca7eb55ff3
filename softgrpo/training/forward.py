"""Log-probabilities of drawn tokens under a model, from packed groups.

Three ways, the fastest that the model allows: node by node of the tree; the tree under a mask; padded rows. Logits are
taken a slice of the vocabulary at a time where the model's head is a plain product.
"""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch

from softgrpo.grpo.tree import Packed, pack_padded, pack_trees
from softgrpo.models.faults import slower
from softgrpo.models.local import forest, lean_states
from softgrpo.models.local.attention import attending
from softgrpo.training.vocabulary import sliced_logprobs


def token_logprobs(module: Any, packed: Packed, *, temperature: float) -> torch.Tensor:
    """[N] float32 log-probability of each target under the distribution it was drawn from."""
    predictor, target = packed.predictor.to(module.device), packed.target.to(module.device)
    scale = temperature if temperature > 0 else 1.0
    if has_plain_head(module):
        hidden = _states(module, packed)
        head = module.get_output_embeddings()
        return sliced_logprobs(hidden, head.weight, predictor, target, temperature=scale)
    logits_KV = _run(module, packed, logits_to_keep=packed.kept.to(module.device)).logits.flatten(0, 1).float() / scale
    return logits_KV[predictor, target] - logits_KV.logsumexp(-1)[predictor]


def backward(loss: torch.Tensor, module: Any, packed: Packed) -> None:
    """Gradients of a loss made from `token_logprobs`: with gradient checkpointing the forward pass is computed again,
    and must attend as it did."""
    with attending(module, forest.FOREST) if _node_by_node(module, packed) else nullcontext():
        loss.backward()


def _node_by_node(module: Any, packed: Packed) -> bool:
    """The fastest of the ways; the head decides too, since a model with another one is asked for its logits."""
    return bool(packed.trees) and has_plain_head(module) and forest.reads_forests(module)


def _states(module: Any, packed: Packed) -> torch.Tensor:
    """[B * K, hidden] last hidden states at the kept positions."""
    kept = packed.kept.to(module.device)
    if _node_by_node(module, packed):
        return lean_states.states(module, packed.input_ids[0], forest.Forest.trees(*packed.trees), kept)
    return _run(module.get_decoder(), packed).last_hidden_state[:, kept].flatten(0, 1)


def _run(module: Any, packed: Packed, **options: Any) -> Any:
    """The plain way, with the mask of the tree or of the padding."""
    mask = packed.attention_mask.to(module.device)
    if mask.dim() == 4:  # additive, so that every attention implementation takes it
        lowest = torch.finfo(module.dtype).min
        mask = torch.zeros(mask.shape, dtype=module.dtype, device=module.device).masked_fill_(~mask, lowest)
    return module(
        input_ids=packed.input_ids.to(module.device),
        attention_mask=mask,
        position_ids=packed.position_ids.to(module.device),
        use_cache=False,
        **options,
    )


@torch.no_grad()
def has_plain_head(module: Any) -> bool:
    """Whether logits are the last hidden states times a matrix, without bias, cap or scale. Measured once."""
    known = module.__dict__.get("_softgrpo_plain_head")
    if known is None:
        known = module.__dict__["_softgrpo_plain_head"] = _measured_head(module)
    return known


def _measured_head(module: Any) -> bool:
    consequence = "the head is no plain product: logits are held whole (more memory)"
    try:
        head = module.get_output_embeddings()
        if type(head) is not torch.nn.Linear or head.bias is not None:
            warnings.warn(consequence, stacklevel=3)
            return False
        size = module.get_input_embeddings().num_embeddings
        ids = forest.some_tokens(size, 8)[None].to(module.device)
        whole = module(input_ids=ids, use_cache=False).logits.float()
        parts = head(module.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state).float()
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        slower(consequence, error)
        return False
    is_plain = torch.allclose(whole, parts, rtol=1e-2, atol=1e-3 * float(whole.abs().max()))
    if not is_plain:
        warnings.warn(consequence, stacklevel=3)
    return is_plain


@torch.no_grad()
def reads_trees(module: Any, pad_id: int) -> bool:
    """Whether the model sees a tree as it sees plain rows (not so with sliding windows, state-space layers, or
    attention that ignores a 4-D mask).

    The measure is the model's own: a tree must come far closer to plain rows than a row whose branches see each other.
    """
    if forest.reads_forests(module):
        return True
    window = getattr(module.config, "sliding_window", None)
    if window is not None and getattr(module.config, "use_sliding_window", True):
        return False
    vocabulary = module.get_input_embeddings().num_embeddings
    prompt, *completions = (x.tolist() for x in forest.some_tokens(vocabulary, 24).split([5, 7, 6, 6]))
    tree = pack_trees([(prompt, completions)])
    plain = pack_padded(prompt, completions, pad_id)
    try:
        as_tree, as_rows = (token_logprobs(module, p, temperature=1.0) for p in (tree, plain))
        chain = replace(tree, trees=((int(tree.input_ids.numel()),),))  # every token sees all before it
        as_chain = token_logprobs(module, chain, temperature=1.0)
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        slower("this model reads no trees: completions are padded (slower)", error)
        return False
    return bool((as_tree - as_rows).abs().mean() < 0.2 * (as_chain - as_rows).abs().mean())
