"""Who stands where no judge does."""

from __future__ import annotations

from collections.abc import Sequence

from softgrpo.records import Contest, Verdict


class Nobody:
    """Stands where verdicts are recorded ones: there is nobody to ask."""

    name = "nobody"
    scores_texts = False

    def judge(self, contests: Sequence[Contest]) -> list[tuple[Verdict, ...]]:
        """Raises `ValueError`: an evaluator without a judge was asked for verdicts."""
        raise ValueError("this evaluator has no judge; give score_groups the recorded verdicts, or make it with one")
