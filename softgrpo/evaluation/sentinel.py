"""A judge that rewards nothing and looks at every evaluation. What it sees, no policy is trained to please."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from softgrpo.evaluation import head_to_head
from softgrpo.evaluation.answers import neg_logprob
from softgrpo.evaluation.drift import Answer
from softgrpo.evaluation.head_to_head import Evaluation
from softgrpo.evaluator import Comparison, Evaluator
from softgrpo.judges.text_scores import Item
from softgrpo.records import Completion, Prompt
from softgrpo.rewards.format import judged_text
from softgrpo.tasks import Question, Task

Answers = Sequence[Sequence[Completion]]
"""[P] of each prompt a player's answers to it"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentinel:
    """Who watches, and how much of an evaluation."""

    evaluator: Evaluator
    """under another judge, which is told no criteria"""
    pairs: int | None
    """so many of each evaluation at most; None: all"""

    @property
    def name(self) -> str:
        """The judge's name."""
        return self.evaluator.judge.name

    @classmethod
    def of(cls, evaluator: Evaluator | None, pairs: int | None) -> Sentinel | None:
        """None where there is nobody to watch."""
        return None if evaluator is None else cls(evaluator=evaluator, pairs=pairs)

    def evaluate(
        self, task: Task, questions: Sequence[Question], ours: Answers, theirs: Answers, *, judged: Evaluation
    ) -> tuple[Evaluation, list[Comparison]]:
        """The win rate by the sentinel, of the texts that have been judged."""
        return head_to_head.evaluate(
            task,
            questions,
            ours,
            theirs,
            evaluator=self.evaluator,
            step=judged.step,
            opponent=judged.opponent,
            model=judged.model,
            watches=judged.judge,
            pairs=self.pairs,
        )


def answers(
    prompts: Sequence[Prompt],
    ours: Answers,
    evaluator: Evaluator,
    *,
    sentinel: Sentinel | None = None,
    seen: Sequence[Comparison] = (),
) -> list[Answer]:
    """The policy's answers as `drift` measures them: `evaluator` says what is judged of each; a sentinel that can says
    more of those that it has `seen`."""
    rows = [(prompt, c) for prompt, row in zip(prompts, ours, strict=True) for c in row]
    texts = [judged_text(c.text, evaluator.task.format, evaluator.main.section) or "" for _, c in rows]
    looked_at = {id(met.ours) for met in seen}
    told = [i for i, (_, c) in enumerate(rows) if texts[i] and id(c) in looked_at]
    facts = _facts(sentinel, [rows[i][0] for i in told], [texts[i] for i in told])
    by_name = {name: dict(zip(told, values, strict=True)) for name, values in facts.items()}
    return [
        Answer(
            prompt_id=prompt.id,
            subject=prompt.subject,
            asked=prompt.subject,
            text=text,
            neg_logprob=neg_logprob(c),
            right_side=by_name.get("right_side", {}).get(i),
            on_topic=by_name.get("on_topic", {}).get(i),
        )
        for i, ((prompt, c), text) in enumerate(zip(rows, texts, strict=True))
    ]


def _facts(sentinel: Sentinel | None, prompts: Sequence[Prompt], texts: Sequence[str]) -> dict[str, list[float | None]]:
    """Probabilities by name, None where the sentinel cannot tell; nothing of one that only says who wins."""
    tell = getattr(sentinel.evaluator.judge, "facts", None) if sentinel else None
    if sentinel is None or tell is None or not texts:
        return {}
    objective = sentinel.evaluator.main
    items = [Item(prompt=p, objective=objective, text=text) for p, text in zip(prompts, texts, strict=True)]
    return {name: [float(p) if math.isfinite(p) else None for p in values] for name, values in tell(items).items()}
