"""A group as one row: who sees whom, which token is predicted from where, and which are trained."""

from __future__ import annotations

from itertools import compress

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from softgrpo.grpo.tree import pack_padded, pack_trees
from softgrpo.models.local.prefix_tree import PrefixTree

tokens = st.integers(1, 99)
prompts = st.lists(tokens, min_size=1, max_size=6)
completions = st.lists(st.lists(tokens, min_size=1, max_size=6), min_size=1, max_size=5)
masked = st.lists(st.lists(st.tuples(tokens, st.booleans()), min_size=1, max_size=6), min_size=1, max_size=5).filter(
    lambda branches: any(is_trained for branch in branches for _, is_trained in branch)
)
"""completions with their loss masks; a token of them is trained"""


def kept_predictors(packed):
    """[N] the place (row, position) of the token each trained token is predicted from."""
    width = len(packed.kept)
    return [(int(i) // width, int(packed.kept[int(i) % width])) for i in packed.predictor]


def seen_by_tree(packed, position):
    """Token and position id of everything a place of a tree sees, in the order of their position ids."""
    seen = PrefixTree.trees(*packed.trees).mask()[position].nonzero()[:, 0].tolist()
    return sorted((int(packed.position_ids[0, k]), int(packed.input_ids[0, k])) for k in seen)


def seen_by_row(packed, row, position):
    """The same in a padded row, under the causal mask that the model adds."""
    seen = [k for k in range(position + 1) if packed.tokens[row, k]]
    return sorted((int(packed.position_ids[row, k]), int(packed.input_ids[row, k])) for k in seen)


def test_a_tree_of_two_branches_by_hand():
    packed = pack_trees([([7, 8], [[1, 2], [3]])])
    assert packed.input_ids.tolist() == [[7, 8, 1, 2, 3]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 2]]
    assert packed.tokens is None
    assert PrefixTree.trees(*packed.trees).mask().int().tolist() == [
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
    assert not packed.trees
    assert packed.tokens.int().tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert kept_predictors(packed) == [(0, 1), (0, 2), (1, 1)]
    assert packed.target.tolist() == [1, 2, 3]
    assert packed.row.tolist() == [0, 0, 1]


@settings(deadline=None, print_blob=True)
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


@settings(deadline=None, print_blob=True)
@given(prompts, completions)
def test_padded_and_tree_predict_the_same_tokens_from_the_same_past(prompt, branches):
    tree, padded = pack_trees([(prompt, branches)]), pack_padded(prompt, branches, pad_id=0)
    assert torch.equal(tree.target, padded.target)
    assert torch.equal(tree.row, padded.row)
    for (_, k), (row, position) in zip(kept_predictors(tree), kept_predictors(padded), strict=True):
        assert tree.input_ids[0, k] == padded.input_ids[row, position]
        assert seen_by_tree(tree, k) == seen_by_row(padded, row, position)


@settings(deadline=None, print_blob=True)
@given(prompts, completions)
def test_a_tree_holds_the_prompt_once(prompt, branches):
    packed = pack_trees([(prompt, branches)])
    assert packed.input_ids.shape == (1, len(prompt) + sum(len(b) for b in branches))
    mask = PrefixTree.trees(*packed.trees).mask()
    assert mask.shape == (packed.input_ids.numel(),) * 2
    assert mask.diagonal().all(), "every token sees itself"


@settings(deadline=None, print_blob=True)
@given(st.lists(st.tuples(prompts, completions), min_size=1, max_size=3))
def test_prompts_side_by_side_do_not_see_each_other(trees):
    """Together as each alone; completions are counted over all of them."""
    together = pack_trees(trees)
    starts = torch.tensor([0, *(len(p) + sum(map(len, cs)) for p, cs in trees)]).cumsum(0).tolist()
    sees = PrefixTree.trees(*together.trees).mask()
    targets, rows = [], []
    for tree, start, stop in zip(trees, starts, starts[1:], strict=False):
        alone = pack_trees([tree])
        assert torch.equal(sees[start:stop, start:stop], PrefixTree.trees(*alone.trees).mask())
        assert not sees[start:stop, :start].any()
        assert not sees[start:stop, stop:].any()
        assert torch.equal(together.position_ids[:, start:stop], alone.position_ids)
        rows += (alone.row + (max(rows) + 1 if rows else 0)).tolist()
        targets += alone.target.tolist()
    assert (together.target.tolist(), together.row.tolist()) == (targets, rows)


def test_masks_by_hand():
    """What is not trained is read like everything else; logits are wanted only before what is."""
    masks = [[False, True, True], [True], [False, False]]
    tree = pack_trees([([7, 8], [[1, 2, 3], [4]]), ([9], [[5, 6]])], masks)
    assert tree.input_ids.tolist() == [[7, 8, 1, 2, 3, 4, 9, 5, 6]]
    assert tree.trees == ((2, 3, 1), (1, 2))
    assert kept_predictors(tree) == [(0, 2), (0, 3), (0, 1)]
    assert tree.kept.tolist() == [1, 2, 3]
    assert (tree.target.tolist(), tree.row.tolist()) == ([2, 3, 4], [0, 0, 1])
    padded = pack_padded([7, 8], [[1, 2, 3], [4]], 0, masks[:2])
    assert padded.input_ids.tolist() == [[7, 8, 1, 2, 3], [7, 8, 4, 0, 0]]
    assert padded.tokens.int().tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert kept_predictors(padded) == [(0, 2), (0, 3), (1, 1)]
    assert (padded.target.tolist(), padded.row.tolist()) == ([2, 3, 4], [0, 0, 1])


@settings(deadline=None, print_blob=True)
@given(prompts, masked)
def test_of_all_predictions_a_mask_leaves_those_of_trained_tokens(prompt, branches):
    """The same inputs, and of what is predicted from where the masked-in part; tree and padded rows alike."""
    completions, masks = ([[pair[k] for pair in branch] for branch in branches] for k in (0, 1))
    every = [is_trained for mask in masks for is_trained in mask]
    for whole, part in (
        (pack_trees([(prompt, completions)]), pack_trees([(prompt, completions)], masks)),
        (pack_padded(prompt, completions, 0), pack_padded(prompt, completions, 0, masks)),
    ):
        assert torch.equal(whole.input_ids, part.input_ids)
        assert torch.equal(whole.position_ids, part.position_ids)
        assert whole.trees == part.trees
        assert kept_predictors(part) == list(compress(kept_predictors(whole), every))
        assert part.target.tolist() == list(compress(whole.target.tolist(), every))
        assert part.row.tolist() == list(compress(whole.row.tolist(), every))


@settings(deadline=None, print_blob=True)
@given(prompts, completions)
def test_without_masks_every_token_is_trained(prompt, branches):
    masks = [[True] * len(branch) for branch in branches]
    for one, other in (
        (pack_trees([(prompt, branches)]), pack_trees([(prompt, branches)], masks)),
        (pack_padded(prompt, branches, 0), pack_padded(prompt, branches, 0, masks)),
    ):
        assert all(
            torch.equal(getattr(one, name), getattr(other, name)) for name in ("kept", "predictor", "target", "row")
        )


@pytest.mark.parametrize("pack", [lambda c, m: pack_trees([([7], c)], m), lambda c, m: pack_padded([7], c, 0, m)])
@pytest.mark.parametrize("masks", [[[True], [True]], [[True, True]], [[True, True], [True], [True]]])
def test_a_mask_that_is_not_as_long_as_its_completion_is_refused(pack, masks):
    with pytest.raises(ValueError, match=r"mask|zip\(\)"):
        pack([[1, 2], [3]], masks)
