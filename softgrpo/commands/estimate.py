"""`softgrpo estimate`: what a run will ask of services, and for how much."""

from __future__ import annotations

from softgrpo.config import TrainConfig
from softgrpo.spending.estimate import show


def run(config: TrainConfig) -> int:
    """Returns the exit status."""
    return show(config)
