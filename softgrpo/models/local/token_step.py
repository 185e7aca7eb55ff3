"""One more token of every row: by the model as it is, or by its weights in fewer and larger operations.

With a handful of rows a model spends as long on its many small operations as on its weights. Decoders of the usual
shape (Llama, Mistral, Qwen: norm, attention with rotary positions, norm, gated layer) are therefore computed from their
weights: queries, keys and values are one product, and what follows a product is done with it. `B` rows, `E` width of
the model, `H` heads, `K` heads of keys and values, `C` = 2 K (keys, then values), `D` width of a head, `V` vocabulary.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch

from softgrpo.models.faults import slower
from softgrpo.models.local.attention import attending, refuse, register
from softgrpo.models.local.forest import some_tokens
from softgrpo.models.local.packed_weights import LARGEST, WORTH_IT, packed_weights, product
from softgrpo.models.local.row_attention import plainly

ROWS = "softgrpo_rows"


class Rows(Protocol):
    """Whoever keeps the rows' keys and values."""

    def attend(self, layer: int, query_BHD: torch.Tensor, new_BCD: torch.Tensor, scale: float) -> torch.Tensor:
        """[B, H, D] from the queries and the new keys and values."""


Step = Callable[[torch.Tensor, torch.Tensor, Rows], torch.Tensor]
"""[B, V] logits from each row's new token [B], its position [B], and the rows"""


@contextlib.contextmanager
def token_step(module: Any, rows: int, *, steps: int) -> Iterator[Step]:
    """The faster way that the model allows, for `steps` steps of `rows` rows. The weights must not change meanwhile,
    and no gradient is computed."""
    large = module.device.type == "cpu" and sum(p.nbytes for p in module.parameters()) > LARGEST
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
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    new_BCD = torch.cat([key, value], 1)[:, :, 0]
    return rows.attend(module.layer_idx, query[:, :, 0], new_BCD, scale)[:, None], None


register(ROWS, rows_attention)


class LeanStep:
    """A decoder of the usual shape, from its weights."""

    def __init__(self, module: Any, rows: int) -> None:
        self.decoder = module.get_decoder()
        self.layers = [_Layer(layer, rows) for layer in self.decoder.layers]
        self.norm = _Norm(self.decoder.norm)
        head = module.get_output_embeddings()
        self.head = product(head.weight, head.bias, rows)

    def __call__(self, token_B: torch.Tensor, position_B: torch.Tensor, rows: Rows) -> torch.Tensor:
        x_BE = self.decoder.embed_tokens(token_B)
        turn = self.layers[0].turn(*self.decoder.rotary_emb(x_BE[:, None], position_B[:, None]))
        for i, layer in enumerate(self.layers):
            x_BE = layer(i, x_BE, turn, rows)
        return self.head(self.norm(x_BE))


class _Layer:
    def __init__(self, layer: Any, rows: int) -> None:
        attention, gated = layer.self_attn, layer.mlp
        self.before, self.between = _Norm(layer.input_layernorm), _Norm(layer.post_attention_layernorm)
        self.d, self.scale = attention.head_dim, attention.scaling
        self.h, self.k = attention.q_proj.out_features // self.d, attention.k_proj.out_features // self.d
        self.norms = [
            (_Norm(getattr(attention, name)), part)
            for name, part in (("q_norm", slice(self.h)), ("k_norm", slice(self.h, self.h + self.k)))
            if hasattr(attention, name)
        ]
        self.qkv = _together((attention.q_proj, attention.k_proj, attention.v_proj), rows)
        self.out, self.gate, self.up, self.down = (
            product(linear.weight, linear.bias, rows)
            for linear in (attention.o_proj, gated.gate_proj, gated.up_proj, gated.down_proj)
        )

    def turn(self, cos: torch.Tensor, sin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What turns queries and keys, float32 [B, H + K, D] each, from [B, 1, D]; the sines carry the sign with which
        the other half of a head is added."""
        cos, sin = cos.float(), sin.float()
        signed = torch.cat([-sin[..., : self.d // 2], sin[..., self.d // 2 :]], -1)
        return cos.repeat(1, self.h + self.k, 1), signed.repeat(1, self.h + self.k, 1)

    def __call__(self, i: int, x_BE: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor], rows: Rows) -> torch.Tensor:
        heads = self.qkv(self.before(x_BE)).view(len(x_BE), -1, self.d)
        for norm, part in self.norms:
            heads[:, part] = norm(heads[:, part])
        turned, (cos, signed_sin) = heads[:, : -self.k], turn
        torch.addcmul(turned * cos, turned.roll(self.d // 2, -1), signed_sin, out=turned)
        mixed = rows.attend(i, heads[:, : self.h], heads[:, self.h :], self.scale)
        x_BE = self.out.plus(mixed.flatten(1), x_BE)
        normed = self.between(x_BE)
        return self.down.plus(self.up.times(normed, self.gate.silu(normed)), x_BE)


class _Norm:
    """By the root of the mean square, in as few operations as there are."""

    def __init__(self, norm: Any) -> None:
        size = norm.weight.numel()
        epsilon = norm.variance_epsilon if hasattr(norm, "variance_epsilon") else norm.eps
        self.weight = norm.weight.float() * size**0.5
        self.least = torch.tensor((size * float(epsilon)) ** 0.5, device=norm.weight.device)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        return x.div(length.hypot_(self.least)).mul_(self.weight).to(x.dtype)


def _together(linears: Any, rows: int) -> Any:
    """One product for layers that read the same; on a GPU, whose weights are not laid out anew, one after another."""
    if linears[0].weight.device.type != "cpu":
        return lambda x: torch.cat([linear(x) for linear in linears], -1)
    bias = None if linears[0].bias is None else torch.cat([x.bias for x in linears])
    return product(torch.cat([x.weight for x in linears]), bias, rows)


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
        return all(type(x) is torch.nn.Linear for x in linears) and module.config.hidden_act == "silu"
    except (AttributeError, TypeError):
        return False


class _Past:
    """Rows without a prompt, for the measure."""

    def __init__(self) -> None:
        self.kept: dict[int, list[torch.Tensor]] = {}

    def attend(self, layer: int, query_BHD: torch.Tensor, new_BCD: torch.Tensor, scale: float) -> torch.Tensor:
        kept = self.kept.setdefault(layer, [])
        kept.append(new_BCD)
        keys, values = torch.stack(kept, 2).chunk(2, 1)
        b, h, d = query_BHD.shape
        out, _ = plainly(query_BHD.view(b, keys.shape[1], -1, d), keys, values, None, scale)
        return out.view(b, h, d)


@torch.no_grad()
def _measured(module: Any) -> bool:
    try:
        size = module.get_input_embeddings().num_embeddings
        ids_BT = some_tokens(size, 32).view(4, 8).to(module.device)
        whole = module(ids_BT, use_cache=False).logits.float()
        step, rows = LeanStep(module, len(ids_BT)), _Past()
        found = [step(ids_BT[:, t], torch.full_like(ids_BT[:, t], t), rows).float() for t in range(ids_BT.shape[1])]
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        slower("this model is not computed from its weights (slower)", error)
        return False
    off = (torch.stack(found, 1) - whole).abs().mean() / whole.std()
    return bool(off < (1e-3 if module.dtype == torch.float32 else 0.1))
