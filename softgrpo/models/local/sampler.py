"""Drawing completions from a causal language model on this machine: a stream of finished prompts.

A row that has ended gives its place to one that waits, where the cache allows it. A token is drawn by inverse CDF,
whose uniform numbers are fixed beforehand for each row and position, so that a row's text does not depend on which
other rows have ended. `N` rows in all, `B` rows of the batch, `T` tokens of a row, `V` vocabulary.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from softgrpo.models.local.capabilities import Capabilities
from softgrpo.models.local.padded_cache import PaddedCache
from softgrpo.models.local.shared_prefix_cache import SharedPrefixCache

ROWS_AT_ONCE = {"cpu": 64, "cuda": 128}
"""by device"""
WORTH_KEEPING = 0.8
"""share of running rows at which the others leave"""
BLOCK = 256
"""tokens of the vocabulary that are summed before they are searched"""


@dataclass(frozen=True, slots=True)
class SampledRow:
    """What was sampled for one row."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    ended: bool
    """an end token came within the limit (and is the last of `token_ids`)"""


class KVCache(Protocol):
    """Who keeps the keys and values of the rows under way: `SharedPrefixCache` or `PaddedCache`."""

    def place(self, rows: Sequence[int], prompt_of: Sequence[int]) -> torch.Tensor: ...  # first logits of new rows

    def keep(self, kept_B: torch.Tensor) -> None: ...  # only these rows go on

    def step(self, token_B: torch.Tensor, running_B: torch.Tensor) -> torch.Tensor: ...  # [B, V] one token further


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """How tokens are drawn."""

    temperature: float
    """0 takes the likeliest token (with its log-probability at temperature 1)"""
    max_tokens: int
    end_ids: frozenset[int]
    seed: int


def sample(
    module: Any,
    prompts: Sequence[Sequence[int]],
    *,
    capabilities: Capabilities,
    n: int,
    draw: Draw,
    pad_id: int,
    rows_at_once: int | None = None,
) -> Iterator[tuple[int, list[SampledRow]]]:
    """`n` continuations of each prompt; a prompt's rows come, with its number, when the last of them has ended."""
    if not prompts:
        return
    device = module.device
    rows_at_once = rows_at_once or ROWS_AT_ONCE.get(device.type, 64)
    generator = torch.Generator().manual_seed(draw.seed)
    uniform_NT = torch.rand(len(prompts) * n, draw.max_tokens, generator=generator, dtype=torch.float64).to(device)
    prompt_of = [p for p in range(len(prompts)) for _ in range(n)]
    if capabilities.tree_attention and device.type == "cpu":
        yield from grow(SharedPrefixCache(module, prompts), prompt_of, draw, uniform_NT, rows_at_once)
        return
    whole = max(rows_at_once // n, 1) * n  # rows of whole prompts
    for start in range(0, len(prompt_of), whole):
        part = slice(start, start + whole)
        cache = PaddedCache(module, prompts, pad_id)
        yield from grow(cache, prompt_of[part], draw, uniform_NT[part], whole)


@torch.inference_mode()
def grow(
    cache: KVCache, prompt_of: Sequence[int], draw: Draw, uniform_NT: torch.Tensor, rows_at_once: int
) -> Iterator[tuple[int, list[SampledRow]]]:
    """Every row to its end, from the prompt of each [N] and its uniform numbers [N, T]."""
    device, limit = uniform_NT.device, draw.max_tokens
    ends = torch.tensor(sorted(draw.end_ids), dtype=torch.long, device=device)
    at_once = min(len(prompt_of), rows_at_once)
    waiting = deque(range(at_once, len(prompt_of)))
    tokens_NT = torch.zeros(len(prompt_of), limit + 1, dtype=torch.long, device=device)  # the last column is nobody's
    logprobs_NT = torch.zeros(tokens_NT.shape, device=device)
    lengths_N = torch.zeros(len(prompt_of), dtype=torch.long, device=device)
    ended_N = torch.zeros(len(prompt_of), dtype=torch.bool, device=device)
    left = Counter(prompt_of)  # rows of each prompt that have not ended
    live_B = torch.arange(at_once, device=device)  # which row each row of the batch is
    length_B = torch.zeros_like(live_B)
    running_B = torch.ones_like(live_B, dtype=torch.bool)  # which rows of the batch still go on
    logits_BV = cache.place(range(at_once), prompt_of[:at_once])
    n_running = at_once

    def row(i: int) -> SampledRow:
        k = int(lengths_N[i])
        return SampledRow(tuple(tokens_NT[i, :k].tolist()), tuple(logprobs_NT[i, :k].tolist()), bool(ended_N[i]))

    while True:
        token_B, logprob_B = draw_tokens(logits_BV, uniform_NT[live_B, length_B.clamp(max=limit - 1)], draw.temperature)
        column_B = torch.where(running_B, length_B, limit)
        tokens_NT[live_B, column_B] = token_B
        logprobs_NT[live_B, column_B] = logprob_B
        length_B = length_B + running_B
        lengths_N[live_B] = length_B
        at_end_B = torch.isin(token_B, ends) & running_B
        ended_N[live_B] |= at_end_B
        was_running_B, running_B = running_B, running_B & ~at_end_B & (length_B < limit)
        n_before, n_running = n_running, int(running_B.sum())
        if n_running < n_before:
            for prompt in (prompt_of[i] for i in live_B[was_running_B & ~running_B].tolist()):
                left[prompt] -= 1
                if not left[prompt]:
                    yield prompt, [row(i) for i, p in enumerate(prompt_of) if p == prompt]
        if not n_running and not waiting:
            return
        if not waiting and n_running <= WORTH_KEEPING * len(live_B):  # finished rows leave, a few at a time
            kept = running_B.nonzero()[:, 0]
            cache.keep(kept)
            live_B, length_B, token_B, running_B = live_B[kept], length_B[kept], token_B[kept], running_B[kept]
        if n_running:
            logits_BV = cache.step(token_B, running_B)
        free = len(live_B) - n_running
        if waiting and (8 * free >= len(live_B) or not n_running):
            places = (~running_B).nonzero()[:, 0][: len(waiting)]
            begun = [waiting.popleft() for _ in range(len(places))]
            logits_BV[places] = cache.place(places.tolist(), [prompt_of[i] for i in begun])
            live_B[places] = torch.tensor(begun, device=device)
            length_B[places] = 0
            running_B[places] = True
            n_running += len(places)


def draw_tokens(
    logits_BV: torch.Tensor, uniform_B: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """One token a row and its log-probability, by inverse CDF: first the block of the vocabulary, then within it.

    >>> token, logprob = draw_tokens(torch.tensor([[0.0, 0.0]]), torch.tensor([0.7]), 1.0)
    >>> token.item(), round(logprob.item(), 4)
    (1, -0.6931)
    """
    rows, size = logits_BV.shape
    scale = 1 / temperature if temperature else 1.0
    top_B1 = logits_BV.amax(-1, keepdim=True).float() * scale
    mass_BnK = top_B1.new_empty(rows, -(-size // BLOCK), BLOCK)
    mass_BV = mass_BnK.view(rows, -1)
    mass_BV[:, size:] = 0
    torch.add(-top_B1, logits_BV, alpha=scale, out=mass_BV[:, :size]).exp_()
    cdf_Bn = mass_BnK.sum(-1, dtype=torch.float32).double().cumsum(-1)
    if temperature == 0:
        token_B = logits_BV.argmax(-1)
    else:
        block_B, point_B = _found(cdf_Bn, uniform_B.double() * cdf_Bn[:, -1])
        every = torch.arange(rows, device=logits_BV.device)
        before_B = torch.where(block_B > 0, cdf_Bn[every, block_B - 1], 0.0)
        inside_B, _ = _found(mass_BnK[every, block_B].double().cumsum(-1), point_B - before_B)
        token_B = block_B * BLOCK + inside_B
    logit_B = logits_BV.gather(1, token_B[:, None])[:, 0].float() * scale
    return token_B, logit_B - top_B1[:, 0] - cdf_Bn[:, -1].log().float()


def _found(cdf_BX: torch.Tensor, point_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where each point falls, and the point: at least 0 and strictly below the last value, so that rounding never
    picks what has no mass."""
    point_B = point_B.clamp(min=0).minimum(cdf_BX[:, -1].nextafter(cdf_BX.new_zeros(())))
    return torch.searchsorted(cdf_BX, point_B[:, None], right=True)[:, 0], point_B
