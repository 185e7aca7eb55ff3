"""Sequences that share their beginnings: what a node sees, and that nobody is lost."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from softgrpo.models.local.prefix_tree import SHORTEST, PrefixTree, build_prefix_tree, prefix_trees

GENERATION = PrefixTree(lengths=(3, 2, 4, 1, 5), ancestors=((), (0,), (0, 1), (0,), ()))
"""a root, its child, a grandchild, another child, another root"""


def whole(ids: list[int], tree: PrefixTree, node: int) -> list[int]:
    """The tokens on the way from the root to a node's end."""
    starts = [sum(tree.lengths[:i]) for i in range(len(tree.lengths))]
    return [t for i in (*tree.ancestors[node], node) for t in ids[starts[i] : starts[i] + tree.lengths[i]]]


def test_positions_by_hand():
    assert GENERATION.positions() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 3, 0, 1, 2, 3, 4]


def test_the_mask_by_hand():
    mask = PrefixTree.trees([1, 2, 1], [2]).mask()
    assert mask.int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 1, 1],
    ]


lengths = st.lists(st.integers(1, 5), min_size=1, max_size=5)


@settings(deadline=None, max_examples=60, print_blob=True)
@given(st.lists(lengths, min_size=1, max_size=3))
def test_a_token_sees_as_many_tokens_as_are_before_it_and_itself(trees):
    """Each at a position of its own: the mask and the positions tell the same story."""
    tree = PrefixTree.trees(*trees)
    mask, positions = tree.mask(), torch.tensor(tree.positions())
    for token, position in enumerate(positions.tolist()):
        assert positions[mask[token]].tolist() == list(range(position + 1))


def test_roots_share_nothing():
    assert PrefixTree.roots([2, 1]).mask().int().tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert PrefixTree.roots([2, 1]) == PrefixTree.trees([2], [1])


words = st.integers(0, 2)
rows = st.lists(st.lists(words, min_size=1, max_size=30), min_size=1, max_size=8)


@settings(deadline=None, max_examples=60, print_blob=True)
@given(rows, st.lists(words, max_size=20))
def test_every_sequence_can_be_read_back_from_its_end(tails, head):
    sequences = [[*head, *tail] for tail in tails]
    packed = build_prefix_tree(sequences)
    assert len(packed.ids) == sum(packed.tree.lengths) <= sum(len(s) for s in sequences)
    positions = packed.tree.positions()
    node_of = [i for i, n in enumerate(packed.tree.lengths) for _ in range(n)]
    for sequence, end in zip(sequences, packed.ends, strict=True):
        read = whole(packed.ids, packed.tree, node_of[end])
        assert read[: positions[end] + 1] == sequence


def test_matches_share_the_task_and_the_first_text():
    task, texts = list(range(100, 120)), [[i] * 12 for i in range(4)]
    sequences = [[*task, *a, *b] for a in texts for b in texts if a != b]
    packed = build_prefix_tree(sequences)
    assert len(packed.ids) == 20 + 4 * 12 + 12 * 12
    assert sorted(len(a) for a in packed.tree.ancestors) == [0] + [1] * 4 + [2] * 12


@pytest.mark.parametrize("most", [30, 12])
def test_trees_keep_to_a_size_and_lose_nobody(most):
    sequences = [[*range(SHORTEST), 50 + i, i] for i in range(20)]
    found = list(prefix_trees(sequences, most))
    assert sorted(i for numbers, _ in found for i in numbers) == list(range(20))
    assert all(len(packed.ids) <= most for _, packed in found)
    for numbers, packed in found:
        assert [packed.ids[end] for end in packed.ends] == [sequences[i][-1] for i in numbers]


def test_a_sequence_longer_than_the_size_is_alone():
    found = list(prefix_trees([[1, 2, 3], [7] * 9], 5))
    assert [(numbers, len(packed.ids)) for numbers, packed in found] == [([0], 3), ([1], 9)]
