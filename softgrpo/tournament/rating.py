"""From verdicts to a standing: what every rating is, and a standing by a rating's name. Pure; `G` players."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from softgrpo.records import Standing, Verdict
from softgrpo.tournament import RATINGS
from softgrpo.tournament.bias import Bias
from softgrpo.tournament.outcomes import cyclic_triads, forfeiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating(ABC):
    """A way to read verdicts; each takes into account what it has a use for."""

    bias: Bias = Bias()
    """what is known of the judge's preference for a place"""
    ties: bool = False
    """the judge may call a match a tie"""
    min_share: float = 0.5
    """of the opponents a player was matched with: judged against fewer, it has no score"""

    @abstractmethod
    def standing(self, n_players: int, verdicts: Sequence[Verdict]) -> Standing:
        """The standing of players 0 to `n_players` - 1, in units of the seed's reward, which lies in [-1.5, 1.5]."""


def rate(
    n_players: int,
    verdicts: Sequence[Verdict],
    *,
    rating: str = "win_share",
    bias: Bias = Bias(),
    min_share: float = 0.5,
    ties: bool = False,
) -> Standing:
    """The standing by name of the rating: `bias` and `ties` are for the fitted one, `min_share` for win shares.

    Raises `ValueError` for an unknown rating.

    >>> from softgrpo.records import Match
    >>> rate(2, [Verdict(match=Match(first=0, second=1), p_first=1.0, how="text")]).scores
    array([ 1.5, -1.5])
    """
    return RATINGS[rating](bias=bias, min_share=min_share, ties=ties).standing(n_players, verdicts)


def counted(
    verdicts: Sequence[Verdict],
    *,
    scores: np.ndarray,
    stderrs: np.ndarray,
    n_opponents: np.ndarray,
    position_bias: float,
) -> Standing:
    """A standing from its parts, [G] each, and from what is to be counted of the verdicts whatever the rating."""
    return Standing(
        scores=scores,
        stderrs=stderrs,
        n_opponents=n_opponents,
        position_bias=float(position_bias),
        n_unjudged=sum(v.p_first is None for v in verdicts),
        n_forfeits=len(forfeiting(verdicts)),
        n_cyclic_triads=cyclic_triads(verdicts),
    )
