"""The fitted rating: what each player would win against all the others, without the judge's bias. Pure; `G` players."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from softgrpo.records import Standing, Verdict
from softgrpo.tournament.bias import fitted
from softgrpo.tournament.fit import games, win_probabilities, win_slopes
from softgrpo.tournament.outcomes import UNASKED, forfeiting
from softgrpo.tournament.pairs import joined
from softgrpo.tournament.rating import Rating, counted


class BradleyTerry(Rating):
    """The score of win shares from fitted probabilities against all other players (`fit` has the model).

    Forfeits are exact and are not fitted. Players that no chain of judged matches joins to the largest number of the
    others cannot be compared with them and have no score (NaN). Standard errors by the delta method from the inverse
    Hessian.
    """

    def standing(self, n_players: int, verdicts: Sequence[Verdict]) -> Standing:
        """The standing as the fit has it, which starts from the `bias` that is known."""
        played = games(verdicts)
        found = fitted(n_players, played, self.bias, ties=self.ties)
        together = _largest_component(n_players, verdicts)
        inside = np.ix_(together, together)
        p_GG, slope_GG = np.full((n_players, n_players), np.nan), np.zeros((n_players, n_players))
        p_GG[inside] = win_probabilities(found.strengths, found.log_tie)[inside]
        slope_GG[inside] = win_slopes(found.strengths, found.log_tie)[inside]
        for v in verdicts:
            if v.how == "forfeit" and v.p_first is not None:
                i, j = v.match.first, v.match.second
                p_GG[i, j], p_GG[j, i] = v.p_first, 1 - v.p_first
        np.fill_diagonal(p_GG, np.nan)
        np.fill_diagonal(slope_GG, 0)
        n_opponents = np.isfinite(p_GG).sum(1)
        scored = n_opponents > 0
        scored[_apart(verdicts, together)] = False
        mean_p = np.nansum(p_GG, axis=1) / np.maximum(n_opponents, 1)
        slope_GG *= 3 / np.maximum(n_opponents, 1)[:, None]
        jacobian = np.diag(slope_GG.sum(1)) - slope_GG  # [G, G] of the scores in the strengths
        variances = ((jacobian @ found.covariance[:-1, :-1]) * jacobian).sum(1)
        return counted(
            verdicts,
            scores=np.where(scored, 1.5 * (2 * mean_p - 1), np.nan),
            stderrs=np.where(scored, np.sqrt(np.maximum(variances, 0)), np.nan),
            n_opponents=n_opponents,
            position_bias=found.bias if len(played.first) else np.nan,
        )


def _apart(verdicts: Sequence[Verdict], together: Sequence[int]) -> list[int]:
    """Players with something to show that judged matches do not join to the others; one alone needs no judge."""
    asked = {i for v in verdicts if v.how not in UNASKED for i in (v.match.first, v.match.second)}
    outcomes = {i for v in verdicts if v.p_first is not None for i in (v.match.first, v.match.second)}
    shown = asked | (outcomes - forfeiting(verdicts))
    return [] if len(shown) < 2 else sorted(shown - set(together))


def _largest_component(n_players: int, verdicts: Sequence[Verdict]) -> list[int]:
    """The most players that judged matches join with each other; none where no match was judged."""
    judged = [(v.match.first, v.match.second) for v in verdicts if v.p_first is not None and v.how != "forfeit"]
    members: dict[int, list[int]] = defaultdict(list)
    for i, label in enumerate(joined(n_players, judged)):
        members[label].append(i)
    largest = max(members.values(), key=len, default=[])
    return largest if len(largest) > 1 else []
