"""One more token of every row: by the model as it is, or by its weights in fewer and larger operations.

With a handful of rows a model spends as long on its many small operations as on its weights. Decoders of the usual
shape (Llama, Mistral, Qwen: norm, attention with rotary positions, norm, gated layer) are therefore computed from their
weights: queries, keys and values are one product, gate and up another. `B` rows, `E` width of the model, `H` heads,
`K` heads of keys and values, `R` = H / K, `D` width of a head, `V` vocabulary.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch

from softgrpo.models.attention import attending, refuse, register
from softgrpo.models.packed_weights import LARGEST, WORTH_IT, packed_weights, product

ROWS = "softgrpo_rows"


class Rows(Protocol):
    """Whoever keeps the rows' keys and values."""

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """[B, K, R, D] from queries of that shape, scaled and float32, and the new key and value, [B, K, D]."""


Step = Callable[[torch.Tensor, torch.Tensor, Rows], torch.Tensor]
"""[B, V] logits from each row's new token [B], its position [B], and the rows"""


@contextlib.contextmanager
def token_step(module: Any, rows: int, *, steps: int) -> Iterator[Step]:
    """The faster way that the model allows, for `steps` steps of `rows` rows. The weights must not change meanwhile,
    and no gradient is computed."""
    large = sum(p.nbytes for p in module.parameters()) > LARGEST
    if steps >= WORTH_IT and not large and has_usual_shape(module):
        yield LeanStep(module, rows)
    else:
        if steps >= WORTH_IT and not large:
            warnings.warn("this model takes its own steps: its layers or adapters are not fused (slower)", stacklevel=4)
        with packed_weights(module, rows, steps=steps):
            yield ModuleStep(module)


class ModuleStep:
    """The model as it is, with attention to the rows."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def __call__(self, token_B: torch.Tensor, position_B: torch.Tensor, rows: Rows) -> torch.Tensor:
        with attending(self.module, ROWS):
            out = self.module(input_ids=token_B[:, None], position_ids=position_B[:, None], use_cache=False, rows=rows)
        return out.logits[:, -1]


def rows_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    rows: Rows,
    scaling: float | None = None,
    **other: Any,
) -> tuple[torch.Tensor, None]:
    """[B, 1, H, D] from query [B, H, 1, D], key and value [B, K, 1, D]; the interface of `transformers`."""
    refuse(other)
    b, h, _, d = query.shape
    grouped = query[:, :, 0].float().mul_(d**-0.5 if scaling is None else scaling).view(b, key.shape[1], -1, d)
    return rows.attend(module.layer_idx, grouped, key[:, :, 0], value[:, :, 0]).reshape(b, 1, h, d), None


register(ROWS, rows_attention)


class LeanStep:
    """A decoder of the usual shape, from its weights."""

    def __init__(self, module: Any, rows: int) -> None:
        self.decoder = module.get_decoder()
        self.layers = [_Layer(layer, rows) for layer in self.decoder.layers]
        head = module.get_output_embeddings()
        self.head = product(head.weight, head.bias, rows)

    def __call__(self, token_B: torch.Tensor, position_B: torch.Tensor, rows: Rows) -> torch.Tensor:
        x_BE = self.decoder.embed_tokens(token_B)
        turn = self.layers[0].turn(*self.decoder.rotary_emb(x_BE[:, None], position_B[:, None]))
        for i, layer in enumerate(self.layers):
            x_BE = layer(i, x_BE, turn, rows)
        return self.head(_normed(self.decoder.norm, x_BE))


class _Layer:
    def __init__(self, layer: Any, rows: int) -> None:
        attention, gated = layer.self_attn, layer.mlp
        self.before, self.between = layer.input_layernorm, layer.post_attention_layernorm
        self.d, self.scale = attention.head_dim, attention.scaling
        self.h, self.k = attention.q_proj.out_features // self.d, attention.k_proj.out_features // self.d
        self.norms = getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)
        self.qkv = _together((attention.q_proj, attention.k_proj, attention.v_proj), rows)
        self.out = product(attention.o_proj.weight, attention.o_proj.bias, rows)
        self.gate_up = _together((gated.gate_proj, gated.up_proj), rows)
        self.act = gated.act_fn
        self.down = product(gated.down_proj.weight, gated.down_proj.bias, rows)

    def turn(self, cos: torch.Tensor, sin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What turns queries (and scales them) and keys, float32 [B, H + K, D] each, from [B, 1, D]; the sines carry
        the sign with which the other half of a head is added."""
        half = self.d // 2
        scale = torch.ones(self.h + self.k, 1, device=cos.device)
        scale[: self.h] = self.scale
        cos, sin = cos.float(), sin.float()
        return cos * scale, torch.cat([-sin[..., :half], sin[..., half:]], -1) * scale

    def __call__(self, i: int, x_BE: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor], rows: Rows) -> torch.Tensor:
        b = len(x_BE)
        heads = self.qkv(_normed(self.before, x_BE)).view(b, -1, self.d)
        turned, value = heads[:, : -self.k], heads[:, -self.k :]
        for norm, part in zip(self.norms, (slice(-self.k), slice(-self.k, None)), strict=True):
            if norm is not None:
                turned[:, part] = _normed(norm, turned[:, part])
        turned = _turned(turned.float(), *turn)
        mixed = rows.attend(i, turned[:, : -self.k].view(b, self.k, -1, self.d), turned[:, -self.k :], value)
        x_BE = self.out(mixed.reshape(b, -1)).add_(x_BE)
        gate, up = self.gate_up(_normed(self.between, x_BE)).chunk(2, -1)
        return self.down(self.act(gate).mul_(up)).add_(x_BE)


def _together(linears: Any, rows: int) -> Any:
    """One product for layers that read the same."""
    bias = None if linears[0].bias is None else torch.cat([x.bias for x in linears])
    return product(torch.cat([x.weight for x in linears]), bias, rows)


def _normed(norm: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.rms_norm(x, x.shape[-1:], norm.weight, _epsilon(norm))


def _epsilon(norm: Any) -> float:
    return float(norm.variance_epsilon if hasattr(norm, "variance_epsilon") else norm.eps)


def _turned(x: torch.Tensor, cos: torch.Tensor, signed_sin: torch.Tensor) -> torch.Tensor:
    """[B, heads, D] with rotary positions, from cosines and sines of that shape."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), signed_sin)


FAMILIES = {"llama", "mistral", "qwen2", "qwen3"}
LAYER = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
GATED = {"gate_proj", "up_proj", "down_proj", "act_fn"}


def has_usual_shape(module: Any) -> bool:
    """Whether the model is what `LeanStep` computes: of a family known for it, made of its parts alone, and with the
    same logits on a few tokens, up to rounding. Looked at once for each model."""
    known = module.__dict__.get("_softgrpo_usual_shape")
    if known is None:
        known = module.__dict__["_softgrpo_usual_shape"] = _has_usual_parts(module) and _measured(module)
    return known


def _has_usual_parts(module: Any) -> bool:
    """Nothing beside the parts that are computed (no adapters), and plain products throughout."""
    try:
        if module.config.model_type not in FAMILIES:
            return False
        linears = [module.get_output_embeddings()]
        for layer in module.get_decoder().layers:
            attention = dict(layer.self_attn.named_children())
            if set(dict(layer.named_children())) != LAYER or set(dict(layer.mlp.named_children())) != GATED:
                return False
            if set(attention) - {"q_norm", "k_norm"} != ATTENTION:
                return False
            linears += [attention[name] for name in ATTENTION]
            linears += [getattr(layer.mlp, name) for name in GATED - {"act_fn"}]
        return all(type(x) is torch.nn.Linear for x in linears)
    except (AttributeError, TypeError):
        return False


class _Past:
    """Rows without a prompt, for the measure."""

    def __init__(self) -> None:
        self.kept: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        kept = self.kept.setdefault(layer, [])
        kept.append((key.float(), value.float()))
        keys, values = (torch.stack(x, 2) for x in zip(*kept, strict=True))
        return ((query @ keys.mT).softmax(-1) @ values).to(value.dtype)


@torch.no_grad()
def _measured(module: Any) -> bool:
    try:
        size = module.get_input_embeddings().num_embeddings
        ids_BT = torch.tensor([[(7 * k + 3 * i) % size for k in range(4)] for i in range(2)], device=module.device)
        whole = module(ids_BT, use_cache=False).logits.float()
        step, rows = LeanStep(module, 2), _Past()
        found = [step(ids_BT[:, t], torch.full_like(ids_BT[:, t], t), rows).float() for t in range(ids_BT.shape[1])]
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError):
        return False
    off = (torch.stack(found, 1) - whole).abs().mean() / whole.std()
    return bool(off < (1e-3 if module.dtype == torch.float32 else 0.1))
