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

from softgrpo.models.faults import slower
from softgrpo.models.local import forest_kernel
from softgrpo.models.local.attention import attending, refuse, register
from softgrpo.models.local.forest_kernel import Parts, Rectangle, together

FOREST = "softgrpo_forest"
Keep = Callable[[int, torch.Tensor, torch.Tensor], None]
"""given a layer's number, its keys and its values, [K, T, D]"""


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

    @property
    def parts(self) -> Parts:
        """What each node's tokens see of it, and what those below see.

        >>> Forest.trees([2, 2, 1]).parts[1]
        (Rectangle(queries=slice(2, 5, None), keys=slice(0, 2, None)),)
        """
        return _parts(self)

    def positions(self) -> list[int]:
        """[T] how many tokens each token has before it on its way from the root."""
        starts = [sum(self.lengths[a] for a in ancestors) for ancestors in self.ancestors]
        return [start + k for start, length in zip(starts, self.lengths, strict=True) for k in range(length)]


@lru_cache(maxsize=8)
def _parts(forest: Forest) -> Parts:
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
    seen = tuple(Rectangle(queries=run, keys=places[a]) for a, runs in below.items() for run in runs)
    return together(places), seen


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
    keep: Keep | None = None,
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
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        slower("this model reads no forests: what rows share is computed for each (slower)", error)
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
    keep: Keep | None = None,
    **other: Any,
) -> tuple[torch.Tensor, None]:
    """[1, T, H, D] from query [1, H, T, D], key and value [1, K, T, D]; the interface of `transformers`."""
    refuse(other)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if keep is not None:
        keep(module.layer_idx, key[0], value[0])
    if query.device.type == "cpu" and not dropout:
        return _PartByPart.apply(query[0], key[0], value[0], forest, scale)[None], None
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
    """By `forest_kernel`, on processors."""

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, forest: Forest, scale: float) -> torch.Tensor:
        """[T, H, D] from query [H, T, D], key and value [K, T, D]."""
        (k, t, d), h = key.shape, len(query)
        query_KTRD = query.view(k, -1, t, d).transpose(1, 2).contiguous()
        out, normaliser = forest_kernel.forward(query_KTRD, key, value, forest.parts, scale)
        ctx.save_for_backward(query_KTRD, key, value, out, normaliser)
        ctx.forest, ctx.scale = forest, scale
        return out.transpose(0, 1).reshape(t, h, d)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        query, key, value, out, normaliser = ctx.saved_tensors
        k, t, r, d = query.shape
        grad = grads[0].reshape(t, k, r, d).transpose(0, 1).contiguous()
        given = (query, key, value, out, normaliser)
        d_query, d_key, d_value = forest_kernel.backward(grad, given, ctx.forest.parts, ctx.scale)
        d_query = d_query.to(query.dtype).transpose(1, 2).reshape(k * r, t, d)
        return d_query, d_key.to(key.dtype), d_value.to(value.dtype), None, None


def _paths(forest: Forest) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Each node with all that it sees, itself last."""
    return ((i, (*ancestors, i)) for i, ancestors in enumerate(forest.ancestors))
