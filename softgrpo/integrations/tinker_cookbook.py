"""tinker-cookbook: a tournament as the reward of a group of environments. (`tinker_prompts` makes groups of prompts.)

The cookbook's advantage is a reward less the mean of its group, and it knows no missing reward. A trajectory that was
not judged therefore has the mean of the others: the tournament moves it nowhere, and the others as if without it. Where
nobody was judged all have 0.0: an error would end the run, unless its strategy catches errors; equal rewards teach
nothing either way, and `judged` in the metrics tells of it. What sampling on does not mend, a prompt that is none or a
budget that is reached, is an error. What an environment itself rewards is added as ever.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from tinker_cookbook import renderers
from tinker_cookbook.rl.types import Env, EnvGroupBuilder, Metrics, Trajectory

from softgrpo.integrations.groups import measures, neutral_rewards
from softgrpo.records import Message, Prompt
from softgrpo.tasks.chats import PromptReader


class TournamentGroup(EnvGroupBuilder):
    """The environments of another builder, which meet in a tournament; in place of that builder's group reward.

        TournamentGroup(builder, prompt="Why is the sky blue?", renderer=renderer, scorer=scorer)

    It can be sent to another process if the other builder can, the renderer is one of `get_renderer`'s, and the judge a
    name or a function of a module.
    """

    def __init__(self, inner: EnvGroupBuilder, *, prompt: Any, renderer: renderers.Renderer, scorer: Any) -> None:
        """`prompt` is what `Scorer.score` takes; `renderer` reads the policy's tokens. Raises `UserError` for a prompt
        that is none, before a token is sampled."""
        self.inner, self.renderer, self.scorer = inner, renderer, scorer
        self.prompt = prompt if isinstance(prompt, Prompt) else PromptReader(scorer.task).read(prompt)

    async def make_envs(self) -> Sequence[Env]:
        """The other builder's."""
        return await self.inner.make_envs()

    async def compute_group_rewards(
        self, trajectory_group: list[Trajectory], env_group: Sequence[Env]
    ) -> list[tuple[float, Metrics]]:
        """[G] a reward, and what is logged of it: the reward's parts, and `judged`, 1 or 0."""
        if len(trajectory_group) < 2:  # a strategy that bears failed rollouts may leave one, which has nobody to meet
            return [(0.0, {"judged": 0.0}) for _ in trajectory_group]
        scored = await self.scorer.score_async(self.prompt, [said(self.renderer, t) for t in trajectory_group])
        return list(zip(neutral_rewards(scored), measures(scored), strict=True))

    async def cleanup(self) -> None:
        """The other builder's."""
        await self.inner.cleanup()

    def logging_tags(self) -> list[str]:
        """The other builder's."""
        return self.inner.logging_tags()

    def __reduce__(self) -> Any:
        """A process to which groups are sent makes one scorer for all of them, with a budget of its own."""
        return _arrived, (self.inner, self.prompt, self.renderer, pickle.dumps(self.scorer))


def said(renderer: renderers.Renderer, trajectory: Trajectory) -> list[Message] | None:
    """The policy's turns, without what it thought; None where it sampled nothing, e.g. after a prompt too long."""
    turns = [transition.ac.tokens for transition in trajectory.transitions if transition.ac.tokens]
    texts = [renderers.get_text_content(renderer.parse_response(tokens)[0]) for tokens in turns]
    return [Message(role="assistant", content=text) for text in texts] or None


def _arrived(inner: EnvGroupBuilder, prompt: Prompt, renderer: renderers.Renderer, scorer: bytes) -> TournamentGroup:
    return TournamentGroup(inner, prompt=prompt, renderer=renderer, scorer=_scorer(scorer))


@lru_cache(maxsize=8)
def _scorer(pickled: bytes) -> Any:
    return pickle.loads(pickled)
