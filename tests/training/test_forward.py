"""Log-probabilities by every way a model allows: the same numbers, the same gradient."""

from __future__ import annotations

import pytest
import torch

from softgrpo.grpo.tree import pack_padded, pack_trees
from softgrpo.training.forward import has_plain_head, reads_trees, token_logprobs

PROMPT, COMPLETIONS = [4, 9, 10, 11], [[7, 8, 9], [12], [13, 14, 15, 16, 1]]


def found(module, packed):
    module.requires_grad_(True).zero_grad()
    logprobs = token_logprobs(module, packed, temperature=0.7)
    (logprobs * torch.arange(1.0, len(logprobs) + 1)).sum().backward()
    return logprobs.detach(), {name: p.grad.clone() for name, p in module.named_parameters()}


@pytest.mark.parametrize("forest", [True, False])
@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("packed", [pack_trees([(PROMPT, COMPLETIONS)]), pack_padded(PROMPT, COMPLETIONS, 0)])
def test_all_ways_agree(tiny, forest, head, packed):
    expected = []
    for completion in COMPLETIONS:
        logits = tiny.module(torch.tensor([[*PROMPT, *completion]])).logits[0, len(PROMPT) - 1 : -1] / 0.7
        expected += logits.log_softmax(-1)[torch.arange(len(completion)), completion]
    tiny.module.__dict__ |= {"_softgrpo_reads_forests": forest, "_softgrpo_plain_head": head}
    logprobs, gradient = found(tiny.module, packed)
    assert torch.allclose(logprobs, torch.stack(expected), atol=1e-5)
    tiny.module.__dict__ |= {"_softgrpo_reads_forests": False, "_softgrpo_plain_head": False}
    _, plain = found(tiny.module, pack_padded(PROMPT, COMPLETIONS, 0))
    for name, value in plain.items():
        assert (gradient[name] - value).norm() <= 1e-4 * value.norm(), name


def test_a_head_with_a_cap_is_seen_and_read_whole(tiny):
    """Logits that are bent after the product: the plain way is taken, and said."""
    plain = tiny.module.forward

    def capped(*args, **kwargs):
        out = plain(*args, **kwargs)
        out.logits = 2 * torch.tanh(out.logits / 2)
        return out

    assert has_plain_head(tiny.module)
    tiny.module.__dict__.pop("_softgrpo_plain_head")
    tiny.module.forward = capped
    with pytest.warns(UserWarning, match="no plain product"):
        assert not has_plain_head(tiny.module)
    packed = pack_trees([([*PROMPT], [[7]])])
    logits = tiny.module(torch.tensor([PROMPT])).logits[0, -1]
    assert token_logprobs(tiny.module, packed, temperature=1.0).item() == pytest.approx(
        logits.log_softmax(-1)[7].item(), abs=1e-5
    )


def test_trees_are_read_under_a_mask_where_attention_cannot_be_named(tiny):
    tiny.module.__dict__["_softgrpo_reads_forests"] = False
    assert reads_trees(tiny.module, 0)
