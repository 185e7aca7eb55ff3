"""Sequences that share their beginnings as one row: every shared token is computed once, and none is padding.

A group of completions is a tree, the matches of a tournament are a forest with shared tasks and first texts, prompts
side by side are a forest of roots. Attention goes node by node: a node sees its ancestors and, causally, itself.
`T` tokens of the row, `H` heads, `K` heads of keys and values, `D` width of a head, `S` keys that a node sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.attention.bias import causal_lower_right

from softgrpo.models.attention import attending, refuse, register

FOREST = "softgrpo_forest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """Where the nodes of a row lie and what they see."""

    lengths: tuple[int, ...]
    """tokens of each node, in the order of the row; at least 1"""
    ancestors: tuple[tuple[int, ...], ...]
    """of each node: the nodes before it on its way from the root"""

    @classmethod
    def trees(cls, *trees: Sequence[int]) -> Forest:
        """Roots and their branches, from the lengths of each.

        >>> forest = Forest.trees([2, 2, 1], [1, 2])
        >>> forest.positions(), forest.ancestors
        ([0, 1, 2, 3, 2, 0, 1, 2], ((), (0,), (0,), (), (3,)))
        """
        ancestors: list[tuple[int, ...]] = []
        for tree in trees:
            ancestors += [(), *((len(ancestors),) for _ in tree[1:])]
        return cls(lengths=tuple(n for tree in trees for n in tree), ancestors=tuple(ancestors))

    @classmethod
    def roots(cls, lengths: Sequence[int]) -> Forest:
        """Sequences that share nothing."""
        return cls(lengths=tuple(lengths), ancestors=tuple(() for _ in lengths))

    def positions(self) -> list[int]:
        """[T] how many tokens each token has before it on its way from the root."""
        starts = [sum(self.lengths[a] for a in ancestors) for ancestors in self.ancestors]
        return [start + k for start, length in zip(starts, self.lengths, strict=True) for k in range(length)]


def states(module: Any, ids_T: torch.Tensor, forest: Forest) -> torch.Tensor:
    """[T, hidden] last hidden states of the row of tokens."""
    with attending(module, FOREST):
        return module.get_decoder()(**_inputs(module, ids_T, forest)).last_hidden_state[0]


def logits(
    module: Any,
    ids_T: torch.Tensor,
    forest: Forest,
    kept: torch.Tensor,
    *,
    keep: Callable[[int, torch.Tensor, torch.Tensor], None] | None = None,
) -> torch.Tensor:
    """[kept, V] logits at some positions of the row; `keep` is given each layer's number, keys and values."""
    with attending(module, FOREST):
        return module(**_inputs(module, ids_T, forest), keep=keep, logits_to_keep=kept).logits[0]


def _inputs(module: Any, ids_T: torch.Tensor, forest: Forest) -> dict[str, Any]:
    return {
        "input_ids": ids_T.to(module.device).view(1, -1),
        "position_ids": torch.tensor([forest.positions()], device=module.device),
        "use_cache": False,
        "forest": forest,
    }


def reads_forests(module: Any) -> bool:
    """Whether the model sees a forest as it sees plain rows: not so with sliding windows, state-space layers, or where
    attention cannot be named. Measured once for each model.

    The measure is the model's own: a tree must come far closer to plain rows than a row whose branches see each other.
    """
    known = module.__dict__.get("_softgrpo_reads_forests")
    if known is None:
        known = module.__dict__["_softgrpo_reads_forests"] = _measured(module)
    return known


@torch.no_grad()
def _measured(module: Any) -> bool:
    try:
        config = module.config
        if getattr(config, "sliding_window", None) is not None and getattr(config, "use_sliding_window", True):
            return False
        size = module.get_input_embeddings().num_embeddings
        nodes = [[(7 * k + 3 * i) % size for k in range(5 - i)] for i in range(4)]
        ids, lengths = torch.tensor([t for node in nodes for t in node]), [len(node) for node in nodes]
        ends = torch.tensor([sum(lengths[: i + 1]) - 1 for i in range(1, 4)], device=module.device)
        chain = Forest(lengths=tuple(lengths), ancestors=((), (0,), (0, 1), (0, 1, 2)))
        as_tree, as_chain = (logits(module, ids, f, ends).float() for f in (Forest.trees(lengths), chain))
        rows = [module(torch.tensor([nodes[0] + node], device=module.device), use_cache=False) for node in nodes[1:]]
        as_rows = torch.stack([row.logits[0, -1] for row in rows]).float()
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
        return False
    return bool((as_tree - as_rows).abs().mean() < 0.2 * (as_chain - as_rows).abs().mean())


def forest_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    forest: Forest,
    scaling: float | None = None,
    dropout: float = 0.0,
    keep: Callable[[int, torch.Tensor, torch.Tensor], None] | None = None,
    **other: Any,
) -> tuple[torch.Tensor, None]:
    """[1, T, H, D] from query [1, H, T, D], key and value [1, K, T, D]; the interface of `transformers`."""
    refuse(other)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if keep is not None:
        keep(module.layer_idx, key[0], value[0])
    if query.device.type == "cpu" and not dropout:
        return _NodeByNode.apply(query[0], key[0], value[0], forest, scale)[None].transpose(1, 2), None
    return _by_kernel(query, key, value, forest, scale, dropout).transpose(1, 2), None


register(FOREST, forest_attention)


def _by_kernel(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, forest: Forest, scale: float, dropout: float
) -> torch.Tensor:
    """[1, H, T, D] by torch's own kernels, which skip what the causal mask hides."""
    queries, keys, values = (x.split(forest.lengths, 2) for x in (query, key, value))
    out = []
    for i, path in _paths(forest):
        q, k, v = queries[i], torch.cat([keys[j] for j in path], 2), torch.cat([values[j] for j in path], 2)
        mask: Any = causal_lower_right(q.shape[2], k.shape[2])
        out.append(
            torch.nn.functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, dropout_p=dropout, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
            )
        )
    return torch.cat(out, 2)


class _NodeByNode(torch.autograd.Function):
    """Products of small matrices, with the weights computed again in the backward pass: on processors several times
    as fast as torch's kernel. Scores are float32, since a score rounded to bfloat16 is off by several percent."""

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, forest: Forest, scale: float) -> torch.Tensor:
        """[H, T, D] from query [H, T, D], key and value [K, T, D]."""
        out_HTD = torch.empty_like(query)
        normaliser_HT = query.new_empty(query.shape[:2], dtype=torch.float32)
        keys, values = key.float().split(forest.lengths, 1), value.split(forest.lengths, 1)
        parts = (x.split(forest.lengths, 1) for x in (query, out_HTD, normaliser_HT))
        queries, outs, normalisers = (list(x) for x in parts)
        for i, path in _paths(forest):
            scores_KNS = _scores(queries[i], torch.cat([keys[j] for j in path], 1), scale)
            top = scores_KNS.amax(-1, keepdim=True)
            weights = scores_KNS.sub_(top).exp_()
            total = weights.sum(-1, keepdim=True)
            mixed = torch.bmm(weights.to(value.dtype), torch.cat([values[j] for j in path], 1))
            outs[i].copy_((mixed / total).view_as(outs[i]))
            normalisers[i].copy_((top + total.log()).view_as(normalisers[i]))
        ctx.save_for_backward(query, key, value, out_HTD, normaliser_HT)
        ctx.forest, ctx.scale = forest, scale
        return out_HTD

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        query, key, value, out, normaliser = ctx.saved_tensors
        lengths, scale = ctx.forest.lengths, ctx.scale
        grad = grads[0]
        inner_HT = (grad.float() * out.float()).sum(-1)
        d_query = torch.empty_like(query)
        d_key, d_value = (torch.zeros(x.shape, dtype=torch.float32) for x in (key, value))
        plain_keys, keys, values = (x.split(lengths, 1) for x in (key, key.float(), value.float()))
        parts = (x.split(lengths, 1) for x in (query, grad, normaliser, inner_HT, d_query, d_key, d_value))
        queries, gs, normalisers, inners, d_queries, d_keys, d_values = parts
        for i, path in _paths(ctx.forest):
            q, g = _grouped(queries[i], key.shape[0]), _grouped(gs[i], key.shape[0])
            weights = _scores(queries[i], torch.cat([keys[j] for j in path], 1), scale)
            weights.sub_(normalisers[i].reshape(*weights.shape[:2], 1)).exp_()
            d_scores = torch.bmm(g.float(), torch.cat([values[j] for j in path], 1).transpose(1, 2))
            d_scores.sub_(inners[i].reshape(*weights.shape[:2], 1)).mul_(weights).mul_(scale)
            weights, d_scores = weights.to(query.dtype), d_scores.to(query.dtype)
            d_queries[i].copy_(torch.bmm(d_scores, torch.cat([plain_keys[j] for j in path], 1)).view_as(d_queries[i]))
            d_k, d_v = torch.bmm(d_scores.transpose(1, 2), q), torch.bmm(weights.transpose(1, 2), g)
            sizes = [lengths[j] for j in path]
            for j, own_k, own_v in zip(path, d_k.split(sizes, 1), d_v.split(sizes, 1), strict=True):
                d_keys[j].add_(own_k)
                d_values[j].add_(own_v)
        return d_query, d_key.to(key.dtype), d_value.to(value.dtype), None, None


def _scores(query_HND: torch.Tensor, key_KSD: torch.Tensor, scale: float) -> torch.Tensor:
    """[K, R * N, S] float32, minus infinity on what comes later than the query; the last N keys are its own."""
    n, s = query_HND.shape[1], key_KSD.shape[1]
    scores = torch.bmm(_grouped(query_HND, key_KSD.shape[0]).float() * scale, key_KSD.transpose(1, 2))
    later = torch.ones(n, n, dtype=torch.bool, device=scores.device).triu(1)
    scores.view(key_KSD.shape[0], -1, n, s)[..., s - n :].masked_fill_(later, float("-inf"))
    return scores


def _grouped(x_HND: torch.Tensor, k: int) -> torch.Tensor:
    """[K, R * N, D]: the queries that read the same keys, together."""
    return x_HND.reshape(k, -1, x_HND.shape[-1])


def _paths(forest: Forest) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Each node with all that it sees, itself last."""
    return ((i, (*ancestors, i)) for i, ancestors in enumerate(forest.ancestors))
