"""Rows that grow a token at a time, each behind a prompt it shares with others: a prompt's keys are kept and read once.

`B` rows, `P` prompts, `M` most rows of a prompt, `K` heads of keys and values, `R` queries per key, `L` length of the
longest prompt, `W` room for a row's own tokens, `D` width of a head, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from softgrpo.models import forest
from softgrpo.models.token_step import ModuleStep, Step

ROOM = 32
"""tokens for which room is made at a time; between, every step has the same shapes"""
TOKENS_AT_ONCE = 8192
"""of prompts in one forward pass"""


class SharedRows:
    """The keys and values of a batch under way. Keys are float32: scores rounded to bfloat16 are off by percents."""

    refills = True

    def __init__(self, module: Any, prompts: Sequence[Sequence[int]], step: Step | None = None) -> None:
        self.module = module
        self.token_step = step or ModuleStep(module)
        self.prompts = prompts
        self.there: list[int] = []
        """[P] which prompts are kept"""
        self.first: dict[int, torch.Tensor] = {}
        """[V] logits behind each kept prompt"""
        self.shared: dict[int, list[torch.Tensor]] = {}
        """by layer: keys and values of the prompts, [P, K, L, D]"""
        self.own: dict[int, list[torch.Tensor]] = {}
        """by layer: keys and values of the rows, [B, K, W, D]"""
        self.prompt_of: list[int] = []
        """[B] which prompt a row continues"""
        self.lengths_B = torch.zeros(0, dtype=torch.long, device=module.device)
        self.longest = 0

    def place(self, rows: Sequence[int], prompt_of: Sequence[int]) -> torch.Tensor:
        """Begin new completions in these rows of the batch (or behind its last); returns their first logits [., V]."""
        grown = max(0, max(rows) + 1 - len(self.prompt_of))
        self.prompt_of += [-1] * grown
        for row, prompt in zip(rows, prompt_of, strict=True):
            self.prompt_of[row] = prompt
        self.lengths_B = torch.cat([self.lengths_B, self.lengths_B.new_zeros(grown)])
        self.lengths_B[torch.tensor(rows, device=self.lengths_B.device)] = 0
        self._read_prompts()
        if grown:
            width = max((own[0].shape[2] for own in self.own.values()), default=0)
            self._make_room(width)
        self._regroup()
        return torch.stack([self.first[p] for p in prompt_of])

    def keep(self, kept_B: torch.Tensor) -> None:
        """Only these rows go on."""
        self.prompt_of = [self.prompt_of[i] for i in kept_B.tolist()]
        self.lengths_B = self.lengths_B[kept_B]
        self.own = {layer: [x[kept_B] for x in own] for layer, own in self.own.items()}
        self._read_prompts()
        self._regroup()

    def step(self, token_B: torch.Tensor, running_B: torch.Tensor) -> torch.Tensor:
        """[B, V] logits behind one more token each; rows that no longer run stay as long as they are."""
        first = next(iter(self.own.values()))[0] if self.own else None
        if first is None or self.longest >= first.shape[2]:
            self._make_room((0 if first is None else first.shape[2]) + ROOM)
        steps = torch.arange(next(iter(self.own.values()))[0].shape[2], device=token_B.device)
        seen_BS = torch.cat([self.in_prompt_BL, steps <= self.lengths_B[:, None]], 1)
        self.mask_BS = torch.zeros(seen_BS.shape, device=token_B.device).masked_fill_(~seen_BS, float("-inf"))
        positions_B = self.prompt_lengths_B + self.lengths_B
        logits_BV = self.token_step(token_B, positions_B, self)
        self.lengths_B = self.lengths_B + running_B
        self.longest += 1
        return logits_BV

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """[B, K, R, D] from queries of that shape, scaled and float32, and the new key and value, [B, K, D]."""
        (keys, values), (shared_keys, shared_values) = self.own[layer], self.shared[layer]
        keys[self.every_B, :, self.lengths_B] = key.float()
        values[self.every_B, :, self.lengths_B] = value
        length = shared_keys.shape[2]
        scores = torch.cat([self._by_prompt(query, shared_keys.mT), torch.matmul(query, keys.mT)], -1)
        weights = scores.add_(self.mask_BS[:, None, None]).softmax(-1).to(value.dtype)
        mixed = torch.matmul(weights[..., length:], values)
        return mixed + self._by_prompt(weights[..., :length], shared_values)

    def _by_prompt(self, left_BKRX: torch.Tensor, right_PKXY: torch.Tensor) -> torch.Tensor:
        """[B, K, R, Y]: each row's product with what belongs to its prompt, one product for all rows of a prompt."""
        p, m = self.members_PM.shape
        _, k, r, x = left_BKRX.shape
        left_PMKRX = left_BKRX.view(p, m, k, r, x) if self.in_order else left_BKRX[self.members_PM]
        left_PKNX = left_PMKRX.transpose(1, 2).reshape(p, k, m * r, x)
        product_PKMRY = torch.matmul(left_PKNX, right_PKXY).view(p, k, m, r, -1)
        product = product_PKMRY.transpose(1, 2).reshape(p * m, k, r, -1)
        return product if self.in_order else product[self.place_B]

    def _read_prompts(self) -> None:
        """Compute prompts that are new, and drop those that nobody continues."""
        wanted = sorted(set(self.prompt_of))
        kept = [i for i, p in enumerate(self.there) if p in wanted]
        new = [p for p in wanted if p not in self.there]
        if kept == list(range(len(self.there))) and not new:
            return
        parts = {layer: [[x[i] for i in kept] for x in pair] for layer, pair in self.shared.items()}
        self.there = [self.there[i] for i in kept] + new
        self.first = {p: self.first[p] for p in self.there if p in self.first}
        while new:
            batch = [new.pop(0)]
            while new and sum(len(self.prompts[p]) for p in (*batch, new[0])) <= TOKENS_AT_ONCE:
                batch.append(new.pop(0))
            self._read(batch, parts)
        self.shared = {layer: [_stacked(x) for x in pair] for layer, pair in parts.items()}

    def _read(self, batch: Sequence[int], parts: dict[int, list[list[torch.Tensor]]]) -> None:
        lengths = [len(self.prompts[p]) for p in batch]
        ids_T = torch.tensor([t for p in batch for t in self.prompts[p]])
        ends = torch.tensor(lengths, device=self.module.device).cumsum(0) - 1

        def keep(layer: int, key_KTD: torch.Tensor, value_KTD: torch.Tensor) -> None:
            pair = parts.setdefault(layer, [[], []])
            pair[0] += key_KTD.float().split(lengths, 1)
            pair[1] += value_KTD.split(lengths, 1)

        first = forest.logits(self.module, ids_T, forest.Forest.roots(lengths), ends, keep=keep)
        self.first |= dict(zip(batch, first, strict=True))

    def _make_room(self, width: int) -> None:
        """Own keys and values of all rows with this width; what is there stays."""
        rows = len(self.prompt_of)
        for layer, pair in self.shared.items():
            before = self.own.get(layer)
            self.own[layer] = []
            for i, x in enumerate(pair):
                room = x.new_zeros(rows, x.shape[1], width, x.shape[3])
                if before is not None:
                    room[: before[i].shape[0], :, : before[i].shape[2]] = before[i]
                self.own[layer].append(room)

    def _regroup(self) -> None:
        """Which rows belong to which prompt; places that no row fills repeat row 0."""
        device = self.lengths_B.device
        slots = {p: k for k, p in enumerate(self.there)}
        members: list[list[int]] = [[] for _ in self.there]
        places = []
        for row, prompt in enumerate(self.prompt_of):
            places.append((slots[prompt], len(members[slots[prompt]])))
            members[slots[prompt]].append(row)
        m = max(len(rows) for rows in members)
        self.members_PM = torch.tensor([rows + [0] * (m - len(rows)) for rows in members], device=device)
        self.place_B = torch.tensor([slot * m + k for slot, k in places], device=device)
        self.in_order = [i for rows in members for i in rows] == list(range(len(self.members_PM.flatten())))
        self.every_B = torch.arange(len(places), device=device)
        self.prompt_lengths_B = torch.tensor([len(self.prompts[p]) for p in self.prompt_of], device=device)
        length = next(iter(self.shared.values()))[0].shape[2]
        self.in_prompt_BL = torch.arange(length, device=device) < self.prompt_lengths_B[:, None]
        self.longest = int(self.lengths_B.max())


def _stacked(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """[P, K, L, D] from parts [K, own length, D]; zeros behind the shorter ones."""
    length = max(x.shape[1] for x in parts)
    return torch.stack([torch.nn.functional.pad(x, (0, 0, 0, length - x.shape[1])) for x in parts])
