"""A group as one row: who sees whom, and which token is predicted from where."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from softgrpo.grpo.tree import pack_padded, pack_trees

tokens = st.integers(1, 99)
prompts = st.lists(tokens, min_size=1, max_size=6)
completions = st.lists(st.lists(tokens, min_size=1, max_size=6), min_size=1, max_size=5)


def kept_predictors(packed):
    """[N] the place (row, position) of the token each trained token is predicted from."""
    width = len(packed.kept)
    return [(int(i) // width, int(packed.kept[int(i) % width])) for i in packed.predictor]


def seen_by_tree(packed, position):
    """Token and position id of everything a place of a tree sees, in the order of their position ids."""
    seen = packed.attention_mask[0, 0, position].nonzero()[:, 0].tolist()
    return sorted((int(packed.position_ids[0, k]), int(packed.input_ids[0, k])) for k in seen)


def seen_by_row(packed, row, position):
    """The same in a padded row, under the causal mask that the model adds."""
    seen = [k for k in range(position + 1) if packed.attention_mask[row, k]]
    return sorted((int(packed.position_ids[row, k]), int(packed.input_ids[row, k])) for k in seen)


def test_a_tree_of_two_branches_by_hand():
    packed = pack_trees([([7, 8], [[1, 2], [3]])])
    assert packed.input_ids.tolist() == [[7, 8, 1, 2, 3]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 2]]
    assert packed.attention_mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]
    assert kept_predictors(packed) == [(0, 1), (0, 2), (0, 1)]
    assert packed.target.tolist() == [1, 2, 3]
    assert packed.row.tolist() == [0, 0, 1]


def test_padded_rows_of_two_completions_by_hand():
    packed = pack_padded([7, 8], [[1, 2], [3]], pad_id=0)
    assert packed.input_ids.tolist() == [[7, 8, 1, 2], [7, 8, 3, 0]]
    assert packed.attention_mask.int().tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert kept_predictors(packed) == [(0, 1), (0, 2), (1, 1)]
    assert packed.target.tolist() == [1, 2, 3]
    assert packed.row.tolist() == [0, 0, 1]


@settings(deadline=None)
@given(prompts, completions)
def test_every_completion_token_is_predicted_once_after_its_own_past(prompt, branches):
    """What a predictor sees is the prompt and the branch before the target, at its own positions; nothing of others."""
    packed = pack_trees([(prompt, branches)])
    place = iter(zip(kept_predictors(packed), packed.target.tolist(), packed.row.tolist(), strict=True))
    for i, branch in enumerate(branches):
        for t, token in enumerate(branch):
            (_, position), target, row = next(place)
            assert (target, row) == (token, i)
            assert seen_by_tree(packed, position) == list(enumerate([*prompt, *branch[:t]]))
    assert next(place, None) is None


@settings(deadline=None)
@given(prompts, completions)
def test_padded_and_tree_predict_the_same_tokens_from_the_same_past(prompt, branches):
    tree, padded = pack_trees([(prompt, branches)]), pack_padded(prompt, branches, pad_id=0)
    assert torch.equal(tree.target, padded.target)
    assert torch.equal(tree.row, padded.row)
    for (_, k), (row, position) in zip(kept_predictors(tree), kept_predictors(padded), strict=True):
        assert tree.input_ids[0, k] == padded.input_ids[row, position]
        assert seen_by_tree(tree, k) == seen_by_row(padded, row, position)


@settings(deadline=None)
@given(prompts, completions)
def test_a_tree_holds_the_prompt_once(prompt, branches):
    packed = pack_trees([(prompt, branches)])
    assert packed.input_ids.shape == (1, len(prompt) + sum(len(b) for b in branches))
    assert packed.attention_mask.diagonal(dim1=-2, dim2=-1).all(), "every token sees itself"
