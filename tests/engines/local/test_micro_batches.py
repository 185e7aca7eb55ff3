"""What one pass reads: as many branches as fit, everybody once and in order."""

from __future__ import annotations

import numpy as np
import pytest

from softgrpo.engines.local.micro_batches import micro_batches
from softgrpo.grpo.training_group import weighted
from tests.engines.local.learning import WAYS, masked, random_masks, training_groups_for


def taken_apart(tiny, training_groups, tokens, way):
    rows = weighted(training_groups, "grpo", max_completion_length=16)
    every = [row.completion for waiting in rows.values() for row in waiting]
    batches = list(micro_batches(rows, tokens, WAYS[way], tiny.tokenizer.pad_token_id))
    assert [row.completion for batch in batches for row in batch.rows] == every
    return rows, every, batches


@pytest.mark.parametrize(
    ("way", "tokens", "trees"), [("attention", 10_000, [3]), ("mask", 10_000, [1, 1, 1]), ("attention", 1, [1] * 12)]
)
def test_prompts_share_a_pass_where_the_model_reads_trees_apart(tiny, way, tokens, trees):
    """Where trees cannot be kept apart each prompt has its own pass."""
    *_, batches = taken_apart(tiny, training_groups_for(tiny, groups=3, size=4), tokens, way)
    assert [len(batch.packed.trees) for batch in batches] == trees


def test_rows_that_are_padded_are_those_of_one_prompt(tiny):
    *_, batches = taken_apart(tiny, training_groups_for(tiny, groups=3, size=4), 10_000, "padded")
    assert [batch.packed.input_ids.shape[0] for batch in batches] == [4, 4, 4]
    assert not any(batch.packed.trees for batch in batches)


def test_as_many_branches_as_fit(tiny):
    groups = training_groups_for(tiny, groups=3, size=4)
    longest = max(len(c.token_ids) for each in groups for c in each.scored.group.completions)
    limit = max(len(each.scored.group.prompt_ids) for each in groups) + longest + 10
    _, every, batches = taken_apart(tiny, groups, limit, "attention")
    assert all(batch.packed.input_ids.numel() <= limit for batch in batches)
    assert len(batches) < len(every)


@pytest.mark.parametrize("way", ["attention", "mask", "padded"])
@pytest.mark.parametrize("tokens", [1, 60, 10_000])
def test_targets_are_the_trained_tokens_of_the_rows(tiny, way, tokens):
    rng = np.random.default_rng(tokens)
    groups = [masked(each, random_masks(each, rng)) for each in training_groups_for(tiny, groups=3, size=4)]
    *_, batches = taken_apart(tiny, groups, tokens, way)
    for batch in batches:
        own = [
            t
            for row in batch.rows
            for t, m in zip(row.completion.token_ids, row.completion.loss_mask, strict=True)
            if m
        ]
        assert batch.packed.target.tolist() == own
        assert len(own) == sum(len(row.sampling_logprobs) for row in batch.rows)
        assert np.isfinite([x for row in batch.rows for x in row.sampling_logprobs]).all()
