"""Attention of a forest on processors, forward and backward, in products that fill them.

What a node sees of itself is a triangle; triangles of similar size are computed together. What it sees of an ancestor
is a rectangle, one for all that see the same node. Both are put together by their normalisers. A score rounded to
bfloat16 is off by several percent; in the backward pass the normaliser therefore rides along as further columns of the
product, so that what is rounded is log-probability, of which the largest are the most exact.

`T` tokens of the row, `K` heads of keys and values, `R` queries that read the same keys, `D` width of a head, `N`
queries with all that read the same keys, `S` keys, `X` = D and some columns, `G` triangles of a batch, `L` the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from softgrpo.models.local.row_attention import flash

COLUMNS = 32
"""zeros included: processors multiply in tiles of this width"""
SCORES_AT_ONCE = 1 << 19
"""of triangles in a batch, in each head"""
SHORTEST = 0.75
"""of the longest triangle in a batch"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rectangle:
    """Tokens that see all of a node."""

    queries: slice
    keys: slice


@dataclass(frozen=True, slots=True, kw_only=True)
class Triangles:
    """Runs of tokens that see what comes before them in their run, padded on the right to one length."""

    tokens: torch.Tensor
    """[G L] where to find them in the row; a padded place repeats the run's last token"""
    real: torch.Tensor | None
    """[G L] False on padding; None where nothing is padded"""
    n: int
    """G"""
    run: slice | None = None
    """where the tokens are one piece of the row"""

    @classmethod
    def of(cls, places: Sequence[slice]) -> Triangles:
        """From where the runs lie in the row."""
        length = max(p.stop - p.start for p in places)
        steps = torch.arange(length)
        tokens = torch.cat([(p.start + steps).clamp(max=p.stop - 1) for p in places])
        real = torch.cat([steps < p.stop - p.start for p in places])
        in_order = all(a.stop == b.start for a, b in pairwise(places))
        run = slice(places[0].start, places[-1].stop) if in_order and real.all() else None
        return cls(tokens=tokens, real=None if real.all() else real, n=len(places), run=run)

    def gathered(self, x: torch.Tensor) -> torch.Tensor:
        """[K G, L, ...] from [K, T, ...]."""
        chosen = x[:, self.run] if self.run else x.index_select(1, self.tokens)
        return chosen.unflatten(1, (self.n, -1)).flatten(0, 1)

    def blanked(self, x: torch.Tensor) -> torch.Tensor:
        """`gathered`, with zeros for what is padded."""
        chosen = self.gathered(x)
        if self.real is not None:
            chosen.unflatten(0, (-1, self.n))[:, ~self.real.view(self.n, -1)] = 0
        return chosen

    def scatter(self, values: torch.Tensor, into: torch.Tensor) -> None:
        """The reverse, from [K G, L, ...] to [K, T, ...] in place; what was padded goes nowhere."""
        values = values.unflatten(0, (-1, self.n)).flatten(1, 2).to(into.dtype)
        if self.run:
            into[:, self.run] = values
        elif self.real is None:
            into.index_copy_(1, self.tokens, values)
        else:
            into.index_copy_(1, self.tokens[self.real], values[:, self.real])


Parts = tuple[Sequence[Triangles], Sequence[Rectangle]]


def together(places: Sequence[slice]) -> tuple[Triangles, ...]:
    """Triangles of similar size in batches."""
    batches: list[list[slice]] = []
    longest = 0
    for place in sorted(places, key=lambda p: (p.start - p.stop, p.start)):
        length = place.stop - place.start
        fits = batches and length >= SHORTEST * longest and (len(batches[-1]) + 1) * longest**2 <= SCORES_AT_ONCE
        if fits:
            batches[-1].append(place)
        else:
            batches.append([place])
            longest = length
    return tuple(Triangles.of(batch) for batch in batches)


def forward(
    query_KTRD: torch.Tensor,
    key_KTD: torch.Tensor,
    value_KTD: torch.Tensor,
    parts: Parts,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What attention gives, [K, T, R, D], and its log-normaliser [K, T, R] in float32."""
    k, t, r, d = query_KTRD.shape
    out_KTRD, normaliser_KTR = torch.empty_like(query_KTRD), query_KTRD.new_empty((k, t, r), dtype=torch.float32)
    for batch in parts[0]:
        q, keys, values = (batch.gathered(x) for x in (query_KTRD, key_KTD, value_KTD))
        keys, values = (x[:, None].expand(-1, r, -1, -1) for x in (keys, values))
        o, n = flash(q.transpose(1, 2), keys, values, 0.0, True, scale=scale)
        batch.scatter(o.transpose(1, 2), out_KTRD)
        batch.scatter(n.transpose(1, 2), normaliser_KTR)
    for part in parts[1]:
        q, keys, values = query_KTRD[:, part.queries], key_KTD[:, None, part.keys], value_KTD[:, None, part.keys]
        out, normaliser = out_KTRD[:, part.queries], normaliser_KTR[:, part.queries]
        o, n = flash(q.reshape(k, 1, -1, d), keys, values, 0.0, False, scale=scale)
        o, n = o.reshape(out.shape), n.reshape(normaliser.shape)
        out.lerp_(o, (n - normaliser).sigmoid_()[..., None].to(out.dtype))
        torch.logaddexp(n, normaliser, out=normaliser)
    return out_KTRD, normaliser_KTR


def backward(
    grad_KTRD: torch.Tensor,
    seen: Sequence[torch.Tensor],
    parts: Parts,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of query, key and value, in float32; `seen` are those, and what `forward` made of them."""
    query_KTRD, key_KTD, value_KTD, out_KTRD, normaliser_KTR = seen
    r, d = query_KTRD.shape[2:]
    d_query, d_key, d_value = (x.new_empty(x.shape, dtype=torch.float32) for x in (query_KTRD, key_KTD, value_KTD))
    query, key = _with(query_KTRD, normaliser_KTR / -scale), _with(key_KTD)
    grad, value = _with(grad_KTRD, -(grad_KTRD * out_KTRD).sum(-1, dtype=torch.float32)), _with(value_KTD)
    for batch in parts[0]:
        q, g, keys, values = batch.gathered(query), batch.blanked(grad), batch.gathered(key), batch.gathered(value)
        d_q, d_k, d_v = _products(q.flatten(1, 2), g.flatten(1, 2), keys, values, scale, triangle=True)
        batch.scatter(d_q[..., :d].unflatten(1, (-1, r)), d_query)
        batch.scatter(d_k[..., :d], d_key)
        batch.scatter(d_v[..., :d], d_value)
    for part in parts[1]:
        q, g = (x[:, part.queries].flatten(1, 2) for x in (query, grad))
        d_q, d_k, d_v = _products(q, g, key[:, part.keys], value[:, part.keys], scale)
        d_query[:, part.queries] += d_q[..., :d].unflatten(1, (-1, r))
        d_key[:, part.keys] += d_k[..., :d]
        d_value[:, part.keys] += d_v[..., :d]
    return d_query.mul_(scale), d_key.mul_(scale), d_value


def _products(
    query_BNX: torch.Tensor,
    grad_BNX: torch.Tensor,
    key_BSX: torch.Tensor,
    value_BSX: torch.Tensor,
    scale: float,
    *,
    triangle: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """[B, N, X], [B, S, X] and [B, S, X]: gradients of queries, keys and values, in the columns of each."""
    weights_BNS = torch.bmm(query_BNX, key_BSX.mT).mul_(scale).exp_()
    if triangle:
        b, n, s = weights_BNS.shape
        later = torch.ones(s, s, dtype=torch.bool).triu_(1)
        weights_BNS.view(b, s, n // s, s).masked_fill_(later[:, None], 0)
    d_value_BSX = torch.bmm(weights_BNS.mT, grad_BNX)
    d_scores_BNS = torch.bmm(grad_BNX, value_BSX.mT).mul_(weights_BNS)
    return torch.bmm(d_scores_BNS, key_BSX), torch.bmm(d_scores_BNS.mT, query_BNX), d_value_BSX


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
