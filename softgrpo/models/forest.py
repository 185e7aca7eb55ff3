"""Sequences that share their beginnings as one row: every shared token is computed once, and none is padding.

A group of completions is a tree, the matches of a tournament are a forest with shared tasks and first texts, prompts
side by side are a forest of roots. A node sees its ancestors and, causally, itself.
`T` tokens of the row, `H` heads, `K` heads of keys and values, `D` width of a head, `S` keys that a node sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

import torch
from torch.nn.attention.bias import causal_lower_right

from softgrpo.models.attention import attending, refuse, register
from softgrpo.models.row_attention import flash

FOREST = "softgrpo_forest"
COLUMNS = 32
"""zeros included: processors multiply in tiles of this width"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Tokens of the row and what they see of one node: all of it, or (their own) what came before."""

    queries: slice
    keys: slice
    own: bool


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

    def parts(self) -> tuple[Part, ...]:
        """Whose tokens see which, each node's own first.

        >>> [(p.queries.start, p.queries.stop, p.keys.start, p.keys.stop) for p in Forest.trees([2, 2, 1]).parts()]
        [(0, 2, 0, 2), (2, 4, 2, 4), (4, 5, 4, 5), (2, 5, 0, 2)]
        """
        return _parts(self)

    def positions(self) -> list[int]:
        """[T] how many tokens each token has before it on its way from the root."""
        starts = [sum(self.lengths[a] for a in ancestors) for ancestors in self.ancestors]
        return [start + k for start, length in zip(starts, self.lengths, strict=True) for k in range(length)]


@lru_cache(maxsize=8)
def _parts(forest: Forest) -> tuple[Part, ...]:
    ends = list(accumulate(forest.lengths))
    places = [slice(end - length, end) for end, length in zip(ends, forest.lengths, strict=True)]
    below: dict[int, list[slice]] = {}
    for i, ancestors in enumerate(forest.ancestors):
        for a in ancestors:
            runs = below.setdefault(a, [])
            if runs and runs[-1].stop == places[i].start:
                runs[-1] = slice(runs[-1].start, places[i].stop)
            else:
                runs.append(places[i])
    own = [Part(queries=place, keys=place, own=True) for place in places]
    seen = [Part(queries=run, keys=places[a], own=False) for a, runs in below.items() for run in runs]
    return (*own, *seen)


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

    The measure is the model's own: a tree must come far closer to plain rows than a row whose branches see each other
    (in bfloat16 0.05 to 0.1 of it, over many positions; one position alone may be off by more than half).
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
        lengths = [6, 8, 7, 6, 5]
        nodes = some_tokens(size, sum(lengths)).to(module.device).split(lengths)
        ids, branches = torch.cat(nodes), torch.arange(lengths[0], sum(lengths), device=module.device)
        chain = Forest(lengths=tuple(lengths), ancestors=tuple(tuple(range(i)) for i in range(len(lengths))))
        as_tree, as_chain = (logits(module, ids, f, branches).float() for f in (Forest.trees(lengths), chain))
        rows = [module(torch.cat([nodes[0], node])[None], use_cache=False).logits[0] for node in nodes[1:]]
        as_rows = torch.cat([row[lengths[0] :] for row in rows]).float()
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
        return False
    return bool((as_tree - as_rows).abs().mean() < 0.2 * (as_chain - as_rows).abs().mean())


def some_tokens(size: int, n: int) -> torch.Tensor:
    """[n] tokens of a vocabulary, the same every time and without a pattern: on what repeats itself, rounding in
    bfloat16 makes a model's logits as different as a mistake would."""
    return torch.randint(size, (n,), generator=torch.Generator().manual_seed(0))


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
        return _PartByPart.apply(query[0], key[0], value[0], forest, scale)[None].transpose(1, 2), None
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


class _PartByPart(torch.autograd.Function):
    """On processors: each node's own triangle, and each node seen from below in one piece, put together by their
    normalisers. `X` the width of a head and the columns that carry a normaliser.

    A score rounded to bfloat16 is off by several percent. In the backward pass the normaliser therefore rides along as
    further columns of the product (`_with`): what is rounded is then log-probability, and the largest is exact.
    """

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, forest: Forest, scale: float) -> torch.Tensor:
        """[H, T, D] from query [H, T, D], key and value [K, T, D]."""
        (k, t, d), r = key.shape, query.shape[0] // key.shape[0]
        query_KTRD = query.view(k, r, t, d).transpose(1, 2).contiguous()
        out_KTRD, normaliser_KTR = torch.empty_like(query_KTRD), query.new_empty((k, t, r), dtype=torch.float32)
        for part in forest.parts():
            q, (k_S, v_S) = query_KTRD[:, part.queries], (x[:, part.keys] for x in (key, value))
            out, normaliser = out_KTRD[:, part.queries], normaliser_KTR[:, part.queries]
            if part.own:
                k_S, v_S = (x[:, None].expand(-1, r, -1, -1) for x in (k_S, v_S))
                o, n = flash(q.transpose(1, 2), k_S, v_S, 0.0, True, scale=scale)
                out.copy_(o.transpose(1, 2))
                normaliser.copy_(n.transpose(1, 2))
            else:
                o, n = flash(q.reshape(k, 1, -1, d), k_S[:, None], v_S[:, None], 0.0, False, scale=scale)
                o, n = o.reshape(out.shape), n.reshape(normaliser.shape)
                out.lerp_(o, (n - normaliser).sigmoid_()[..., None].to(out.dtype))
                torch.logaddexp(n, normaliser, out=normaliser)
        ctx.save_for_backward(query_KTRD, key, value, out_KTRD, normaliser_KTR)
        ctx.forest, ctx.scale = forest, scale
        return out_KTRD.transpose(1, 2).reshape(query.shape)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        query, key, value, out, normaliser = ctx.saved_tensors
        scale, (k, t, r, d) = ctx.scale, query.shape
        grad = grads[0].reshape(k, r, t, d).transpose(1, 2).contiguous()
        d_query, d_key, d_value = (torch.zeros_like(x, dtype=torch.float32) for x in (query, key, value))
        query_X, key_X = _with(query, -normaliser / scale), _with(key)
        grad_X, value_X = _with(grad, -(grad.float() * out.float()).sum(-1)), _with(value)
        for part in ctx.forest.parts():
            q, g, q_X, g_X = (x[:, part.queries].flatten(1, 2) for x in (query, grad, query_X, grad_X))
            weights = torch.bmm(q_X, key_X[:, part.keys].mT).mul_(scale).exp_()
            if part.own:
                later = torch.ones(q.shape[1] // r, weights.shape[2], dtype=torch.bool, device=q.device).triu_(1)
                weights.view(k, -1, r, weights.shape[2]).masked_fill_(later[:, None], 0)
            d_value[:, part.keys] += torch.bmm(weights.mT, g)
            d_scores = torch.bmm(g_X, value_X[:, part.keys].mT).mul_(weights)
            d_query[:, part.queries] += torch.bmm(d_scores, key[:, part.keys]).view(k, -1, r, d)
            d_key[:, part.keys] += torch.bmm(d_scores.mT, q)
        d_query, d_key = (x.mul_(scale).to(x_.dtype) for x, x_ in ((d_query, query), (d_key, key)))
        return d_query.transpose(1, 2).reshape(k * r, t, d), d_key, d_value.to(value.dtype), None, None


def _with(x: torch.Tensor, term: torch.Tensor | None = None) -> torch.Tensor:
    """[..., X]: `x` with further columns, so that a product with another adds `term` before it is rounded: the term in
    pieces of the precision of `x`, or (without a term) ones for the other's pieces."""
    pieces = 1 if x.dtype == torch.float32 else 3
    columns = x.new_zeros(*x.shape[:-1], x.shape[-1] + COLUMNS)
    columns[..., : x.shape[-1]] = x
    for i in range(pieces):
        place = columns[..., x.shape[-1] + i]
        place.copy_(term) if term is not None else place.fill_(1)
        term = term - place.float() if term is not None else None
    return columns


def _paths(forest: Forest) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Each node with all that it sees, itself last."""
    return ((i, (*ancestors, i)) for i, ancestors in enumerate(forest.ancestors))
