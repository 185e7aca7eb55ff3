"""What a model lets be done faster, found out on a few tokens and on the device at hand: once for each model, and never
believed unmeasured."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from softgrpo.models.faults import slower
from softgrpo.models.local.prefix_tree import PrefixTree
from softgrpo.models.local.tree_attention import tree_logits

LENGTHS = (6, 8, 7, 6, 5)
"""of the tree that is tried: a root and its branches"""
FAR = 0.2
"""of the distance to a row whose branches see each other may a tree's logits be from those of plain rows: in bfloat16
0.05 to 0.1 over many positions (one position alone may be off by more than half)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Of one model on one device."""

    tree_attention: bool = False
    """attends by our function: what sequences share is computed once, in sampling, learning and judging"""
    tree_mask: bool = False
    """reads a prefix tree under a 4-D mask"""
    plain_head: bool = False
    """logits are the last hidden states times a matrix, and are taken a slice of the vocabulary at a time"""

    @property
    def trees(self) -> bool:
        """A group is one row, one way or the other."""
        return self.tree_attention or self.tree_mask


@torch.no_grad()
def measured(module: Any) -> Capabilities:
    """Try each way beside the plain one. What fails or differs is not used, and that is said.

    Not so with sliding windows, state-space layers, or where attention cannot be named. Memory that runs out is no
    finding: that error is raised (`faults.slower`).
    """
    by_attention = _reads_trees(module, tree_logits, "by attention: what rows share is computed for each (slower)")
    by_mask = by_attention or _reads_trees(module, masked_logits, "at all: completions are padded (slower)")
    return Capabilities(tree_attention=by_attention, tree_mask=by_mask, plain_head=_has_plain_head(module))


def masked_logits(module: Any, ids_T: torch.Tensor, tree: PrefixTree, kept: torch.Tensor) -> torch.Tensor:
    """[kept, V] logits of a tree under a 4-D mask."""
    mask = additive(tree.mask(), module.dtype).to(module.device)
    positions = torch.tensor([tree.positions()], device=module.device)
    out = module(input_ids=ids_T[None], attention_mask=mask, position_ids=positions, use_cache=False)
    return out.logits[0, kept]


def additive(sees_TT: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """[1, 1, T, T] what is added to scores, so that every attention implementation takes it."""
    return torch.zeros(sees_TT.shape, dtype=dtype).masked_fill_(~sees_TT, torch.finfo(dtype).min)[None, None]


def _reads_trees(module: Any, logits: Callable[..., torch.Tensor], consequence: str) -> bool:
    """The measure is the model's own: a tree must come far closer to plain rows than a row whose branches see each
    other."""
    try:
        window = getattr(module.config, "sliding_window", None)
        if window is not None and getattr(module.config, "use_sliding_window", True):
            raise TypeError(f"it attends to a window of {window} tokens")
        ids = some_tokens(module.get_input_embeddings().num_embeddings, sum(LENGTHS)).to(module.device)
        root, *branches = ids.split(LENGTHS)
        kept = torch.arange(LENGTHS[0], sum(LENGTHS), device=module.device)
        chain = PrefixTree(lengths=LENGTHS, ancestors=tuple(tuple(range(i)) for i in range(len(LENGTHS))))
        as_tree, as_chain = (logits(module, ids, t, kept).float() for t in (PrefixTree.trees(LENGTHS), chain))
        rows = [module(torch.cat([root, branch])[None], use_cache=False).logits[0] for branch in branches]
        as_rows = torch.cat([row[LENGTHS[0] :] for row in rows]).float()
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        slower(f"this model reads no prefix trees {consequence}", error)
        return False
    off = float((as_tree - as_rows).abs().mean() / (as_chain - as_rows).abs().mean())
    if not off < FAR:
        warnings.warn(f"this model reads no prefix trees {consequence}: its logits differ", stacklevel=2)
    return off < FAR


def _has_plain_head(module: Any) -> bool:
    """Logits are the last hidden states times a matrix, without bias, cap or scale."""
    consequence = "the head is no plain product: logits are held whole (more memory)"
    try:
        head = module.get_output_embeddings()
        if type(head) is not torch.nn.Linear or head.bias is not None:
            warnings.warn(consequence, stacklevel=2)
            return False
        ids = some_tokens(module.get_input_embeddings().num_embeddings, 8)[None].to(module.device)
        whole = module(input_ids=ids, use_cache=False).logits.float()
        parts = head(module.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state).float()
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        slower(consequence, error)
        return False
    is_plain = torch.allclose(whole, parts, rtol=1e-2, atol=1e-3 * float(whole.abs().max()))
    if not is_plain:
        warnings.warn(consequence, stacklevel=2)
    return is_plain


def some_tokens(size: int, n: int) -> torch.Tensor:
    """[n] tokens of a vocabulary, the same every time and without a pattern: on what repeats itself, rounding in
    bfloat16 makes a model's logits as different as a mistake would."""
    return torch.randint(size, (n,), generator=torch.Generator().manual_seed(0))
