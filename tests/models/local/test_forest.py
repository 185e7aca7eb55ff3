"""Rows that share their beginnings: what a node sees, the same states and gradients as plain rows, by either kernel."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from softgrpo.models.local import forest
from softgrpo.models.local.forest import Forest
from softgrpo.models.local.forest_kernel import together
from softgrpo.models.local.prefixes import SHORTEST, forests, plant

GENERATION = Forest(lengths=(3, 2, 4, 1, 5), ancestors=((), (0,), (0, 1), (0,), ()))
"""a root, its child, a grandchild, another child, another root"""


def whole(planted_ids, f: Forest, node: int) -> list[int]:
    """The tokens on the way from the root to a node's end."""
    starts = [sum(f.lengths[:i]) for i in range(len(f.lengths))]
    return [t for i in (*f.ancestors[node], node) for t in planted_ids[starts[i] : starts[i] + f.lengths[i]]]


def test_positions_by_hand():
    assert GENERATION.positions() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 3, 0, 1, 2, 3, 4]


def test_logits_behind_every_node_equal_those_of_plain_rows(tiny):
    ids = torch.randint(6, 40, (sum(GENERATION.lengths),), generator=torch.Generator().manual_seed(0))
    ends = torch.tensor(GENERATION.lengths).cumsum(0) - 1
    with torch.no_grad():
        found = forest.logits(tiny.module, ids, GENERATION, ends)
        for node in range(5):
            row = torch.tensor([whole(ids.tolist(), GENERATION, node)])
            assert torch.allclose(found[node], tiny.module(row).logits[0, -1], atol=1e-5), node


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_part_by_part_is_torchs_own_attention(dtype):
    """Forward and backward, grouped queries included, against the kernel that other devices use."""
    generator = torch.Generator().manual_seed(0)
    found = []
    total = sum(GENERATION.lengths)
    given = [torch.randn(1, heads, total, 8, generator=generator) for heads in (4, 2, 2)]
    weight = torch.randn(1, 4, total, 8, generator=generator)
    for kernel, kind in ((True, torch.float64), (False, dtype)):
        q, k, v = (x.to(dtype).to(kind).requires_grad_() for x in given)
        if kernel:
            out = forest._by_kernel(q, k, v, GENERATION, 0.3, 0.0)
        else:
            out = forest._PartByPart.apply(q[0], k[0], v[0], GENERATION, 0.3)[None].transpose(1, 2)
        (out * weight.to(kind)).sum().backward()
        found.append([x.double() for x in (out, q.grad, k.grad, v.grad)])
    for a, b in zip(*found, strict=True):
        assert (a - b).norm() < (1e-5 if dtype == torch.float32 else 2e-2) * a.norm()


def test_attention_is_put_back(tiny):
    config = tiny.module.config
    before = config._attn_implementation
    with pytest.raises(IndexError):
        forest.states(tiny.module, torch.tensor([10**6]), Forest.roots([1]))
    assert config._attn_implementation == before


def test_a_cap_on_scores_is_refused():
    x = torch.zeros(1, 1, 1, 4)
    with pytest.raises(TypeError, match="softcap"):
        forest.forest_attention(None, x, x, x, None, forest=Forest.roots([1]), softcap=30.0)


def test_models_that_read_no_forests_are_seen(tiny):
    assert forest.reads_forests(tiny.module)
    windowed = copy.deepcopy(tiny.module)
    windowed.__dict__.pop("_softgrpo_reads_forests")
    windowed.config.sliding_window = 4
    assert not forest.reads_forests(windowed)
    assert not forest.reads_forests(torch.nn.Linear(2, 2))


words = st.integers(0, 2)
rows = st.lists(st.lists(words, min_size=1, max_size=30), min_size=1, max_size=8)


@settings(deadline=None, max_examples=60)
@given(rows, st.lists(words, max_size=20))
def test_every_sequence_can_be_read_back_from_its_end(tails, head):
    sequences = [[*head, *tail] for tail in tails]
    planted = plant(sequences)
    assert len(planted.ids) == sum(planted.forest.lengths) <= sum(len(s) for s in sequences)
    positions = planted.forest.positions()
    node_of = [i for i, n in enumerate(planted.forest.lengths) for _ in range(n)]
    for sequence, end in zip(sequences, planted.ends, strict=True):
        read = whole(planted.ids, planted.forest, node_of[end])
        assert read[: positions[end] + 1] == sequence


def test_matches_share_the_task_and_the_first_text():
    task, texts = list(range(100, 120)), [[i] * 12 for i in range(4)]
    sequences = [[*task, *a, *b] for a in texts for b in texts if a != b]
    planted = plant(sequences)
    assert len(planted.ids) == 20 + 4 * 12 + 12 * 12
    assert sorted(len(a) for a in planted.forest.ancestors) == [0] + [1] * 4 + [2] * 12


def test_forests_keep_to_a_size_and_lose_nobody():
    sequences = [[*range(SHORTEST), 50 + i, i] for i in range(20)]
    found = list(forests(sequences, 30))
    assert sorted(i for numbers, _ in found for i in numbers) == list(range(20))
    assert all(len(planted.ids) <= 30 for _, planted in found)
    for numbers, planted in found:
        assert [planted.ids[end] for end in planted.ends] == [sequences[i][-1] for i in numbers]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_triangles_of_similar_size_share_a_batch(dtype):
    """Padded, in one piece of the row and not: found again where they were."""
    batches = together([slice(0, 4), slice(4, 8), slice(8, 11), slice(20, 40), slice(12, 16)])
    assert [(b.n, len(b.tokens), b.run is not None) for b in batches] == [(1, 20, True), (4, 16, False)]
    x = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    back = torch.zeros_like(x)
    for batch in batches:
        batch.scatter(batch.gathered(x), back)
    inside = [*range(11), *range(12, 16), *range(20, 40)]
    assert torch.equal(back[:, inside], x[:, inside])
    assert not back[:, [11, *range(16, 20)]].any()
    blanked = batches[1].blanked(torch.ones(1, 40, 1)).view(4, 4)
    assert blanked.sum(1).tolist() == [4, 4, 4, 3]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=6), min_size=1, max_size=3), st.integers(0, 99))
def test_any_forest_is_attended_to_as_torch_does(trees, seed):
    shape = Forest.trees(*trees)
    generator = torch.Generator().manual_seed(seed)
    given = [torch.randn(1, h, sum(shape.lengths), 4, generator=generator, dtype=torch.float64) for h in (4, 2, 2)]
    weight = torch.randn(sum(shape.lengths), 4, 4, generator=generator)
    found = []
    for kernel, kind in ((True, torch.float64), (False, torch.float32)):
        q, k, v = (x.to(kind).detach().clone().requires_grad_() for x in given)
        if kernel:
            out = forest._by_kernel(q, k, v, shape, 0.5, 0.0)[0].transpose(0, 1)
        else:
            out = forest._PartByPart.apply(q[0], k[0], v[0], shape, 0.5)
        (out * weight.to(kind)).sum().backward()
        found.append([x.detach().double() for x in (out, q.grad, k.grad, v.grad)])
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, atol=1e-4)
