"""Rows that share their beginnings: the same states, keys and gradients as plain rows, in any family that is let."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from softgrpo.models.local import tree_attention
from softgrpo.models.local.prefix_tree import PrefixTree
from softgrpo.models.local.tree_attention import attend_by_node, tree_logits, tree_states
from tests.fakes.families import FAMILIES, build_family
from tests.models.local.test_prefix_tree import GENERATION, whole

IDS = torch.randint(6, 40, (sum(GENERATION.lengths),), generator=torch.Generator().manual_seed(0))
ENDS = torch.tensor(GENERATION.lengths).cumsum(0) - 1
BY_ATTENTION = [name for name, (*_, found) in FAMILIES.items() if found.tree_attention]


def by_mask(query, key, value, tree: PrefixTree, scale: float) -> torch.Tensor:
    """[1, H, T, D] as it is defined, in float64."""
    q, k, v = (x.double() for x in (query, key, value))
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    return (q @ k.mT * scale).masked_fill(~tree.mask(), -torch.inf).softmax(-1) @ v


def both_ways(given, weight, tree: PrefixTree, scale: float):
    """What comes out and the gradients, by the kernel and as it is defined."""
    found = []
    for way in (attend_by_node, by_mask):
        q, k, v = (x.detach().clone().requires_grad_() for x in given)
        out = way(q, k, v, tree, scale)
        (out * weight).sum().backward()
        found.append([x.detach().double() for x in (out, q.grad, k.grad, v.grad)])
    return found


def test_logits_behind_every_node_equal_those_of_plain_rows(tiny):
    with torch.no_grad():
        found = tree_logits(tiny.module, IDS, GENERATION, ENDS)
        for node in range(5):
            row = torch.tensor([whole(IDS.tolist(), GENERATION, node)])
            assert torch.allclose(found[node], tiny.module(row).logits[0, -1], atol=1e-5), node


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_node_by_node_is_attention_under_the_mask(dtype):
    """Forward and backward, grouped queries included."""
    generator = torch.Generator().manual_seed(0)
    total = sum(GENERATION.lengths)
    given = [torch.randn(1, heads, total, 8, generator=generator).to(dtype) for heads in (4, 2, 2)]
    weight = torch.randn(1, 4, total, 8, generator=generator).to(dtype)
    for a, b in zip(*both_ways(given, weight, GENERATION, 0.3), strict=True):
        assert (a - b).norm() < (1e-5 if dtype == torch.float32 else 2e-2) * b.norm()


@settings(deadline=None, max_examples=30, print_blob=True)
@given(st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=6), min_size=1, max_size=3), st.integers(0, 99))
def test_any_trees_are_attended_to_as_under_their_mask(trees, seed):
    tree = PrefixTree.trees(*trees)
    generator = torch.Generator().manual_seed(seed)
    given = [torch.randn(1, h, sum(tree.lengths), 4, generator=generator) for h in (4, 2, 2)]
    weight = torch.randn(1, 4, sum(tree.lengths), 4, generator=generator)
    for a, b in zip(*both_ways(given, weight, tree, 0.5), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("name", BY_ATTENTION)
def test_states_and_gradients_are_those_of_plain_rows(name):
    module = build_family(name)
    weight = torch.randn(len(ENDS), 32, generator=torch.Generator().manual_seed(2))

    def gradients(states: torch.Tensor):
        module.zero_grad()
        (states * weight).sum().backward()
        return states.detach(), {key: p.grad.clone() for key, p in module.named_parameters() if p.grad is not None}

    rows = [torch.tensor([whole(IDS.tolist(), GENERATION, node)]) for node in range(5)]
    plain = torch.stack([module.get_decoder()(row, use_cache=False).last_hidden_state[0, -1] for row in rows])
    expected, theirs = gradients(plain)
    found, ours = gradients(tree_states(module, IDS, GENERATION, ENDS))
    assert torch.allclose(found, expected, atol=1e-4)
    assert ours.keys() == theirs.keys()
    for key, gradient in theirs.items():
        assert (ours[key] - gradient).norm() < 1e-4 * gradient.norm() + 1e-5, key


@torch.no_grad()
def test_each_layers_keys_and_values_are_handed_out():
    """The very ones that the model's own cache would hold."""
    module = build_family("Qwen2")
    layers = {}
    keep = lambda layer, key, value: layers.update({layer: (key, value)})  # noqa: E731
    logits = tree_logits(module, IDS, GENERATION, torch.tensor([2, 7, 14]), keep=keep)
    assert torch.allclose(logits, tree_logits(module, IDS, GENERATION, torch.tensor([2, 7, 14])))
    assert sorted(layers) == [0, 1, 2]
    row = torch.tensor([whole(IDS.tolist(), GENERATION, 2)])  # the first nine tokens of the row
    for layer, kept in zip(module(row, use_cache=True).past_key_values.layers, layers.values(), strict=True):
        assert torch.allclose(kept[0][:, :9], layer.keys[0], atol=1e-5)
        assert torch.allclose(kept[1][:, :9], layer.values[0], atol=1e-5)


def test_attention_is_put_back(tiny):
    config = tiny.module.config
    before = config._attn_implementation
    with pytest.raises(IndexError):
        tree_states(tiny.module, torch.tensor([10**6]), PrefixTree.roots([1]), torch.tensor([0]))
    assert config._attn_implementation == before


@pytest.mark.parametrize("name", ["softcap", "s_aux", "sliding_window", "position_bias"])
def test_what_changes_attention_and_is_not_built_in_is_refused(name):
    x = torch.zeros(1, 1, 1, 4)
    with pytest.raises(TypeError, match=name):
        tree_attention.tree_attention(None, x, x, x, None, prefix_tree=PrefixTree.roots([1]), **{name: 30.0})


def test_values_of_another_width_are_refused():
    x = torch.zeros(1, 1, 1, 4)
    with pytest.raises(TypeError, match="another width"):
        tree_attention.tree_attention(None, x, x, x[..., :2], None, prefix_tree=PrefixTree.roots([1]))
