"""How the policy learns."""

from __future__ import annotations

from dataclasses import dataclass

from softgrpo.config.groups import LEARNING
from softgrpo.flags import flag
from softgrpo.grpo import LOSSES


@dataclass(frozen=True, kw_only=True)
class LearningFlags:
    """From rewards to new weights."""

    learning_rate: float = flag(5e-6, "AdamW's step after the warm-up", group=LEARNING, above=0)
    adam_beta1: float = flag(0.9, "AdamW's first moment", group=LEARNING, low=0, high=0.99999)
    adam_beta2: float = flag(0.99, "AdamW's second moment", group=LEARNING, low=0, high=0.99999)
    weight_decay: float = flag(0.1, "AdamW's decay of matrices", group=LEARNING, low=0)
    max_grad_norm: float = flag(0.1, "gradients are scaled down to this norm", group=LEARNING, above=0)
    max_staleness: int = flag(
        0,
        "1 samples the next iteration while a judge behind a service works on this one; 0 is strictly on-policy",
        group=LEARNING,
        low=0,
        high=1,
    )
    gradient_accumulation_steps: int = flag(4, "iterations per optimizer update", group=LEARNING, low=1)
    warmup_percent: float = flag(0.18, "share of updates with a rising learning rate", group=LEARNING, low=0, high=1)
    loss: str = flag("grpo", "the policy loss", group=LEARNING, choices=tuple(LOSSES))
    scale_advantages: bool | None = flag(
        None,
        "divide advantages by the group's standard deviation (default: yes, but not with --loss dr_grpo)",
        group=LEARNING,
    )
    clip_low: float = flag(0.2, "ratios are clipped below 1 - clip_low", group=LEARNING, above=0, high=1)
    clip_high: float = flag(0.2, "ratios are clipped above 1 + clip_high", group=LEARNING, above=0)
    clip_dual: float = flag(
        3.0,
        "where the advantage is negative a ratio counts at most this much (dual clip, Ye et al., 2020)",
        group=LEARNING,
        low=1,
    )
    num_inner_epochs: int = flag(1, "optimizer steps on the same completions", group=LEARNING, low=1)
    kl_weight_beta: float = flag(0.04, "weight of the KL penalty; 0 needs no reference", group=LEARNING, low=0)
    update_ref_model: bool = flag(False, "mix the policy into the reference as training goes", group=LEARNING)
    update_ref_model_freq: int = flag(200, "updates between two mixings", group=LEARNING, low=1)
    ref_model_mixup_alpha: float = flag(0.1, "share of the policy in a mixing", group=LEARNING, low=0, high=1)
    mask_truncated: bool = flag(False, "leave completions without an end out of the loss", group=LEARNING)
    use_lora: bool = flag(False, "train a low-rank adapter; the base serves as reference and judge", group=LEARNING)
    lora_rank: int = flag(16, "the adapter's rank", group=LEARNING, low=1)
    lora_alpha: int = flag(32, "the adapter's scale is alpha / rank", group=LEARNING, low=1)
    lora_dropout: float = flag(0.0, "dropout before the adapter", group=LEARNING, low=0, high=0.9)

    @property
    def scales_advantages(self) -> bool:
        """Whether advantages are divided: Dr. GRPO does not (Liu et al., 2025), unless it is told to."""
        return self.loss != "dr_grpo" if self.scale_advantages is None else self.scale_advantages
