"""What a model says of a forest: its last hidden states and logits, by the fastest way that the model allows.

Decoders of the usual shape are computed from their weights on processors, with fewer passes over memory. Beside the
products a decoder makes dozens of passes over arrays that no cache holds; here what lies between two products is done
a few rows at a time, and the backward pass computes again what is cheaper than to keep. `T` tokens, `E` width of the
model, `I` inner width, `H` heads, `K` heads of keys and values, `A` = H + 2 K (queries, keys, values), `D` width of a
head, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from softgrpo.models.local import forest, forest_kernel
from softgrpo.models.local.forest import Forest, Keep
from softgrpo.models.local.token_step import has_usual_shape

BYTES_AT_ONCE = 1 << 20
"""of float32 of one array, so that a handful of arrays stays in a cache"""


def applies(module: Any) -> bool:
    """Whether the model is computed here: of the usual shape, in memory of the processor, and not asked to compute
    its layers again."""
    usual = module.device.type == "cpu" and has_usual_shape(module)
    return usual and not any(
        layer.training and getattr(layer, "gradient_checkpointing", False) for layer in module.get_decoder().layers
    )


def states(module: Any, ids_T: torch.Tensor, row: Forest, kept: torch.Tensor) -> torch.Tensor:
    """[kept, E] last hidden states at some positions of the row of tokens."""
    return _states(module, ids_T, row, kept, None) if applies(module) else forest.states(module, ids_T, row)[kept]


def logits(
    module: Any, ids_T: torch.Tensor, row: Forest, kept: torch.Tensor, *, keep: Keep | None = None
) -> torch.Tensor:
    """[kept, V] logits at some positions of the row; `keep` is given each layer's number, keys and values."""
    if not applies(module):
        return forest.logits(module, ids_T, row, kept, keep=keep)
    return module.get_output_embeddings()(_states(module, ids_T, row, kept, keep))


def _states(module: Any, ids_T: torch.Tensor, row: Forest, kept: torch.Tensor, keep: Keep | None) -> torch.Tensor:
    decoder = module.get_decoder()
    x_TE = decoder.embed_tokens(ids_T)
    cos, sin = decoder.rotary_emb(x_TE[None], torch.tensor([row.positions()]))
    half = sin.shape[-1] // 2
    turn = cos[0, :, None].float(), torch.cat([-sin[..., :half], sin[..., half:]], -1)[0, :, None].float()
    for i, layer in enumerate(decoder.layers):
        attention, gated = layer.self_attn, layer.mlp
        heads = _heads(attention, _normed(layer.input_layernorm, x_TE))
        k = attention.k_proj.out_features // attention.head_dim
        mixed = _Attention.apply(heads, *turn, row, attention.scaling, k, partial(keep, i) if keep else None)
        if i == len(decoder.layers) - 1:  # from here on each token is by itself
            mixed, x_TE = mixed[kept], x_TE[kept]
        x_TE = _added(x_TE, mixed, attention.o_proj)
        normed = _normed(layer.post_attention_layernorm, x_TE)
        if any(x.bias is not None for x in (gated.gate_proj, gated.up_proj, gated.down_proj)):
            x_TE = x_TE + gated(normed)
        else:
            x_TE = _Gated.apply(x_TE, normed, gated.gate_proj.weight, gated.up_proj.weight, gated.down_proj.weight)
    return _normed(decoder.norm, x_TE)


def _heads(attention: Any, x_TE: torch.Tensor) -> torch.Tensor:
    """[T, A, D] queries, keys and values by one product."""
    linears = attention.q_proj, attention.k_proj, attention.v_proj
    bias = None if linears[0].bias is None else torch.cat([x.bias for x in linears])
    heads = torch.nn.functional.linear(x_TE, torch.cat([x.weight for x in linears]), bias)
    heads = heads.view(len(x_TE), -1, attention.head_dim)
    if not hasattr(attention, "q_norm"):
        return heads
    query, key, value = heads.split([x.out_features // attention.head_dim for x in linears], 1)
    return torch.cat([attention.q_norm(query), attention.k_norm(key), value], 1)


def _normed(norm: Any, x_TE: torch.Tensor) -> torch.Tensor:
    return _Norm.apply(x_TE, norm.weight, norm.variance_epsilon if hasattr(norm, "variance_epsilon") else norm.eps)


def _added(x_TE: torch.Tensor, inner: torch.Tensor, linear: Any) -> torch.Tensor:
    """The product added to what it changes."""
    return torch.addmm(x_TE, inner, linear.weight.T) if linear.bias is None else x_TE + linear(inner)


class _Norm(torch.autograd.Function):
    """By the root of the mean square."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        y, inverse = torch.empty_like(x), x.new_empty((len(x), 1), dtype=torch.float32)
        size, wide = x.shape[-1], weight.float()
        for rows in _rows(x):
            square = torch.linalg.vector_norm(x[rows], dim=-1, keepdim=True, dtype=torch.float32).square_()
            torch.rsqrt(square.div_(size).add_(epsilon), out=inverse[rows])
            torch.mul(x[rows] * inverse[rows], wide, out=y[rows])
        ctx.save_for_backward(x, weight, inverse)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        x, weight, inverse = ctx.saved_tensors
        d_x, d_weight, wide = torch.empty_like(x), torch.zeros_like(weight, dtype=torch.float32), weight.float()
        for rows in _rows(x):
            unit = x[rows] * inverse[rows]
            along = grads[0][rows] * unit
            d_weight += along.sum(0)
            share = (along @ wide).div_(x.shape[-1])[:, None]
            torch.mul((grads[0][rows] * wide).addcmul_(unit, share, value=-1), inverse[rows], out=d_x[rows])
        return d_x, d_weight.to(weight.dtype), None


class _Attention(torch.autograd.Function):
    """Rotary positions and the attention of a forest."""

    @staticmethod
    def forward(ctx: Any, heads: Any, cos: Any, sin: Any, row: Forest, scale: float, k: int, keep: Any) -> torch.Tensor:
        """[T, H D] from [T, A, D], cosines and sines [T, 1, D] (the sines with the sign with which the other half of a
        head is added); `keep` is given keys and values [K, T, D]."""
        t, a, d = heads.shape
        n = a - k  # queries and keys
        query_KTRD, key = heads.new_empty(k, t, n // k - 1, d), heads.new_empty(k, t, d)
        query_TKRD, value = query_KTRD.transpose(0, 1), heads[:, n:].transpose(0, 1)
        for rows in _rows(heads):
            plain = heads[rows, :n]
            turned = torch.addcmul(plain * cos[rows], plain.roll(d // 2, -1), sin[rows])
            query_TKRD[rows] = turned[:, : n - k].view(len(turned), k, -1, d)
            key[:, rows] = turned[:, n - k :].transpose(0, 1)
        if keep:
            keep(key, value)
        out, normaliser = forest_kernel.forward(query_KTRD, key, value, row.parts, scale)
        ctx.save_for_backward(query_KTRD, key, value, out, normaliser, cos, sin)
        ctx.row, ctx.scale = row, scale
        return out.transpose(0, 1).reshape(t, -1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        *given, cos, sin = ctx.saved_tensors
        k, t, r, d = given[0].shape
        grad = grads[0].view(t, k, r, d).transpose(0, 1).contiguous()
        d_query, d_key, d_value = forest_kernel.backward(grad, given, ctx.row.parts, ctx.scale)
        d_heads = grad.new_empty(t, k * r + 2 * k, d)
        d_heads[:, k * r + k :] = d_value.transpose(0, 1)
        by_token = d_query.transpose(0, 1), d_key.transpose(0, 1)
        for rows in _rows(d_heads):
            d_turned = torch.cat([by_token[0][rows].flatten(1, 2), by_token[1][rows]], 1)
            back = (d_turned * sin[rows]).roll(d // 2, -1)
            torch.addcmul(back, d_turned, cos[rows], out=d_heads[rows, : k * r + k])
        return d_heads, *[None] * 6


class _Gated(torch.autograd.Function):
    """before + down(silu(gate(x)) up(x))."""

    @staticmethod
    def forward(ctx: Any, before: Any, x: Any, gate_IE: Any, up_IE: Any, down_EI: Any) -> torch.Tensor:
        gate_TI, up_TI = x @ gate_IE.T, x @ up_IE.T
        inner_TI = torch.empty_like(gate_TI)
        for rows in _rows(inner_TI):
            torch.mul(torch.nn.functional.silu(gate_TI[rows]), up_TI[rows], out=inner_TI[rows])
        ctx.save_for_backward(x, gate_TI, up_TI, gate_IE, up_IE, down_EI)
        return torch.addmm(before, inner_TI, down_EI.T)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        x, gate_TI, up_TI, gate_IE, up_IE, down_EI = ctx.saved_tensors
        d_inner_TI = grads[0] @ down_EI
        inner_TI, d_gate_TI = torch.empty_like(gate_TI), torch.empty_like(gate_TI)
        for rows in _rows(inner_TI):
            active = torch.nn.functional.silu(gate_TI[rows])
            torch.mul(active, up_TI[rows], out=inner_TI[rows])
            d_gate_TI[rows] = torch.ops.aten.silu_backward(d_inner_TI[rows] * up_TI[rows], gate_TI[rows])
            d_inner_TI[rows] *= active  # from here on the gradient of `up`
        d_x = torch.addmm(d_gate_TI @ gate_IE, d_inner_TI, up_IE)
        return grads[0], d_x, d_gate_TI.T @ x, d_inner_TI.T @ x, grads[0].T @ inner_TI


def _rows(x: torch.Tensor) -> Iterator[slice]:
    """A few rows at a time."""
    size = max(1, BYTES_AT_ONCE // (4 * x[0].numel()))
    return (slice(start, start + size) for start in range(0, len(x), size))
