"""Rows behind shared prompts give what the plain cache gives, whoever joins and leaves."""

from __future__ import annotations

import torch

from softgrpo.models.local.plain_rows import PlainRows
from softgrpo.models.local.shared_rows import ROOM, SharedRows

PROMPTS = [[4, 9, 10], [4, 7, 8, 11, 20, 5], [5, 5]]


def plain_logits(module, prompt, own):
    return module(torch.tensor([[*prompt, *own]])).logits[0, -1]


@torch.inference_mode()
def test_rows_that_join_grow_and_leave_see_their_own_past(tiny):
    """Against whole forward passes, over more tokens than there is room for at once."""
    generator = torch.Generator().manual_seed(0)
    batch = SharedRows(tiny.module, PROMPTS)
    of, own = [0, 0, 1, 0], [[], [], [], []]
    logits = batch.place(range(4), of)
    for step in range(2 * ROOM + 6):
        for row in range(len(of)):
            assert torch.allclose(logits[row], plain_logits(tiny.module, PROMPTS[of[row]], own[row]), atol=1e-4)
        if step == 5:  # a new prompt takes a row's place, and the batch grows
            joined = batch.place([1, 4], [2, 1])
            of, own = [0, 2, 1, 0, 1], [own[0], [], own[2], own[3], []]
            assert torch.allclose(joined[0], plain_logits(tiny.module, PROMPTS[2], []), atol=1e-4)
            assert torch.allclose(joined[1], plain_logits(tiny.module, PROMPTS[1], []), atol=1e-4)
        if step == 9:  # the longer prompt loses its first row, prompt 0 all of them
            kept = [1, 4]
            batch.keep(torch.tensor(kept))
            of, own = [of[i] for i in kept], [own[i] for i in kept]
            assert batch.there == [1, 2]
        tokens = torch.randint(6, 40, (len(of),), generator=generator)
        for row, token in zip(own, tokens.tolist(), strict=True):
            row.append(token)
        logits = batch.step(tokens, torch.ones(len(of), dtype=torch.bool))


@torch.inference_mode()
def test_a_row_that_has_ended_stays_as_long_as_it_is(tiny):
    batch = SharedRows(tiny.module, PROMPTS)
    batch.place(range(2), [0, 1])
    for _ in range(ROOM + 3):
        logits = batch.step(torch.tensor([7, 9]), torch.tensor([True, False]))
    assert batch.lengths_B.tolist() == [ROOM + 3, 0]
    assert torch.allclose(logits[0], plain_logits(tiny.module, PROMPTS[0], [7] * (ROOM + 3)), atol=1e-4)


@torch.inference_mode()
def test_plain_rows_and_shared_rows_agree(tiny):
    shared, plain = SharedRows(tiny.module, PROMPTS), PlainRows(tiny.module, PROMPTS, 0)
    of = [0, 0, 1, 1, 2]
    assert torch.allclose(shared.place(range(5), of), plain.place(range(5), of), atol=1e-4)
    for step in range(8):
        if step == 4:
            for rows in (shared, plain):
                rows.keep(torch.tensor([0, 3]))
        tokens = torch.arange(7, 12)[: 5 if step < 4 else 2]
        running = torch.ones(len(tokens), dtype=torch.bool)
        assert torch.allclose(shared.step(tokens, running), plain.step(tokens, running), atol=1e-4)


def test_a_prompt_is_read_once(tiny):
    """However many rows continue it, and however often rows leave."""
    read = []
    batch = SharedRows(tiny.module, PROMPTS)
    plain = batch._read
    batch._read = lambda prompts, parts: (read.append(list(prompts)), plain(prompts, parts))
    with torch.inference_mode():
        batch.place(range(6), [0, 0, 0, 1, 1, 1])
        batch.step(torch.full((6,), 7), torch.ones(6, dtype=torch.bool))
        batch.keep(torch.tensor([0, 1, 3]))
        batch.place([1], [1])
    assert read == [[0, 1]]
    assert all(keys.shape[0] == 2 for keys in batch.shared.values())
