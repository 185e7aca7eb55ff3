"""Drawing completions from a causal language model on this machine.

The prompt is computed once and its keys shared by all its completions; a row that has ended gives its place to one that
waits. A token is drawn by inverse CDF, whose uniform numbers are fixed beforehand for each row and position, so that a
row's text does not depend on which other rows have ended. `N` rows in all, `B` rows of the batch, `T` tokens of a row,
`V` vocabulary.
"""

from __future__ import annotations

import warnings
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

ROWS_AT_ONCE = {"cpu": 64, "cuda": 128}
"""by device"""
BLOCK = 256
"""tokens of the vocabulary that are summed before they are searched"""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was sampled for one row."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    ended: bool
    """an end token came within the limit (and is the last of `token_ids`)"""


OnGroup = Callable[[int, list[Drawn]], None]
"""given a prompt's number and its rows"""


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
    rows_at_once: int | None = None,
    on_group: OnGroup = lambda prompt, rows: None,
) -> list[list[Drawn]]:
    """`n` continuations of each prompt. Temperature 0 takes the likeliest token (log-probability at temperature 1).

    `on_group` hears of each prompt's rows when the last of them has ended.
    """
    from softgrpo.models.local.forest import reads_forests
    from softgrpo.models.local.plain_rows import PlainRows
    from softgrpo.models.local.shared_rows import SharedRows
    from softgrpo.models.local.token_step import token_step

    generator = torch.Generator().manual_seed(seed)
    uniform_NT = torch.rand(len(prompts) * n, max_tokens, generator=generator, dtype=torch.float64).to(module.device)
    ends = torch.tensor(sorted(end_ids), dtype=torch.long, device=module.device)
    rows_at_once = rows_at_once or ROWS_AT_ONCE.get(module.device.type, 64)
    options: dict[str, Any] = dict(temperature=temperature, ends=ends, rows_at_once=rows_at_once)
    of_row = [p for p in range(len(prompts)) for _ in range(n)]
    groups: dict[int, list[Drawn]] = {}

    def done(prompt: int, rows: list[Drawn]) -> None:
        groups[prompt] = rows
        on_group(prompt, rows)

    if reads_forests(module):
        with token_step(module, min(rows_at_once, len(of_row)), steps=max_tokens) as step:
            _draw_all(SharedRows(module, prompts, step), of_row, uniform_NT, done, **options)
    else:
        warnings.warn("this model's attention is its own: rows do not share a prompt's keys (slower)", stacklevel=2)
        each = max(1, rows_at_once // n)
        for start in range(0, len(prompts), each):
            batch = PlainRows(module, prompts[start : start + each], pad_id)
            rows = range(start * n, min((start + each), len(prompts)) * n)
            here, uniform = [of_row[i] - start for i in rows], uniform_NT[rows.start : rows.stop]
            _draw_all(batch, here, uniform, partial(_later, done, start), **options)
    return [groups[p] for p in range(len(prompts))]


def _later(done: OnGroup, start: int, prompt: int, rows: list[Drawn]) -> None:
    done(start + prompt, rows)


def _draw_all(
    batch: Any,
    of_row: Sequence[int],
    uniform_NT: torch.Tensor,
    done: OnGroup,
    *,
    temperature: float,
    ends: torch.Tensor,
    rows_at_once: int,
) -> None:
    """Every row to its end; `of_row` names the prompt of each of the N rows, `done` hears of prompts."""
    device, (n_rows, limit) = uniform_NT.device, uniform_NT.shape
    at_once = min(n_rows, rows_at_once) if batch.refills else n_rows
    waiting = deque(range(at_once, n_rows))
    tokens_NT = torch.zeros(n_rows, limit + 1, dtype=torch.long, device=device)  # the last column is nobody's
    logprobs_NT = torch.zeros(n_rows, limit + 1, device=device)
    lengths_N = torch.zeros(n_rows, dtype=torch.long, device=device)
    ended_N = torch.zeros(n_rows, dtype=torch.bool, device=device)
    live_B = torch.arange(at_once, device=device)  # which row each row of the batch is
    length_B = torch.zeros_like(live_B)
    running_B = torch.ones_like(live_B, dtype=torch.bool)  # which rows of the batch still go on
    logits_BV = batch.place(range(at_once), of_row[:at_once])
    left = Counter(of_row)

    def row(i: int) -> Drawn:
        k = int(lengths_N[i])
        return Drawn(tuple(tokens_NT[i, :k].tolist()), tuple(logprobs_NT[i, :k].tolist()), bool(ended_N[i]))

    n_running = at_once
    while True:
        token_B, logprob_B = draw(logits_BV, uniform_NT[live_B, length_B.clamp(max=limit - 1)], temperature)
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
            for prompt in (of_row[i] for i in live_B[was_running_B & ~running_B].tolist()):
                left[prompt] -= 1
                if not left[prompt]:
                    done(prompt, [row(i) for i, p in enumerate(of_row) if p == prompt])
        if not n_running and not waiting:
            break
        if not waiting and n_running <= batch.worth_keeping * len(live_B):  # finished rows leave, a few at a time
            kept = running_B.nonzero()[:, 0]
            batch.keep(kept)
            live_B, length_B, token_B, running_B = live_B[kept], length_B[kept], token_B[kept], running_B[kept]
        if n_running:
            logits_BV = batch.step(token_B, running_B)
        free = len(live_B) - n_running
        if waiting and (8 * free >= len(live_B) or not n_running):
            places = (~running_B).nonzero()[:, 0][: len(waiting)]
            rows = [waiting.popleft() for _ in range(len(places))]
            logits_BV[places] = batch.place(places.tolist(), [of_row[i] for i in rows])
            live_B[places] = torch.tensor(rows, device=device)
            length_B[places] = 0
            running_B[places] = True
            n_running += len(places)


def draw(logits_BV: torch.Tensor, uniform_B: torch.Tensor, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """One token a row and its log-probability, by inverse CDF: first the block of the vocabulary, then within it.

    >>> token, logprob = draw(torch.tensor([[0.0, 0.0]]), torch.tensor([0.7]), 1.0)
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
