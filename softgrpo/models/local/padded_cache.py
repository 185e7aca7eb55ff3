"""A KV cache of rows that grow a token at a time, by a model's own attention and cache: the plain way, and the one on
GPUs, where the model's own attention is a well-kept kernel.

`B` rows, `L` length so far, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


class PaddedCache:
    """Prompts padded on the left, computed once and repeated; all rows begin together."""

    def __init__(self, module: Any, prompts: Sequence[Sequence[int]], pad_id: int) -> None:
        self.module, self.prompts, self.pad_id = module, prompts, pad_id

    def place(self, rows: Sequence[int], prompt_of: Sequence[int]) -> torch.Tensor:
        """Begin all completions of the batch; returns their first logits [B, V]."""
        ids_BL, mask_BL = left_padded(
            [self.prompts[p] for p in sorted(set(prompt_of))], self.pad_id, self.module.device
        )
        positions_BL = (mask_BL.cumsum(1) - 1).clamp(min=0)
        out = self.module(
            input_ids=ids_BL,
            attention_mask=mask_BL,
            position_ids=positions_BL,
            use_cache=True,
            logits_to_keep=1,
        )
        places = {p: k for k, p in enumerate(sorted(set(prompt_of)))}
        which = torch.tensor([places[p] for p in prompt_of], device=self.module.device)
        self.cache = out.past_key_values
        self.cache.batch_select_indices(which)
        self.mask_BL, self.position_B = mask_BL[which], positions_BL[which, -1] + 1
        return out.logits[which, -1]

    def keep(self, kept_B: torch.Tensor) -> None:
        """Only these rows go on."""
        self.cache.batch_select_indices(kept_B)
        self.mask_BL, self.position_B = self.mask_BL[kept_B], self.position_B[kept_B]

    def step(self, token_B: torch.Tensor, running_B: torch.Tensor) -> torch.Tensor:
        """[B, V] logits behind one more token each."""
        self.mask_BL = torch.cat([self.mask_BL, self.mask_BL.new_ones(len(token_B), 1)], 1)
        out = self.module(
            input_ids=token_B[:, None],
            attention_mask=self.mask_BL,
            position_ids=self.position_B[:, None],
            past_key_values=self.cache,
            use_cache=True,
        )
        self.position_B = self.position_B + 1
        return out.logits[:, -1]


def left_padded(
    prompts: Sequence[Sequence[int]], pad_id: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, [B, L] each, with the padding on the left so that all rows end together."""
    width = max(len(p) for p in prompts)
    ids = torch.tensor([[pad_id] * (width - len(p)) + list(p) for p in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    return ids, mask
