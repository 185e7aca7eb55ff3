"""The reward of a slime training: `--group-rm --custom-rm-path slime_reward.reward`, with `examples` on PYTHONPATH."""

from __future__ import annotations

from softgrpo import Scorer


def gives_reasons(prompt: str, first: str, second: str) -> float:
    """The probability that the first is better. Any judge: `judge="gpt-4o"`, `"claude-sonnet-4-5"`, a local model."""
    reasons = [text.count("because") + 1 for text in (first, second)]
    return reasons[0] / sum(reasons)


scorer = Scorer(criteria="The better answer gives reasons.", judge=gives_reasons)
reward = scorer.for_slime()
