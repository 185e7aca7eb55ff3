"""What an iteration asks, and how: the same whether a run goes through or is resumed."""

from __future__ import annotations

import random

from softgrpo.config.train import TrainConfig
from softgrpo.records import Prompt, Sampling
from softgrpo.streams import seed_for
from softgrpo.tasks import Task


def prompts_of(iteration: int, task: Task, config: TrainConfig) -> list[Prompt]:
    """An iteration's prompts (from 1): each epoch goes through the training questions in an order of its own."""
    out = []
    for k in range(config.prompts_per_step):
        epoch, place = divmod((iteration - 1) * config.prompts_per_step + k, len(task.train))
        order = list(range(len(task.train)))
        random.Random(seed_for(config.seed, "order", epoch)).shuffle(order)
        out.append(task.prompt(task.train[order[place]], num_shots=config.shots_for(config.model_name)))
    return out


def sampling_of(iteration: int, task: Task, config: TrainConfig) -> Sampling:
    """How an iteration's completions are drawn."""
    return Sampling(
        n=config.num_chains,
        temperature=config.temperature,
        max_tokens=config.max_completion_length,
        seed=seed_for(config.seed, "sampling", iteration),
        prefill=config.prefill_for(config.model_name, task.format),
    )
