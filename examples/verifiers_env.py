"""Questions and a tournament of their answers, for verifiers: `pip install softgrpo verifiers`, then

PYTHONPATH=examples vf-eval verifiers-env --model gpt-4o-mini --env.n 4 --env.agent.harness.id null \
    --env.agent.runtime.type subprocess --client.base-url https://api.openai.com/v1 --client.api-key-var OPENAI_API_KEY
"""

from __future__ import annotations

from collections.abc import Iterator

import verifiers.v1 as vf

from softgrpo import Scorer
from softgrpo.integrations.verifiers import TournamentEnv

__all__ = ["Questions", "Tournament"]


def gives_reasons(prompt: str, first: str, second: str) -> float:
    """The probability that the first is better. Any judge: `judge="gpt-4o"`, `"claude-sonnet-4-5"`, a local model."""
    reasons = [text.count("because") + 1 for text in (first, second)]
    return reasons[0] / sum(reasons)


class Tournament(TournamentEnv):
    """With a judge by name nothing of this is needed: `--env.scorer.criteria "..." --env.scorer.judge gpt-4o`."""

    def make_scorer(self) -> Scorer:
        return Scorer(criteria="The better answer gives reasons.", judge=gives_reasons)


class Questions(vf.Taskset[vf.Task, vf.TasksetConfig]):
    """The prompts."""

    def load(self) -> Iterator[vf.Task]:
        for question in ("Why is the sky blue?", "Why do leaves fall?"):
            yield vf.Task(vf.TaskData(prompt=question, system_prompt="Answer in one sentence."))
