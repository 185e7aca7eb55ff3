"""tinker-cookbook: a data set of prompts, each answered by a group that meets in a tournament.

builder = TournamentDatasetBuilder(
    scorer_builder=partial(Scorer, task="debate", judge="gpt-4o", budget_usd=20),
    batch_size=16, group_size=8, policy_renderer_name="qwen3_instruct", policy_model_name=model,
)
config = train.Config(dataset_builder=builder, model_name=model, ...)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import chz
from tinker_cookbook import renderers
from tinker_cookbook.rl.preference_envs import PreferenceEnv
from tinker_cookbook.rl.types import Env, EnvGroupBuilder, RLDataset, RLDatasetBuilder
from tinker_cookbook.tokenizer_utils import get_tokenizer

from softgrpo.errors import UserError
from softgrpo.integrations.tinker_cookbook import TournamentGroup
from softgrpo.records import Prompt
from softgrpo.tasks.chats import PromptReader


@chz.chz
class TournamentDatasetBuilder(RLDatasetBuilder):
    """`dataset_builder=` of a training. There is no test set: the mean reward of a tournament is the same for any
    policy."""

    scorer_builder: Callable[[], Any]
    """makes the scorer: a configuration is copied and written down, for which a scorer itself is not made"""
    batch_size: int
    group_size: int
    policy_renderer_name: str
    policy_model_name: str
    prompts: Sequence[Any] | None = None
    """texts, chats, rows, Questions, as `Scorer.score` takes them; without them, those its task has for training"""
    seed: int = 0
    """of the prompts' order"""

    async def __call__(self) -> tuple[TournamentDataset, None]:
        """Raises `UserError` for prompts that are none or make no batch, and for what a scorer finds wrong."""
        if self.group_size < 2:
            raise UserError(f"group_size {self.group_size}: a tournament needs two completions or more")
        if not callable(self.scorer_builder):
            kind = type(self.scorer_builder).__name__
            raise UserError(f"scorer_builder is a {kind}; give what makes one, e.g. partial(Scorer, task='debate')")
        scorer = self.scorer_builder()
        given = scorer.task.train if self.prompts is None else self.prompts
        if not 1 <= self.batch_size <= len(given):
            raise UserError(f"batch_size {self.batch_size}: no batch can be made of {len(given)} prompts; change one")
        prompts = list(map(PromptReader(scorer.task).read, given))
        random.Random(self.seed).shuffle(prompts)
        renderer = renderers.get_renderer(self.policy_renderer_name, get_tokenizer(self.policy_model_name))
        return TournamentDataset(prompts, renderer, scorer, self.batch_size, self.group_size), None


@dataclass(frozen=True)
class TournamentDataset(RLDataset):
    """Whole batches of groups, as the cookbook counts them; the prompts left over at the end are dropped."""

    prompts: Sequence[Prompt]
    renderer: renderers.Renderer
    scorer: Any
    batch_size: int
    group_size: int

    def get_batch(self, index: int) -> list[EnvGroupBuilder]:
        """A group for each prompt of the batch."""
        return [
            TournamentGroup(
                PromptGroup(prompt, self.renderer, self.group_size, self.scorer.task.name),
                prompt=prompt,
                renderer=self.renderer,
                scorer=self.scorer,
            )
            for prompt in self.prompts[index * self.batch_size : (index + 1) * self.batch_size]
        ]

    def __len__(self) -> int:
        return len(self.prompts) // self.batch_size


@dataclass(frozen=True)
class PromptGroup(EnvGroupBuilder):
    """One prompt, answered so many times in one turn; the environments reward nothing."""

    prompt: Prompt
    renderer: renderers.Renderer
    group_size: int
    tag: str
    """what its metrics are logged under"""

    async def make_envs(self) -> list[Env]:
        """One for each answer."""
        chat = [renderers.Message(role=m["role"], content=m["content"]) for m in self.prompt.messages]
        return [PreferenceEnv(chat, self.renderer) for _ in range(self.group_size)]

    def logging_tags(self) -> list[str]:
        """The task's name."""
        return [self.tag]
