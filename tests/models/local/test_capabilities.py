"""What a model lets be done faster is measured: never by its name, and never believed where it differs."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch

from softgrpo.engines.local import policy as policies
from softgrpo.models.local import capabilities
from softgrpo.models.local.capabilities import Capabilities, measured
from tests.fakes.families import FAMILIES, build_family


def quietly(module) -> Capabilities:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return measured(module)


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_is_seen_as_it_is(name):
    assert quietly(build_family(name)) == FAMILIES[name][2]


def test_a_tree_is_a_row_one_way_or_the_other():
    assert not Capabilities(plain_head=True).trees
    assert Capabilities(tree_mask=True).trees
    assert Capabilities(tree_attention=True).trees


def test_models_that_read_no_trees_are_seen(tiny):
    assert measured(tiny.module) == Capabilities(tree_attention=True, tree_mask=True, plain_head=True)
    windowed = copy.deepcopy(tiny.module)
    windowed.config.sliding_window = 4
    assert measured(windowed) == Capabilities(plain_head=True)
    assert quietly(torch.nn.Linear(2, 2)) == Capabilities()


def test_nothing_is_left_on_the_module(tiny):
    before = set(vars(tiny.module))
    measured(tiny.module)
    assert set(vars(tiny.module)) == before


def test_a_model_that_ignores_the_tree_is_seen(tiny):
    """It takes the mask and the tree without a word, and looks at neither."""

    class Ignores(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.config, self.device, self.dtype = inner, inner.config, inner.device, inner.dtype

        def get_input_embeddings(self):
            return self.inner.get_input_embeddings()

        def get_decoder(self):
            return self.inner.get_decoder()

        def get_output_embeddings(self):
            return self.inner.get_output_embeddings()

        def forward(self, input_ids, attention_mask=None, logits_to_keep=0, prefix_tree=None, keep=None, **inputs):
            self.config._attn_implementation = "sdpa"
            mask = None if attention_mask is None or attention_mask.dim() == 4 else attention_mask
            return self.inner(input_ids, attention_mask=mask, logits_to_keep=logits_to_keep, **inputs)

    with pytest.warns(UserWarning, match="its logits differ"):  # nothing fails: the numbers tell
        assert measured(Ignores(tiny.module)) == Capabilities(plain_head=True)
    assert measured(tiny.module).trees


def test_trees_are_read_under_a_mask_where_attention_cannot_be_named(tiny, monkeypatch):
    def unnamed(*args, **kwargs):
        raise ValueError("its attention has no name")

    monkeypatch.setattr(capabilities, "tree_logits", unnamed)
    with pytest.warns(UserWarning, match="no prefix trees by attention.*its attention has no name"):
        found = measured(tiny.module)
    assert found == Capabilities(tree_attention=False, tree_mask=True, plain_head=True)


def test_a_head_with_a_cap_is_seen(tiny, monkeypatch):
    """Logits that are bent after the product: the plain way is taken, and said."""
    plain = tiny.module.forward

    def capped(*args, **kwargs):
        out = plain(*args, **kwargs)
        out.logits = 2 * torch.tanh(out.logits / 2)
        return out

    monkeypatch.setattr(tiny.module, "forward", capped)
    with pytest.warns(UserWarning, match="no plain product"):
        assert not measured(tiny.module).plain_head


def test_a_model_is_measured_once(tiny, monkeypatch):
    monkeypatch.setattr("softgrpo.models.huggingface.measured", lambda module: calls.append(module) or Capabilities())
    calls = []
    assert tiny.capabilities is tiny.capabilities
    assert calls == [tiny.module]


def test_a_policy_is_measured_with_its_adapter_on(tiny, monkeypatch):
    from peft.tuners.lora import LoraLayer

    policy = policies.with_lora(tiny, rank=2, alpha=4, dropout=0.0, seed=0)
    at_rest = lambda: {m.disable_adapters for m in policy.module.modules() if isinstance(m, LoraLayer)}  # noqa: E731
    seen = []
    monkeypatch.setattr(policies, "measured", lambda module: seen.append(at_rest()) or Capabilities())
    assert policy.capabilities is policy.capabilities
    assert seen == [{False}]
    assert at_rest() == {True}


def test_adapters_leave_a_model_what_it_can_do(tiny):
    policy = policies.with_lora(tiny, rank=2, alpha=4, dropout=0.0, seed=0)
    assert policy.capabilities == Capabilities(tree_attention=True, tree_mask=True, plain_head=True)
