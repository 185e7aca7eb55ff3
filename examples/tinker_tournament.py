"""Debate on Tinker: `pip install softgrpo tinker-cookbook`, then

TINKER_API_KEY=... python examples/tinker_tournament.py
"""

from __future__ import annotations

import asyncio
from functools import partial

from tinker_cookbook.rl import train

from softgrpo import Scorer
from softgrpo.integrations.tinker_prompts import TournamentDatasetBuilder

MODEL = "Qwen/Qwen3-4B-Instruct-2507"


def gives_reasons(prompt: str, first: str, second: str) -> float:
    """The probability that the first is better. Any judge: `judge="gpt-4o"`, `"claude-sonnet-4-5"`, a local model."""
    reasons = [text.count("because") + 1 for text in (first, second)]
    return reasons[0] / sum(reasons)


def config() -> train.Config:
    """The training, as the cookbook takes it."""
    prompts = TournamentDatasetBuilder(
        scorer_builder=partial(Scorer, task="debate", judge=gives_reasons),
        batch_size=8,
        group_size=8,
        policy_renderer_name="qwen3_instruct",
        policy_model_name=MODEL,
    )
    return train.Config(
        dataset_builder=prompts,
        model_name=MODEL,
        recipe_name="softgrpo_debate",
        learning_rate=4e-5,
        max_tokens=512,
        log_path="output/tinker_tournament",
        remove_constant_reward_groups=True,
    )


if __name__ == "__main__":
    asyncio.run(train.main(config()))
