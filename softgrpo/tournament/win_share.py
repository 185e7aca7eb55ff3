"""The seed's standing: the share of opponents that a player wins against. Pure; `G` players."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from softgrpo.records import Standing, Verdict
from softgrpo.tournament.noise import score_stderrs
from softgrpo.tournament.outcomes import pair_outcomes, position_bias
from softgrpo.tournament.rating import Rating, counted


class WinShare(Rating):
    """1.5 * (2 * mean p - 1) over the opponents a player was judged against.

    With hard verdicts this is 1.5 * (wins - losses) / (G - 1). A player judged against less than `min_share` of the
    opponents it was matched with has no score (NaN). Standard errors are the judge's noise (`noise.score_stderrs`).
    """

    def standing(self, n_players: int, verdicts: Sequence[Verdict]) -> Standing:
        """The standing as it was judged, whatever is known of the judge."""
        p_GG = np.full((n_players, n_players), np.nan)
        for (i, j), p in pair_outcomes(verdicts).items():
            p_GG[i, j], p_GG[j, i] = p, 1 - p
        n_matched = np.zeros(n_players, int)
        for pair in {tuple(sorted((v.match.first, v.match.second))) for v in verdicts}:
            n_matched[list(pair)] += 1
        n_opponents = np.isfinite(p_GG).sum(1)
        enough = (n_opponents > 0) & (n_opponents >= self.min_share * n_matched)
        mean_p = np.nansum(p_GG, axis=1) / np.maximum(n_opponents, 1)
        return counted(
            verdicts,
            scores=np.where(enough, 1.5 * (2 * mean_p - 1), np.nan),
            stderrs=np.where(enough, score_stderrs(n_players, verdicts, n_opponents), np.nan),
            n_opponents=n_opponents,
            position_bias=position_bias(verdicts),
        )
