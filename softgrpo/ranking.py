"""`rank()`: texts in order, by any judge, outside of any training."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from softgrpo.errors import UserError
from softgrpo.grpo.advantages import estimated_reliability
from softgrpo.judges.callable import Compare
from softgrpo.model_interface import ModelPool
from softgrpo.records import Judge, Prompt, Standing, Usage, Verdict
from softgrpo.scorer import Scorer

MODELS = ModelPool()
"""kept from call to call: a second ranking finds the judge's weights loaded"""
CRITERIA = "The better text answers the task better: more to the point, better founded, better written."


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """What a tournament said of some texts, in the order in which they were given."""

    standing: Standing
    verdicts: tuple[Verdict, ...]
    """every one, failed ones included"""

    @property
    def scores(self) -> np.ndarray:
        """[G] 1.5 * (2 * mean p - 1), p the probability to beat each of the others; NaN where too little is known."""
        return self.standing.scores

    @property
    def stderrs(self) -> np.ndarray:
        """[G] standard error of each score: how far another hearing of the same judge would move it."""
        return self.standing.stderrs

    @property
    def reliability(self) -> float:
        """Share of the scores' variance that is no noise of the judge, as estimated: 1 of a judge that says the same in
        both orders, about 0 (above or below) of one that guesses; NaN where it cannot be told."""
        return estimated_reliability(self.scores, self.stderrs)

    @property
    def position_bias(self) -> float:
        """Log-odds that the judge gives to whatever it reads first; NaN where that cannot be told."""
        return self.standing.position_bias

    @property
    def order(self) -> list[int]:
        """Indices of the texts with a score, best first."""
        known = np.flatnonzero(np.isfinite(self.scores))
        return [int(i) for i in known[np.argsort(-self.scores[known], kind="stable")]]

    @property
    def usage(self) -> Usage:
        """What the verdicts cost; those that a ledger knew cost nothing."""
        parts = [v.usage for v in self.verdicts]
        return Usage(
            input_tokens=sum(u.input_tokens for u in parts),
            output_tokens=sum(u.output_tokens for u in parts),
            requests=sum(u.requests for u in parts),
        )


def rank(
    prompt: str | Prompt,
    completions: Sequence[str],
    judge: str | Judge | Compare = "embedded",
    *,
    criteria: str = CRITERIA,
    judge_calls: int | None = None,
    schedule: str | None = None,
    orders: str = "both",
    rating: str | None = None,
    seed: int = 0,
    ledger: str | Path | None = None,
) -> Ranking:
    """Rank texts that answer one prompt. `judge` is a name, a `Judge`, or a function of (prompt, first, second).

    Without `judge_calls` every pair meets in both orders and the score is the seed's win share. With it, that many
    calls buy a tournament of random regular pairs, and the scores are fitted (Bradley-Terry with an order term).
    `ledger` is a file in which judgements are kept, so that none is paid twice. An empty text forfeits. Raises
    `UserError` for fewer than two texts, an unknown name, or a refused key.

    >>> longer = lambda prompt, first, second: 0.9 if len(first) > len(second) else 0.1
    >>> ranking = rank("Why?", ["Because.", "Because it rains.", "So."], judge=longer)
    >>> ranking.order, [f"{score:.1f}" for score in ranking.scores[[1, 2]]]
    ([1, 0, 2], ['1.2', '-1.2'])
    """
    texts = completions if isinstance(completions, str) else list(completions)
    if wrong := [type(t).__name__ for t in texts if not isinstance(t, str)]:
        raise UserError(f"completions holds a {wrong[0]}; give texts")
    with Scorer(
        criteria=criteria,
        judge=judge,
        judge_calls_per_group=judge_calls,
        schedule=schedule,
        orders=orders,
        rating=rating,
        min_judged=0.0,
        ledger=ledger if isinstance(judge, str) else None,
        models=MODELS,
    ) as scorer:
        asked = prompt if isinstance(prompt, Prompt) else as_prompt(prompt)
        (scored,) = scorer.score_groups([(asked, texts)], seeds=[seed])
    return Ranking(standing=scored.standings["answer"], verdicts=scored.verdicts)


async def rank_async(
    prompt: str | Prompt, completions: Sequence[str], judge: str | Judge | Compare = "embedded", **options: object
) -> Ranking:
    """`rank()` for a running event loop: it works in a thread of its own."""
    return await asyncio.to_thread(rank, prompt, completions, judge, **options)  # type: ignore[arg-type]


def as_prompt(question: str) -> Prompt:
    """A question on its own as a prompt."""
    return Prompt(id="prompt", messages=({"role": "user", "content": question},), subject=question, question=question)
