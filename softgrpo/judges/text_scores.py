"""From a score per text to verdicts: judges that read each text once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from softgrpo.records import Contest, Objective, Prompt, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One text to score, and what it answers."""

    prompt: Prompt
    objective: Objective
    text: str


class TextScorer(Protocol):
    """Gives each text a number; the scale is its own."""

    def score(self, items: Sequence[Item]) -> np.ndarray:
        """[len(items)] higher is better; NaN where no score can be given."""
        ...


class ScoringJudge:
    """p_first = sigmoid((s_first - s_second) / temperature), each text scored once whatever the matches."""

    scores_texts = True

    def __init__(self, name: str, scorer: TextScorer, *, temperature: float = 1.0) -> None:
        self.name = name
        self.scorer = scorer
        self.temperature = temperature

    def facts(self, items: Sequence[Item]) -> dict[str, np.ndarray]:
        """What else the scorer can tell: probabilities [items], `right_side` and `on_topic`; NaN where it cannot."""
        tell = getattr(self.scorer, "facts", None)
        return tell(items) if tell else {}

    def vectors(self, items: Sequence[Item]) -> np.ndarray | None:
        """[items, D] hidden states of a scorer that has any."""
        states = getattr(self.scorer, "vectors", None)
        return states(items) if states else None

    def judge(self, contests: Sequence[Contest]) -> list[tuple[Verdict, ...]]:
        """One verdict per match; a match with a text without a score is a failed judgement."""
        wanted = [sorted({i for m in c.matches for i in (m.first, m.second)}) for c in contests]
        items: dict[tuple[int, int, str], Item] = {}  # a text may be in several contests of one prompt
        for c, indices in zip(contests, wanted, strict=True):
            for text in (c.texts[i] or "" for i in indices):
                items[id(c.prompt), id(c.objective), text] = Item(prompt=c.prompt, objective=c.objective, text=text)
        scores = dict(zip(items, self.scorer.score(list(items.values())) if items else (), strict=True))
        out = []
        for contest, indices in zip(contests, wanted, strict=True):
            asked = (id(contest.prompt), id(contest.objective))
            score = {i: float(scores[*asked, contest.texts[i] or ""]) for i in indices}
            out.append(tuple(self._verdict(m, score[m.first], score[m.second]) for m in contest.matches))
        return out

    def _verdict(self, match, first: float, second: float) -> Verdict:
        if not np.isfinite(first - second):
            return Verdict(match=match, p_first=None, how="scores", failure="a text got no finite score")
        p_first = float(1 / (1 + np.exp(-np.clip((first - second) / self.temperature, -50, 50))))
        return Verdict(match=match, p_first=p_first, how="scores", reply=f"{first:.4f} {second:.4f}")
