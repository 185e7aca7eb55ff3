"""The policy losses, over the tokens of several completions laid end to end. Pure.

`T` trained tokens, `N` completions; `row_T` names the completion of each token. Every loss is a sum over tokens with
weights that already hold the mean over the whole update, so that micro-batches add up to it exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from softgrpo.grpo import LOSSES

MAX_LOG_RATIO = 20.0
"""either way; beyond it a token counts as if there, as in verl (Sheng et al., 2024)"""
MAX_K3 = 10.0
"""of one token, as in verl"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTerms:
    """What a micro-batch adds to the update."""

    loss: torch.Tensor
    """scalar, to be differentiated and summed over micro-batches"""
    kl: torch.Tensor
    """scalar, sum over tokens of the k3 estimate of the KL divergence to the reference"""
    clipped: torch.Tensor
    """scalar, number of tokens whose ratio was clipped"""
    bounded: torch.Tensor
    """scalar, number of tokens at which another bound was in force: on the log-ratio, on a ratio under a negative
    advantage (`clip_dual`), or on k3"""
    mismatch_abs: torch.Tensor
    """scalar, sum over tokens of how far the log-probability lies from that at sampling"""
    mismatch_k3: torch.Tensor
    """scalar, sum over tokens of the k3 estimate of KL(sampler, learner)"""


def token_weights(loss: str, lengths_N: Sequence[int], *, max_completion_length: int) -> list[float]:
    """[N] the weight of each token of completion i when the update holds these N completions; see `grpo.variants`.

    Raises `ValueError` for an unknown loss.

    >>> token_weights("grpo", [1, 4], max_completion_length=8), token_weights("dapo", [1, 4], max_completion_length=8)
    ([0.5, 0.125], [0.2, 0.2])
    """
    return LOSSES[loss]().token_weights(lengths_N, max_completion_length)


def check_loss(loss: str) -> None:
    """Raise `ValueError` for an unknown name: none is another's."""
    LOSSES.check(loss)


def policy_loss(
    logprobs_T: torch.Tensor,
    old_logprobs_T: torch.Tensor,
    ref_logprobs_T: torch.Tensor | None,
    advantages_T: torch.Tensor,
    weights_T: torch.Tensor,
    row_T: torch.Tensor,
    *,
    loss: str = "grpo",
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    clip_dual: float = 3.0,
    kl_weight_beta: float = 0.0,
) -> LossTerms:
    """Clipped surrogate and k3 KL penalty (Schulman, 2020; Shao et al., 2024); all inputs [T].

    Where the advantage is negative a ratio counts at most `clip_dual` (Ye et al., 2020). What is bounded has no
    gradient; loss and gradient are finite for any log-probabilities that are numbers or infinite. What a ratio is, of a
    token or of a completion, is the loss's (`grpo.variants`). Raises `ValueError` for an unknown one.
    """
    variant = LOSSES[loss]()
    old_logprobs_T = old_logprobs_T.detach()
    log_ratio_T = log_ratios(logprobs_T, old_logprobs_T)
    ratio_T = variant.pooled(log_ratio_T, row_T).exp()
    clipped_T = ratio_T.clamp(1 - clip_low, 1 + clip_high)
    surrogate_T = torch.minimum(ratio_T * advantages_T, clipped_T * advantages_T)
    is_dual_T = (advantages_T < 0) & (ratio_T > clip_dual)
    surrogate_T = torch.where(is_dual_T, clip_dual * advantages_T, surrogate_T)
    is_clipped_T = clipped_T * advantages_T < ratio_T * advantages_T
    kl_T = torch.zeros_like(logprobs_T) if ref_logprobs_T is None else k3(logprobs_T, ref_logprobs_T)
    is_far_T = (_differences(logprobs_T, old_logprobs_T).abs() > MAX_LOG_RATIO) | (kl_T >= MAX_K3)
    return LossTerms(
        loss=(weights_T * (kl_weight_beta * kl_T - surrogate_T)).sum(),
        kl=kl_T.sum().detach(),
        clipped=is_clipped_T.sum().float(),
        bounded=(is_dual_T | is_far_T).sum().float(),
        mismatch_abs=log_ratio_T.detach().abs().sum(),
        mismatch_k3=k3(old_logprobs_T, logprobs_T.detach()).sum(),
    )


def log_ratios(logprobs_T: torch.Tensor, old_logprobs_T: torch.Tensor) -> torch.Tensor:
    """[T] log of new over old probability, 20 at most either way; 0 where both are impossible.

    >>> log_ratios(torch.tensor([-3.0, -1.0, -torch.inf]), torch.tensor([-15.0, -90.0, -torch.inf])).tolist()
    [12.0, 20.0, 0.0]
    """
    return _differences(logprobs_T, old_logprobs_T).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)


def k3(logprobs_T: torch.Tensor, ref_logprobs_T: torch.Tensor) -> torch.Tensor:
    """[T] exp(d) - d - 1 with d = reference - policy, 10 at most: never negative, and but for the bounds unbiased for
    KL(policy, reference)."""
    d_T = log_ratios(ref_logprobs_T, logprobs_T)
    return (d_T.expm1() - d_T).clamp(max=MAX_K3)


def _differences(a_T: torch.Tensor, b_T: torch.Tensor) -> torch.Tensor:
    """a - b, without a value for the difference of two infinities, or a gradient through it."""
    return (a_T - b_T).masked_fill((a_T == b_T) & a_T.isinf(), 0.0)
