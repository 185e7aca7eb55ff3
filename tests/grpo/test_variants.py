"""What a loss is called, and where each is found."""

from __future__ import annotations

import pytest
import torch

from softgrpo.grpo import LOSSES
from softgrpo.grpo.loss import check_loss, policy_loss, token_weights
from softgrpo.grpo.variants import GRPO
from softgrpo.registry import Registry


class Longest(GRPO):
    """A loss of one's own: only completions of the greatest length count."""

    def token_weights(self, lengths_N, max_completion_length):
        return [float(length == max(lengths_N)) for length in lengths_N]


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_is_there(loss):
    assert issubclass(LOSSES[loss], GRPO)


@pytest.mark.parametrize(
    "use",
    [
        check_loss,
        lambda loss: token_weights(loss, [1], max_completion_length=1),
        lambda loss: policy_loss(
            *[torch.zeros(1)] * 2, None, *[torch.zeros(1)] * 2, torch.zeros(1, dtype=int), loss=loss
        ),
    ],
)
def test_an_unknown_loss_names_the_others(use):
    with pytest.raises(ValueError, match="unknown loss 'ppo'; choose from grpo, dr_grpo, dapo, gspo"):
        use("ppo")


def test_a_class_and_a_line_make_a_loss(monkeypatch):
    monkeypatch.setattr("softgrpo.grpo.loss.LOSSES", Registry("loss", {"longest": f"{__name__}:Longest"}))
    assert token_weights("longest", [2, 5, 5], max_completion_length=8) == [0.0, 1.0, 1.0]


def test_only_gspo_pools_the_tokens_of_a_completion():
    log_ratio_T, row_T = torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 1])
    pooled = {loss: LOSSES[loss]().pooled(log_ratio_T, row_T).tolist() for loss in LOSSES}
    assert pooled.pop("gspo") == [2.0, 2.0, 5.0]
    assert all(found == [1.0, 3.0, 5.0] for found in pooled.values())
