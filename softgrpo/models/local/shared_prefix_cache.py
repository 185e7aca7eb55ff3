"""A KV cache of rows that grow a token at a time, each behind a prompt it shares with others: a prompt's keys are kept
and read once. On processors, for models that attend by our function.

`B` rows, `P` prompts, `M` most rows of a prompt, `H` heads, `K` heads of keys and values, `C` = 2 K (keys, then
values), `R` = H / K queries per key, `L` length of the longest prompt, `W` room for a row's own tokens, `D` width of a
head, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AttentionInterface

from softgrpo.models.local.attention import attending, attention_with_lse, merge_attention_states, refuse_unknown
from softgrpo.models.local.prefix_tree import PrefixTree
from softgrpo.models.local.tree_attention import tree_logits

NAME = "softgrpo_shared_prefix"
ROOM = 64
"""tokens for which room is made at first; then twice as many each time"""
PROMPT_TOKENS_AT_ONCE = 8192
"""of prompts in one forward pass"""


class SharedPrefixCache:
    """The keys and values of a batch under way."""

    def __init__(self, module: Any, prompts: Sequence[Sequence[int]]) -> None:
        self.module, self.prompts = module, prompts
        self.there: list[int] = []  # [P] which prompts are kept
        self.first: dict[int, torch.Tensor] = {}  # [V] logits behind each of them
        self.shared: dict[int, torch.Tensor] = {}  # by layer: their keys and values, [P, C, L, D]
        self.own: dict[int, torch.Tensor] = {}  # by layer: keys and values of the rows, [B, C, W, D]
        self.prompt_of: list[int] = []  # [B] which prompt a row continues
        self.lengths_B = torch.zeros(0, dtype=torch.long)
        self.room = 0
        self.longest = 0  # at least as long as every row

    def place(self, rows: Sequence[int], prompt_of: Sequence[int]) -> torch.Tensor:
        """Begin new completions in these rows of the batch (or behind its last); returns their first logits [., V]."""
        grown = max(0, max(rows) + 1 - len(self.prompt_of))
        self.prompt_of += [-1] * grown
        for row, prompt in zip(rows, prompt_of, strict=True):
            self.prompt_of[row] = prompt
        self.lengths_B = torch.cat([self.lengths_B, self.lengths_B.new_zeros(grown)])
        self.lengths_B[torch.tensor(rows)] = 0
        self._read_prompts()
        if grown:
            self._make_room(self.room)
        self._regroup()
        return torch.stack([self.first[p] for p in prompt_of])

    def keep(self, kept_B: torch.Tensor) -> None:
        """Only these rows go on."""
        self.prompt_of = [self.prompt_of[i] for i in kept_B.tolist()]
        self.lengths_B = self.lengths_B[kept_B]
        self.own = {layer: own[kept_B] for layer, own in self.own.items()}
        self._read_prompts()
        self._regroup()

    def step(self, token_B: torch.Tensor, running_B: torch.Tensor) -> torch.Tensor:
        """[B, V] logits behind one more token each; rows that no longer run stay as long as they are."""
        if self.longest >= self.room:
            self._make_room(max(ROOM, 2 * self.room))
        later_BW = torch.arange(self.longest + 1) > self.lengths_B[:, None]
        self.mask_BW = torch.zeros(later_BW.shape).masked_fill_(later_BW, float("-inf"))
        position_B = self.prompt_lengths_B + self.lengths_B
        with attending(self.module, NAME):
            out = self.module(
                input_ids=token_B[:, None], position_ids=position_B[:, None], use_cache=False, prefix_cache=self
            )
        self.lengths_B = self.lengths_B + running_B
        self.longest += 1
        return out.logits[:, -1]

    def attend(self, layer: int, query_BHD: torch.Tensor, new_BCD: torch.Tensor, scale: float) -> torch.Tensor:
        """[B, H, D] from the queries and the new keys and values."""
        own, shared = self.own[layer], self.shared[layer]
        b, (p, c, _, d) = len(own), shared.shape
        own[self.every_B, :, self.lengths_B] = new_BCD
        own, k = own[:, :, : self.mask_BW.shape[1]], c // 2
        query_BKRD = query_BHD.view(b, k, -1, d)
        mine, mine_lse = attention_with_lse(query_BKRD, own[:, :k], own[:, k:], self.mask_BW[:, None, None], scale)
        query_PMKRD = query_BKRD.view(p, -1, *query_BKRD.shape[1:]) if self.in_order else query_BKRD[self.members_PM]
        m = query_PMKRD.shape[1]
        query_PKND = query_PMKRD.transpose(1, 2).reshape(p, k, -1, d)
        ours, ours_lse = attention_with_lse(query_PKND, shared[:, :k], shared[:, k:], self.prompt_mask, scale)
        ours = ours.view(p, k, m, -1, d).transpose(1, 2)  # [P, M, K, R, D]
        ours_lse = ours_lse.view(p, k, m, -1).transpose(1, 2)
        if not self.in_order:
            ours, ours_lse = (x.flatten(0, 1)[self.place_B] for x in (ours, ours_lse))
        mine_lse = mine_lse.view(ours_lse.shape)
        return merge_attention_states(mine.view(ours.shape), mine_lse, ours, ours_lse).reshape(b, -1, d)

    def _read_prompts(self) -> None:
        """Compute prompts that are new, and drop those that nobody continues."""
        wanted = sorted(set(self.prompt_of))
        kept = [i for i, p in enumerate(self.there) if p in wanted]
        new = [p for p in wanted if p not in self.there]
        if kept == list(range(len(self.there))) and not new:
            return
        parts = {layer: [x[i] for i in kept] for layer, x in self.shared.items()}
        self.there = [self.there[i] for i in kept] + new
        self.first = {p: self.first[p] for p in self.there if p in self.first}
        while new:
            batch = [new.pop(0)]
            while new and sum(len(self.prompts[p]) for p in (*batch, new[0])) <= PROMPT_TOKENS_AT_ONCE:
                batch.append(new.pop(0))
            self._read(batch, parts)
        self.shared = {layer: _stacked(x) for layer, x in parts.items()}

    def _read(self, batch: Sequence[int], parts: dict[int, list[torch.Tensor]]) -> None:
        lengths = [len(self.prompts[p]) for p in batch]
        ids_T = torch.tensor([t for p in batch for t in self.prompts[p]])

        def keep(layer: int, key_KTD: torch.Tensor, value_KTD: torch.Tensor) -> None:
            parts.setdefault(layer, []).extend(torch.cat([key_KTD, value_KTD]).split(lengths, 1))

        first = tree_logits(
            self.module, ids_T, PrefixTree.roots(lengths), torch.tensor(lengths).cumsum(0) - 1, keep=keep
        )
        self.first |= dict(zip(batch, first, strict=True))

    def _make_room(self, width: int) -> None:
        """Own keys and values of all rows with this width; what is there stays."""
        self.room = width
        for layer, shared in self.shared.items():
            room = shared.new_zeros(len(self.prompt_of), shared.shape[1], width, shared.shape[3])
            before = self.own.get(layer)
            if before is not None:
                room[: before.shape[0], :, : before.shape[2]] = before
            self.own[layer] = room

    def _regroup(self) -> None:
        """Which rows belong to which prompt; places that no row fills repeat row 0."""
        slots = {p: k for k, p in enumerate(self.there)}
        members: list[list[int]] = [[] for _ in self.there]
        places = []
        for row, prompt in enumerate(self.prompt_of):
            places.append((slots[prompt], len(members[slots[prompt]])))
            members[slots[prompt]].append(row)
        m = max(len(rows) for rows in members)
        self.members_PM = torch.tensor([rows + [0] * (m - len(rows)) for rows in members])
        self.place_B = torch.tensor([slot * m + k for slot, k in places])
        self.in_order = self.members_PM.flatten().tolist() == list(range(len(places)))
        self.every_B = torch.arange(len(places))
        lengths_P = torch.tensor([len(self.prompts[p]) for p in self.there])
        self.prompt_lengths_B = lengths_P[[slots[p] for p in self.prompt_of]]
        behind_PL = torch.arange(next(iter(self.shared.values())).shape[2]) >= lengths_P[:, None]
        self.prompt_mask: torch.Tensor | None = None
        if behind_PL.any():
            self.prompt_mask = torch.zeros(behind_PL.shape).masked_fill_(behind_PL, float("-inf"))[:, None, None]
        self.longest = int(self.lengths_B.max())


def _stacked(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """[P, C, L, D] from parts [C, own length, D]; zeros behind the shorter ones."""
    length = max(x.shape[1] for x in parts)
    return torch.stack([torch.nn.functional.pad(x, (0, 0, 0, length - x.shape[1])) for x in parts])


def shared_prefix_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    prefix_cache: SharedPrefixCache,
    scaling: float | None = None,
    **other: Any,
) -> tuple[torch.Tensor, None]:
    """[B, 1, H, D] from query [B, H, 1, D], key and value [B, K, 1, D]; the interface of `transformers`."""
    refuse_unknown(other)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    new_BCD = torch.cat([key, value], 1)[:, :, 0]
    return prefix_cache.attend(module.layer_idx, query[:, :, 0], new_BCD, scale)[:, None], None


AttentionInterface.register(NAME, shared_prefix_attention)  # without a mask function of that name no mask is built
