"""Attention of a prefix tree inside any model of `transformers` that lets its attention be named.

Each node attends to its ancestors and, causally, to itself: torch's own kernel for scaled dot products, once for each
node, on every device. `T` tokens of the row, `H` heads, `K` heads of keys and values, `D` width of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.attention.bias import causal_lower_right
from transformers import AttentionInterface

from softgrpo.models.local.attention import attending, refuse_unknown
from softgrpo.models.local.prefix_tree import PrefixTree

NAME = "softgrpo_prefix_tree"
Keep = Callable[[int, torch.Tensor, torch.Tensor], None]
"""given a layer's number, its keys and its values, [K, T, D]"""


def tree_states(module: Any, ids_T: torch.Tensor, tree: PrefixTree, kept: torch.Tensor) -> torch.Tensor:
    """[kept, hidden] last hidden states at some positions of the row of tokens."""
    with attending(module, NAME):
        return module.get_decoder()(**_inputs(module, ids_T, tree)).last_hidden_state[0, kept]


def tree_logits(
    module: Any, ids_T: torch.Tensor, tree: PrefixTree, kept: torch.Tensor, *, keep: Keep | None = None
) -> torch.Tensor:
    """[kept, V] logits at some positions of the row; `keep` is given each layer's number, keys and values."""
    with attending(module, NAME):
        return module(**_inputs(module, ids_T, tree), keep=keep, logits_to_keep=kept).logits[0]


def _inputs(module: Any, ids_T: torch.Tensor, tree: PrefixTree) -> dict[str, Any]:
    return {
        "input_ids": ids_T.to(module.device).view(1, -1),
        "position_ids": torch.tensor([tree.positions()], device=module.device),
        "use_cache": False,
        "prefix_tree": tree,
    }


def tree_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    prefix_tree: PrefixTree,
    scaling: float | None = None,
    dropout: float = 0.0,
    keep: Keep | None = None,
    **other: Any,
) -> tuple[torch.Tensor, None]:
    """[1, T, H, D] from query [1, H, T, D], key and value [1, K, T, D]; the interface of `transformers`."""
    refuse_unknown(other)
    if value.shape[-1] != key.shape[-1]:  # latent attention
        raise TypeError("attention with values of another width than its keys is not built in")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if keep is not None:
        keep(module.layer_idx, key[0], value[0])
    return attend_by_node(query, key, value, prefix_tree, scale, dropout).transpose(1, 2), None


AttentionInterface.register(NAME, tree_attention)  # without a mask function of that name no mask is built


def attend_by_node(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, tree: PrefixTree, scale: float, dropout: float = 0.0
) -> torch.Tensor:
    """[1, H, T, D] by torch's own kernel, which skips what the causal mask hides."""
    queries, keys, values = (x.split(tree.lengths, 2) for x in (query, key, value))
    out = []
    for i, ancestors in enumerate(tree.ancestors):
        path = (*ancestors, i)
        q, k, v = queries[i], torch.cat([keys[j] for j in path], 2), torch.cat([values[j] for j in path], 2)
        mask: Any = causal_lower_right(q.shape[2], k.shape[2])
        out.append(
            torch.nn.functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, dropout_p=dropout, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
            )
        )
    return torch.cat(out, 2)
