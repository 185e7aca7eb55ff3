"""Drawing completions from a causal language model on this machine.

The prompt is computed once and its cache shared by all its completions; a token is drawn by inverse CDF, whose
uniform numbers are fixed beforehand for each row and position, so that a row's text does not depend on which other
rows have ended. `B` rows, `L` prompt length, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was sampled for one row."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    ended: bool
    """an end token came within the limit (and is the last of `token_ids`)"""


@torch.inference_mode()
def sample(
    module: Any,
    prompts: Sequence[Sequence[int]],
    *,
    n: int,
    temperature: float,
    max_tokens: int,
    end_ids: frozenset[int],
    pad_id: int,
    seed: int,
) -> list[list[Drawn]]:
    """`n` continuations of each prompt. Temperature 0 takes the likeliest token (log-probability at temperature 1)."""
    from softgrpo.models.roomy_cache import roomy_cache

    device = module.device
    ids_BL, mask_BL = left_padded(prompts, pad_id, device)
    positions_BL = (mask_BL.cumsum(1) - 1).clamp(min=0)
    out = module(
        input_ids=ids_BL,
        attention_mask=mask_BL,
        position_ids=positions_BL,
        past_key_values=roomy_cache(module.config),
        use_cache=True,
        logits_to_keep=1,
    )
    cache = out.past_key_values
    cache.batch_repeat_interleave(n)
    logits_BV = out.logits[:, -1].repeat_interleave(n, 0)
    mask_BL = mask_BL.repeat_interleave(n, 0)
    next_position_B = positions_BL[:, -1].repeat_interleave(n, 0) + 1

    rows = len(prompts) * n
    generator = torch.Generator().manual_seed(seed)
    uniform_BT = torch.rand(rows, max_tokens, generator=generator, dtype=torch.float64).to(device)
    tokens_BT = torch.full((rows, max_tokens), pad_id, device=device)
    logprobs_BT = torch.zeros(rows, max_tokens, device=device)
    lengths_B = torch.zeros(rows, dtype=torch.long, device=device)
    ended_B = torch.zeros(rows, dtype=torch.bool, device=device)
    ends = torch.tensor(sorted(end_ids), device=device)
    live = torch.arange(rows, device=device)  # which row each row of the batch is
    running = torch.ones(rows, dtype=torch.bool, device=device)  # which rows of the batch still go on

    for t in range(max_tokens):
        token_B, logprob_B = draw(logits_BV, uniform_BT[live, t], temperature)
        going = live[running]
        tokens_BT[going, t] = token_B[running]
        logprobs_BT[going, t] = logprob_B[running]
        lengths_B[going] = t + 1
        at_end = torch.isin(token_B, ends) & running
        ended_B[live[at_end]] = True
        running = running & ~at_end
        n_running = int(running.sum())
        if n_running == 0 or t == max_tokens - 1:
            break
        if n_running <= 0.8 * len(live):  # finished rows leave the batch, a few at a time
            keep = running.nonzero().squeeze(1)
            cache.batch_select_indices(keep)
            live, token_B, mask_BL, next_position_B = live[keep], token_B[keep], mask_BL[keep], next_position_B[keep]
            running = running[keep]
        mask_BL = torch.cat([mask_BL, mask_BL.new_ones(len(live), 1)], 1)
        out = module(
            input_ids=token_B[:, None],
            attention_mask=mask_BL,
            position_ids=next_position_B[:, None],
            past_key_values=cache,
            use_cache=True,
        )
        logits_BV = out.logits[:, -1]
        next_position_B = next_position_B + 1

    tokens, logprobs, lengths, ended = (x.tolist() for x in (tokens_BT, logprobs_BT, lengths_B, ended_B))
    drawn = [Drawn(tuple(tokens[i][:k]), tuple(logprobs[i][:k]), ended[i]) for i, k in enumerate(lengths)]
    return [drawn[i : i + n] for i in range(0, rows, n)]


def draw(logits_BV: torch.Tensor, uniform_B: torch.Tensor, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """One token a row and its log-probability, by inverse CDF.

    >>> token, logprob = draw(torch.tensor([[0.0, 0.0]]), torch.tensor([0.7]), 1.0)
    >>> token.item(), round(logprob.item(), 4)
    (1, -0.6931)
    """
    logits_BV = logits_BV.float()
    if temperature == 0:
        token_B = logits_BV.argmax(-1)
    else:
        logits_BV = logits_BV / temperature
        cdf_BV = torch.softmax(logits_BV, -1).cumsum(-1)
        # strictly below the last value, so that rounding never picks a token of probability 0 beyond it
        point_B = (uniform_B.to(cdf_BV.dtype) * cdf_BV[:, -1]).clamp(max=cdf_BV[:, -1].nextafter(cdf_BV.new_zeros(())))
        token_B = torch.searchsorted(cdf_BV, point_B[:, None], right=True).squeeze(1)
    logprob_B = logits_BV.gather(1, token_B[:, None]).squeeze(1) - logits_BV.logsumexp(-1)
    return token_B, logprob_B


def left_padded(
    prompts: Sequence[Sequence[int]], pad_id: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, [B, L] each, with the padding on the left so that all rows end together."""
    width = max(len(p) for p in prompts)
    ids = torch.tensor([[pad_id] * (width - len(p)) + list(p) for p in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    return ids, mask
