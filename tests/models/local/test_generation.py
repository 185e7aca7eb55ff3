"""Sampling: what is drawn, with which log-probability, whatever shares the batch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from softgrpo.models.local.generation import draw, sample


def run(tiny, prompts, n=1, seed=0, **options):
    options = dict(temperature=0.9, max_tokens=12, end_ids=tiny.end_ids, pad_id=0) | options
    return sample(tiny.module, prompts, n=n, seed=seed, **options)


@pytest.mark.parametrize("temperature", [0.5, 0.9, 1.0])
def test_logprobs_are_those_of_a_plain_forward_pass(tiny, temperature):
    prompts = [[4, 9, 10], [4, 7, 8, 11, 20, 5]]
    for prompt, rows in zip(prompts, run(tiny, prompts, n=5, temperature=temperature), strict=True):
        for row in rows:
            with torch.no_grad():
                logits = tiny.module(torch.tensor([[*prompt, *row.token_ids]])).logits[0, len(prompt) - 1 : -1]
            logprobs = (logits / temperature).log_softmax(-1)
            expected = logprobs[torch.arange(len(row.token_ids)), list(row.token_ids)]
            assert np.allclose(row.logprobs, expected, atol=1e-5)


def test_rows_that_end_early_leave_and_the_others_stay_what_they_were(tiny):
    prompts = [[4, 9, 10]]
    ends = tiny.end_ids | {20, 21, 22, 23, 24, 25, 26, 27, 28}  # many end tokens: rows leave all the time
    short = run(tiny, prompts, n=16, max_tokens=30, end_ids=ends)[0]
    assert len({len(row.token_ids) for row in short}) > 3
    for row in short:
        assert row.ended == (row.token_ids[-1] in ends)
        assert not set(row.token_ids[:-1]) & ends
    never = run(tiny, prompts, n=16, max_tokens=30, end_ids=frozenset({-1}))[0]
    for row, long in zip(short, never, strict=True):
        assert long.token_ids[: len(row.token_ids)] == row.token_ids


def test_a_prompt_is_answered_alike_alone_and_beside_a_longer_one(tiny):
    alone = run(tiny, [[4, 9, 10]], n=4)[0]
    beside = run(tiny, [[4, 9, 10], [4] * 9 + [8]], n=4)[0]
    assert [r.token_ids for r in alone] == [r.token_ids for r in beside]


@pytest.mark.parametrize("reads", [True, False])
def test_a_group_is_told_of_when_its_last_row_has_ended(tiny, monkeypatch, reads):
    monkeypatch.setattr("softgrpo.models.local.forest.reads_forests", lambda module: reads)
    prompts = [[4, 9, 10], [4, 7, 8, 11, 20, 5], [4, 4, 9]]
    ends = tiny.end_ids | set(range(20, 60))
    told = []
    keep = lambda prompt, rows: told.append((prompt, rows))  # noqa: E731
    drawn = run(tiny, prompts, n=4, max_tokens=30, end_ids=ends, rows_at_once=6, on_group=keep)
    assert sorted(prompt for prompt, _ in told) == [0, 1, 2]
    assert all(rows == drawn[prompt] for prompt, rows in told)
    lengths = [max(len(r.token_ids) for r in rows) for _, rows in told]
    assert len(set(lengths)) > 1


def test_draws_follow_the_distribution():
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0])
    uniform = torch.rand(20000, generator=torch.Generator().manual_seed(0))
    tokens, _ = draw(probabilities.log().expand(20000, -1), uniform, 1.0)
    shares = Counter(tokens.tolist())
    assert [shares[i] / 20000 for i in range(5)] == pytest.approx(probabilities.tolist(), abs=0.012)
    assert shares[4] == 0


@pytest.mark.parametrize("uniform", [0.0, 1.0 - 1e-12, 1.0])
def test_the_ends_of_the_unit_interval_draw_a_token_that_can_be_drawn(uniform):
    logits = torch.tensor([[float("-inf"), 0.0, 1.0, float("-inf")]])
    token, logprob = draw(logits, torch.tensor([uniform], dtype=torch.float64), 1.0)
    assert token.item() in (1, 2)
    assert torch.isfinite(logprob).all()


def test_temperature_zero_takes_the_likeliest(tiny):
    rows = run(tiny, [[4, 9, 10]], n=3, temperature=0)[0]
    assert len({row.token_ids for row in rows}) == 1


def test_seeds(tiny):
    assert run(tiny, [[4, 9]], n=4, seed=1) == run(tiny, [[4, 9]], n=4, seed=1)
    assert run(tiny, [[4, 9]], n=4, seed=1) != run(tiny, [[4, 9]], n=4, seed=2)


def test_waiting_rows_take_the_places_of_finished_ones(tiny):
    """Few places give the rows that all places at once give, whoever ends first."""
    prompts = [[4, 9, 10], [4, 7, 8, 11, 20, 5], [5, 5]]
    options = dict(n=5, max_tokens=20, end_ids=tiny.end_ids | set(range(20, 27)))
    together = run(tiny, prompts, **options)
    assert len({len(row.token_ids) for rows in together for row in rows}) > 3
    for places in (1, 4, 8):
        found = run(tiny, prompts, rows_at_once=places, **options)
        for rows, expected in zip(found, together, strict=True):
            assert [r.token_ids for r in rows] == [r.token_ids for r in expected]
            for row, other in zip(rows, expected, strict=True):
                assert np.allclose(row.logprobs, other.logprobs, atol=1e-5)


def test_a_model_that_reads_no_forests_draws_the_same(tiny):
    prompts = [[4, 9, 10], [4, 7, 8, 11, 20, 5], [5, 5]]
    fast = run(tiny, prompts, n=3)
    tiny.module.__dict__["_softgrpo_reads_forests"] = False
    with pytest.warns(UserWarning, match="do not share"):
        plain = run(tiny, prompts, n=3, rows_at_once=4)
    assert [[r.token_ids for r in rows] for rows in fast] == [[r.token_ids for r in rows] for rows in plain]


@pytest.mark.parametrize("size", [1, 255, 256, 257, 1000])
def test_a_draw_is_where_the_whole_distribution_function_passes_its_point(size):
    generator = torch.Generator().manual_seed(size)
    logits = 3 * torch.randn(400, size, generator=generator)
    uniform = torch.rand(400, generator=generator, dtype=torch.float64)
    tokens, logprobs = draw(logits, uniform, 0.8)
    probabilities = (logits.double() / 0.8).softmax(-1)
    above = probabilities.cumsum(-1).gather(1, tokens[:, None])[:, 0]
    assert (above > uniform - 1e-6).all()
    assert (above - probabilities.gather(1, tokens[:, None])[:, 0] < uniform + 1e-6).all()
    assert torch.allclose(logprobs.double(), probabilities.gather(1, tokens[:, None])[:, 0].log(), atol=1e-5)
