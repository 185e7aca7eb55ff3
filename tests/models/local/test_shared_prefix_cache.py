"""Rows behind shared prompts give what whole forward passes give, whoever joins and leaves; so do padded rows."""

from __future__ import annotations

import pytest
import torch

from softgrpo.models.local.padded_cache import PaddedCache, left_padded
from softgrpo.models.local.shared_prefix_cache import ROOM, SharedPrefixCache
from tests.fakes.families import FAMILIES, build_family

PROMPTS = [[4, 9, 10], [4, 7, 8, 11, 20, 5], [5, 5]]


def plain_logits(module, prompt, own):
    return module(torch.tensor([[*prompt, *own]])).logits[0, -1]


@torch.inference_mode()
def test_rows_that_join_grow_and_leave_see_their_own_past(tiny):
    """Against whole forward passes, over more tokens than there is room for at once."""
    generator = torch.Generator().manual_seed(0)
    batch = SharedPrefixCache(tiny.module, PROMPTS)
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
    batch = SharedPrefixCache(tiny.module, PROMPTS)
    batch.place(range(2), [0, 1])
    for _ in range(ROOM + 3):
        logits = batch.step(torch.tensor([7, 9]), torch.tensor([True, False]))
    assert batch.lengths_B.tolist() == [ROOM + 3, 0]
    assert torch.allclose(logits[0], plain_logits(tiny.module, PROMPTS[0], [7] * (ROOM + 3)), atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("of", [[0, 0, 1, 1, 2], [2, 0, 2, 1, 0], [1, 1, 2, 2, 2]])
def test_padded_and_shared_rows_agree(tiny, of):
    """In any order, and of a part of the prompts."""
    shared, padded = SharedPrefixCache(tiny.module, PROMPTS), PaddedCache(tiny.module, PROMPTS, 0)
    first = shared.place(range(5), of)
    assert torch.allclose(first, padded.place(range(5), of), atol=1e-4)
    for row, prompt in enumerate(of):
        assert torch.allclose(first[row], plain_logits(tiny.module, PROMPTS[prompt], []), atol=1e-4)
    for step in range(8):
        if step == 4:
            for rows in (shared, padded):
                rows.keep(torch.tensor([0, 3]))
        tokens = torch.arange(7, 12)[: 5 if step < 4 else 2]
        running = torch.ones(len(tokens), dtype=torch.bool)
        assert torch.allclose(shared.step(tokens, running), padded.step(tokens, running), atol=1e-4)


@torch.inference_mode()
def test_padded_prompts_are_as_wide_as_the_longest_of_theirs(tiny):
    padded = PaddedCache(tiny.module, PROMPTS, 0)
    padded.place(range(3), [2, 0, 0])
    assert padded.mask_BL.tolist() == [[0, 1, 1], [1, 1, 1], [1, 1, 1]]
    assert padded.position_B.tolist() == [2, 3, 3]


def test_padding_is_on_the_left():
    ids, mask = left_padded([[4, 9], [5]], 7, torch.device("cpu"))
    assert ids.tolist() == [[4, 9], [7, 5]]
    assert mask.tolist() == [[1, 1], [0, 1]]


def test_a_prompt_is_read_once(tiny):
    """However many rows continue it, and however often rows leave."""
    read = []
    batch = SharedPrefixCache(tiny.module, PROMPTS)
    plain = batch._read
    batch._read = lambda prompts, parts: (read.append(list(prompts)), plain(prompts, parts))
    with torch.inference_mode():
        batch.place(range(6), [0, 0, 0, 1, 1, 1])
        batch.step(torch.full((6,), 7), torch.ones(6, dtype=torch.bool))
        batch.keep(torch.tensor([0, 1, 3]))
        batch.place([1], [1])
    assert read == [[0, 1]]
    assert all(keys.shape[0] == 2 for keys in batch.shared.values())


def logits_of(module, make) -> torch.Tensor:
    """[steps, rows, V] behind prompts and then tokens in turn."""
    rows = make(module)
    found = [rows.place(range(3), [0, 0, 1])]
    for k in range(1, 5):
        found.append(rows.step(torch.tensor([7, 8, 9]) + k, torch.ones(3, dtype=torch.bool)))
    return torch.stack(found).float()


@torch.inference_mode()
@pytest.mark.parametrize("name", [name for name, (*_, found) in FAMILIES.items() if found.tree_attention])
def test_every_family_gives_its_own_logits(name):
    module = build_family(name)
    shared = logits_of(module, lambda m: SharedPrefixCache(m, PROMPTS))
    assert torch.allclose(shared, logits_of(module, lambda m: PaddedCache(m, PROMPTS, 0)), atol=1e-4)
    for row, prompt in enumerate((PROMPTS[0], PROMPTS[0], PROMPTS[1])):
        ids = torch.tensor([[*prompt, *(7 + row + k for k in range(1, 5))]])
        assert torch.allclose(module(ids).logits[0, -1], shared[-1, row], atol=1e-4)


@torch.inference_mode()
def test_in_bfloat16_it_is_as_near_to_the_truth_as_the_model():
    ways = (lambda m: PaddedCache(m, PROMPTS, 0), lambda m: SharedPrefixCache(m, PROMPTS))
    truth = logits_of(build_family("Llama"), ways[0]).log_softmax(-1)
    module = build_family("Llama").bfloat16()
    padded, shared = ((logits_of(module, way).log_softmax(-1) - truth).abs().mean() for way in ways)
    assert shared < 1.25 * padded
