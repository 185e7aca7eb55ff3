"""From verdicts to a standing. Pure; `G` players, `M` verdicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from softgrpo.records import Standing, Verdict

HARD = frozenset({"text", "forfeit"})
"""verdicts that name a winner rather than give a probability"""
CLIP = 1e-3


def pair_outcomes(verdicts: Sequence[Verdict]) -> dict[tuple[int, int], float]:
    """Probability that i beats j for each judged pair i < j, its orders combined.

    Two hard verdicts average. Two soft ones combine in log-odds, (d_ij - d_ji) / 2, so that any additive preference
    for a position cancels exactly. A pair of which a verdict is missing has no outcome: half of it would carry the
    judge's position bias.

    >>> from softgrpo.records import Match
    >>> soft = lambda i, j, p: Verdict(match=Match(first=i, second=j), p_first=p, how="log_odds")
    >>> {pair: round(p, 3) for pair, p in pair_outcomes([soft(0, 1, 0.9), soft(1, 0, 0.9)]).items()}
    {(0, 1): 0.5}
    """
    by_pair: dict[tuple[int, int], list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        i, j = sorted((verdict.match.first, verdict.match.second))
        by_pair[i, j].append(verdict)
    outcomes = {}
    for pair, found in by_pair.items():
        ps = [v.p_first if v.match.first == pair[0] else 1 - v.p_first for v in found if v.p_first is not None]
        if len(ps) < len(found):
            continue
        if all(v.how in HARD for v in found):
            outcomes[pair] = float(np.mean(ps))
        else:
            odds = [_log_odds(p) for p in ps]
            outcomes[pair] = float(1 / (1 + np.exp(-np.mean(odds))))
    return outcomes


def win_shares(n_players: int, verdicts: Sequence[Verdict], *, min_share: float = 0.5) -> Standing:
    """The seed's standing: 1.5 * (2 * mean p - 1) over the opponents a player was judged against.

    With hard verdicts this is 1.5 * (wins - losses) / (G - 1). A player judged against less than `min_share` of its
    opponents has no score (NaN).
    """
    p_GG = np.full((n_players, n_players), np.nan)
    for (i, j), p in pair_outcomes(verdicts).items():
        p_GG[i, j], p_GG[j, i] = p, 1 - p
    n_opponents = np.isfinite(p_GG).sum(1)
    enough = (n_opponents > 0) & (n_opponents >= min_share * (n_players - 1))
    scores, stderrs = np.full(n_players, np.nan), np.full(n_players, np.nan)
    for i in np.flatnonzero(enough).tolist():
        p = p_GG[i, np.isfinite(p_GG[i])]
        scores[i] = 1.5 * (2 * p.mean() - 1)
        if len(p) > 1:
            stderrs[i] = 3 * p.std(ddof=1) / np.sqrt(len(p))
    return Standing(
        scores=scores,
        stderrs=stderrs,
        n_opponents=n_opponents,
        position_bias=position_bias(verdicts),
        n_unjudged=sum(v.p_first is None for v in verdicts),
        n_forfeits=len(_forfeiting(verdicts)),
    )


def position_bias(verdicts: Sequence[Verdict]) -> float:
    """Mean log-odds that the first text wins, over pairs that were judged in both orders; NaN when there are none."""
    odds = {
        (v.match.first, v.match.second): _log_odds(v.p_first)
        for v in verdicts
        if v.p_first is not None and v.how != "forfeit"
    }
    both = [(d + odds[j, i]) / 2 for (i, j), d in odds.items() if i < j and (j, i) in odds]
    return float(np.mean(both)) if both else float("nan")


def _forfeiting(verdicts: Sequence[Verdict]) -> set[int]:
    """Who had nothing to show: the losers of forfeit verdicts, both sides of a forfeit at 1/2."""
    lost = {v.match.first for v in verdicts if v.how == "forfeit" and v.p_first in (0, 0.5)}
    return lost | {v.match.second for v in verdicts if v.how == "forfeit" and v.p_first in (1, 0.5)}


def _log_odds(p: float) -> float:
    p = min(max(p, CLIP), 1 - CLIP)
    return float(np.log(p) - np.log1p(-p))
