"""Group-relative policy optimization: advantages, losses, groups as trees."""

from __future__ import annotations

from softgrpo.registry import Registry

LOSSES = Registry(
    "loss",
    {
        "grpo": "softgrpo.grpo.variants:GRPO",
        "dr_grpo": "softgrpo.grpo.variants:DrGRPO",
        "dapo": "softgrpo.grpo.variants:DAPO",
        "gspo": "softgrpo.grpo.variants:GSPO",
    },
)
"""how tokens are weighed, and of what a ratio is"""
