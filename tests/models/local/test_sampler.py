"""Sampling: what is drawn, with which log-probability, whatever shares the batch, in every family."""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter

import numpy as np
import pytest
import torch

from softgrpo.models.local.capabilities import Capabilities, measured
from softgrpo.models.local.padded_cache import PaddedCache
from softgrpo.models.local.sampler import Draw, draw_tokens, grow, sample
from softgrpo.models.local.shared_prefix_cache import SharedPrefixCache
from tests.fakes.families import FAMILIES, build_family

SHARED, PADDED = Capabilities(tree_attention=True), Capabilities()
WAYS = [pytest.param(SHARED, id="shared"), pytest.param(PADDED, id="padded")]
PROMPTS = [[4, 9, 10], [4, 7, 8, 11, 20, 5], [5, 5]]


def stream(module, prompts, n=1, *, capabilities=SHARED, rows_at_once=None, **changes):
    """Prompts as they end, each with its rows; draws as usual but for the changes."""
    draw = Draw(**(dict(temperature=0.9, max_tokens=12, end_ids=frozenset({1}), seed=0) | changes))
    options = dict(capabilities=capabilities, n=n, draw=draw, pad_id=0, rows_at_once=rows_at_once)
    return sample(module, prompts, **options)


def run(module, prompts, n=1, **options):
    """The rows of each prompt."""
    found = list(stream(module, prompts, n, **options))
    assert sorted(p for p, _ in found) == list(range(len(prompts))), "each prompt once"
    return [rows for _, rows in sorted(found, key=lambda one: one[0])]


def tokens(groups):
    return [[row.token_ids for row in rows] for rows in groups]


@torch.no_grad()
def teacher_forced(module, prompt, row, temperature):
    """[T] of a row's tokens, from one forward pass over all of them."""
    logits = module(torch.tensor([[*prompt, *row.token_ids]]), use_cache=False).logits[0, len(prompt) - 1 : -1]
    return (logits / temperature).log_softmax(-1)[torch.arange(len(row.token_ids)), list(row.token_ids)]


@pytest.mark.parametrize("temperature", [0.5, 0.9, 1.0])
@pytest.mark.parametrize("way", WAYS)
def test_logprobs_are_those_of_a_plain_forward_pass(tiny, temperature, way):
    for prompt, rows in zip(
        PROMPTS, run(tiny.module, PROMPTS, 5, temperature=temperature, capabilities=way), strict=True
    ):
        for row in rows:
            assert np.allclose(row.logprobs, teacher_forced(tiny.module, prompt, row, temperature), atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_samples_as_it_says(name):
    """By what is found of it and the plain way: the same tokens, with the log-probabilities of a forward pass."""
    module = build_family(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = measured(module)
    options = dict(temperature=0.8, max_tokens=16, end_ids=frozenset(range(2, 48, 5)), rows_at_once=7)
    drawn = run(module, PROMPTS, 3, capabilities=found, **options)
    assert len({len(row.token_ids) for rows in drawn for row in rows}) > 2
    for prompt, rows in zip(PROMPTS, drawn, strict=True):
        for row in rows:
            assert np.allclose(row.logprobs, teacher_forced(module, prompt, row, 0.8), atol=1e-4)
    assert tokens(run(module, PROMPTS, 3, capabilities=PADDED, **options)) == tokens(drawn)


@pytest.mark.parametrize("way", WAYS)
def test_rows_that_end_early_leave_and_the_others_stay_what_they_were(tiny, way):
    ends = frozenset({1, *range(20, 29)})  # many end tokens: rows leave all the time
    (short,) = run(tiny.module, [[4, 9, 10]], 16, max_tokens=30, end_ids=ends, capabilities=way)
    assert len({len(row.token_ids) for row in short}) > 3
    for row in short:
        assert row.ended == (row.token_ids[-1] in ends)
        assert not set(row.token_ids[:-1]) & ends
    (never,) = run(tiny.module, [[4, 9, 10]], 16, max_tokens=30, end_ids=frozenset({-1}), capabilities=way)
    for row, long in zip(short, never, strict=True):
        assert long.token_ids[: len(row.token_ids)] == row.token_ids


@pytest.mark.parametrize("way", WAYS)
def test_a_prompt_is_answered_alike_alone_and_beside_a_longer_one(tiny, way):
    alone = run(tiny.module, [[4, 9, 10]], 4, capabilities=way)
    beside = run(tiny.module, [[4, 9, 10], [4] * 9 + [8]], 4, capabilities=way)
    assert tokens(alone)[0] == tokens(beside)[0]


@pytest.mark.parametrize("way", WAYS)
def test_a_prompt_comes_when_its_last_row_has_ended(tiny, way):
    """And not before: what is asked of the model between two of them is little."""
    options = dict(capabilities=way, max_tokens=30, end_ids=frozenset({1, *range(20, 60)}), rows_at_once=16)
    drawn = run(tiny.module, PROMPTS, 4, **options)
    steps, came = [0], []
    tiny.module.get_decoder().register_forward_hook(lambda *_: steps.append(steps[-1] + 1))
    for prompt, rows in stream(tiny.module, PROMPTS, 4, **options):
        assert rows == drawn[prompt]
        came.append((max(len(r.token_ids) for r in rows), steps[-1]))
    assert [length for length, _ in came] == sorted(length for length, _ in came), "the shortest first"
    assert [taken for _, taken in came] == [length for length, _ in came], "a step a token, the prompt's with its first"
    assert len(set(came)) > 1


@pytest.mark.parametrize("way", WAYS)
def test_nobody_need_wait_for_the_end(tiny, way):
    """A stream that is left half-way computes no further, and leaves the model as it was."""
    config = tiny.module.config
    before, calls = config._attn_implementation, []
    tiny.module.register_forward_hook(lambda *_: calls.append(1))
    options = dict(capabilities=way, max_tokens=30, end_ids=frozenset({1, *range(20, 60)}), rows_at_once=4)
    finished = stream(tiny.module, PROMPTS, 4, **options)
    next(finished)
    assert not torch.is_inference_mode_enabled()
    assert config._attn_implementation == before
    taken = len(calls)
    finished.close()
    assert len(calls) == taken
    assert config._attn_implementation == before
    list(stream(tiny.module, PROMPTS, 4, **options))
    assert len(calls) > 2 * taken


@pytest.mark.parametrize("way", WAYS)
def test_no_prompts_have_no_completions(tiny, way):
    assert run(tiny.module, [], 4, capabilities=way) == []


def test_draws_follow_the_distribution():
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0])
    uniform = torch.rand(20000, generator=torch.Generator().manual_seed(0))
    drawn, _ = draw_tokens(probabilities.log().expand(20000, -1), uniform, 1.0)
    shares = Counter(drawn.tolist())
    assert [shares[i] / 20000 for i in range(5)] == pytest.approx(probabilities.tolist(), abs=0.012)
    assert shares[4] == 0


@pytest.mark.parametrize("uniform", [0.0, 1.0 - 1e-12, 1.0])
def test_the_ends_of_the_unit_interval_draw_a_token_that_can_be_drawn(uniform):
    logits = torch.tensor([[float("-inf"), 0.0, 1.0, float("-inf")]])
    token, logprob = draw_tokens(logits, torch.tensor([uniform], dtype=torch.float64), 1.0)
    assert token.item() in (1, 2)
    assert torch.isfinite(logprob).all()


@pytest.mark.parametrize("way", WAYS)
def test_temperature_zero_takes_the_likeliest(tiny, way):
    (rows,) = run(tiny.module, [[4, 9, 10]], 3, temperature=0, capabilities=way)
    assert len({row.token_ids for row in rows}) == 1
    ids, at_one = [4, 9, 10], teacher_forced(tiny.module, [4, 9, 10], rows[0], 1.0)
    assert np.allclose(rows[0].logprobs, at_one, atol=1e-5), "with its log-probability at temperature 1"
    for token in rows[0].token_ids:
        with torch.no_grad():
            assert tiny.module(torch.tensor([ids])).logits[0, -1].argmax() == token
        ids.append(token)


@pytest.mark.parametrize("way", WAYS)
def test_seeds(tiny, way):
    draw = lambda seed: run(tiny.module, [[4, 9]], 4, seed=seed, capabilities=way)  # noqa: E731
    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


@pytest.mark.parametrize("way", WAYS)
def test_waiting_rows_take_the_places_of_finished_ones(tiny, way):
    """Few places give the rows that all places at once give, whoever ends first."""
    options = dict(max_tokens=20, end_ids=frozenset({1, *range(20, 27)}), capabilities=way)
    together = run(tiny.module, PROMPTS, 5, **options)
    assert len({len(row.token_ids) for rows in together for row in rows}) > 3
    for places in (1, 4, 8):
        found = run(tiny.module, PROMPTS, 5, rows_at_once=places, **options)
        assert tokens(found) == tokens(together)
        for rows, expected in zip(found, together, strict=True):
            for row, other in zip(rows, expected, strict=True):
                assert np.allclose(row.logprobs, other.logprobs, atol=1e-5)


@pytest.mark.parametrize(("rows_at_once", "parts"), [(1, [4, 4, 4]), (7, [4, 4, 4]), (8, [8, 4]), (12, [12])])
def test_padded_prompts_are_sampled_in_parts_of_whole_prompts(tiny, monkeypatch, rows_at_once, parts):
    begun = []
    place = PaddedCache.place
    monkeypatch.setattr(PaddedCache, "place", lambda self, rows, of: begun.append(len(rows)) or place(self, rows, of))
    found = run(tiny.module, PROMPTS, 4, capabilities=PADDED, rows_at_once=rows_at_once)
    assert begun == parts
    assert tokens(found) == tokens(run(tiny.module, PROMPTS, 4, capabilities=SHARED))


def test_how_a_prompts_keys_are_kept_does_not_change_what_is_drawn(tiny):
    assert tokens(run(tiny.module, PROMPTS, 3)) == tokens(
        run(tiny.module, PROMPTS, 3, capabilities=PADDED, rows_at_once=4)
    )


@pytest.mark.parametrize("way", WAYS)
def test_weights_are_read_anew_each_time(tiny, way):
    """An update between two samplings is seen by the second."""
    before = run(tiny.module, PROMPTS, 3, capabilities=way)
    with torch.no_grad():
        tiny.module.model.layers[1].mlp.up_proj.weight.mul_(-1)
    after = run(tiny.module, PROMPTS, 3, capabilities=way)
    assert tokens(after) != tokens(before)
    for prompt, rows in zip(PROMPTS, after, strict=True):
        for row in rows:
            assert np.allclose(row.logprobs, teacher_forced(tiny.module, prompt, row, 0.9), atol=1e-5)


def test_rows_grow_from_the_uniform_numbers_that_they_are_given(tiny):
    """Each its own, whatever cache holds it."""
    draw = Draw(temperature=1.0, max_tokens=6, end_ids=frozenset({-1}), seed=0)
    uniform = torch.rand(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    uniform[3] = uniform[0]
    of = [0, 0, 1, 0]
    for cache in (SharedPrefixCache(tiny.module, PROMPTS), PaddedCache(tiny.module, PROMPTS, 0)):
        found = dict(grow(cache, of, draw, uniform, 4))
        assert sorted(map(len, found.values())) == [1, 3]
        assert found[0][0] == dataclasses.replace(found[0][2], logprobs=found[0][0].logprobs)
        assert found[0][0].token_ids != found[0][1].token_ids


@pytest.mark.parametrize("size", [1, 255, 256, 257, 1000])
def test_a_draw_is_where_the_whole_distribution_function_passes_its_point(size):
    generator = torch.Generator().manual_seed(size)
    logits = 3 * torch.randn(400, size, generator=generator)
    uniform = torch.rand(400, generator=generator, dtype=torch.float64)
    drawn, logprobs = draw_tokens(logits, uniform, 0.8)
    probabilities = (logits.double() / 0.8).softmax(-1)
    above = probabilities.cumsum(-1).gather(1, drawn[:, None])[:, 0]
    assert (above > uniform - 1e-6).all()
    assert (above - probabilities.gather(1, drawn[:, None])[:, 0] < uniform + 1e-6).all()
    assert torch.allclose(logprobs.double(), probabilities.gather(1, drawn[:, None])[:, 0].log(), atol=1e-5)
