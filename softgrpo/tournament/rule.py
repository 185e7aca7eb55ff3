"""The rule by which a group's verdicts become a standing. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from softgrpo.records import Standing, Verdict
from softgrpo.tournament import RATINGS
from softgrpo.tournament.bias import Bias
from softgrpo.tournament.outcomes import UNASKED
from softgrpo.tournament.rating import rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rating, and how much of a tournament must have been judged for it to count."""

    rating: str = "win_share"
    min_judged: float = 0.5
    """a group with a smaller share of its matches judged has no scores"""

    def __post_init__(self) -> None:
        RATINGS.check(self.rating)

    def standing(
        self, n_players: int, verdicts: Sequence[Verdict], *, bias: Bias = Bias(), ties: bool = False
    ) -> Standing:
        """The standing of `n_players` after these verdicts; scores are NaN where too little was judged.

        >>> from softgrpo.records import Match
        >>> failed = Verdict(match=Match(first=0, second=1), p_first=None, how="text", failure="timeout")
        >>> Rule().standing(2, [failed]).scores
        array([nan, nan])
        """
        standing = rate(n_players, verdicts, rating=self.rating, bias=bias, ties=ties)
        asked = [v for v in verdicts if v.how not in UNASKED]
        if sum(v.p_first is not None for v in asked) < self.min_judged * len(asked):
            return replace(standing, scores=np.full(n_players, np.nan))
        return standing
