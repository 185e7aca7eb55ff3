"""What the losses differ in: the weight of a token, and of what a ratio is. Pure.

`T` trained tokens, `N` completions; `row_T` names the completion of each token.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


class GRPO:
    """Mean over tokens, then over completions; a ratio of each token (Shao et al., 2024)."""

    def token_weights(self, lengths_N: Sequence[int], max_completion_length: int) -> list[float]:
        """[N] the weight of each token of completion i when the update holds these N completions.

        >>> GRPO().token_weights([1, 4], 8), DAPO().token_weights([1, 4], 8), DrGRPO().token_weights([1, 4], 8)
        ([0.5, 0.125], [0.2, 0.2], [0.0625, 0.0625])
        """
        return [1 / (len(lengths_N) * length) for length in lengths_N]

    def pooled(self, log_ratio_T: torch.Tensor, row_T: torch.Tensor) -> torch.Tensor:
        """[T] the logarithm of the ratio that counts at each token, from that of each token."""
        return log_ratio_T


class DrGRPO(GRPO):
    """Sum over tokens by a constant length, mean over completions (Liu et al., 2025)."""

    def token_weights(self, lengths_N: Sequence[int], max_completion_length: int) -> list[float]:
        """[N] the same for all, whatever the lengths."""
        return [1 / (len(lengths_N) * max_completion_length)] * len(lengths_N)


class DAPO(GRPO):
    """Mean over all tokens (Yu et al., 2025)."""

    def token_weights(self, lengths_N: Sequence[int], max_completion_length: int) -> list[float]:
        """[N] the same for all."""
        return [1 / sum(lengths_N)] * len(lengths_N)


class GSPO(GRPO):
    """One ratio per completion, the exponential of its mean log-ratio (Zheng et al., 2025).

    All tokens of a completion must then be in the same call.
    """

    def pooled(self, log_ratio_T: torch.Tensor, row_T: torch.Tensor) -> torch.Tensor:
        """[T] the mean over each token's completion.

        >>> GSPO().pooled(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 1])).tolist()
        [2.0, 2.0, 5.0]
        """
        n = int(row_T.max()) + 1
        sums_N = log_ratio_T.new_zeros(n).index_add(0, row_T, log_ratio_T)
        counts_N = log_ratio_T.new_zeros(n).index_add(0, row_T, torch.ones_like(log_ratio_T))
        return (sums_N / counts_N.clamp(min=1))[row_T]
