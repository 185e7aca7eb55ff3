"""From verdicts to a standing. Pure; `G` players, `M` verdicts."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from softgrpo.records import Standing, Verdict
from softgrpo.tournament.bias import Bias, fitted, learned
from softgrpo.tournament.bradley_terry import CLIP, games, win_probabilities, win_slopes
from softgrpo.tournament.noise import HARD, score_stderrs

__all__ = [
    "CLIP",
    "HARD",
    "RATINGS",
    "Bias",
    "bradley_terry",
    "cyclic_triads",
    "learned",
    "pair_outcomes",
    "position_bias",
    "rate",
    "win_shares",
]

RATINGS = ("win_share", "bradley_terry")
UNASKED = frozenset({"forfeit", "undelivered"})
"""outcomes and failures of which no judge knows"""


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
    """
    if rating == "win_share":
        return win_shares(n_players, verdicts, min_share=min_share)
    if rating == "bradley_terry":
        return bradley_terry(n_players, verdicts, bias=bias, ties=ties)
    raise ValueError(f"unknown rating {rating!r}; choose from {', '.join(RATINGS)}")


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
        i, j = verdict.match.first, verdict.match.second
        by_pair[(i, j) if i < j else (j, i)].append(verdict)
    outcomes = {}
    for pair, found in by_pair.items():
        ps = [v.p_first if v.match.first == pair[0] else 1 - v.p_first for v in found if v.p_first is not None]
        if len(ps) < len(found):
            continue
        if all(v.how in HARD for v in found):
            outcomes[pair] = sum(ps) / len(ps)
        else:
            outcomes[pair] = 1 / (1 + math.exp(-sum(_log_odds(p) for p in ps) / len(ps)))
    return outcomes


def win_shares(n_players: int, verdicts: Sequence[Verdict], *, min_share: float = 0.5) -> Standing:
    """The seed's standing: 1.5 * (2 * mean p - 1) over the opponents a player was judged against.

    With hard verdicts this is 1.5 * (wins - losses) / (G - 1). A player judged against less than `min_share` of the
    opponents it was matched with has no score (NaN). Standard errors are the judge's noise (`noise.score_stderrs`).
    """
    outcomes = pair_outcomes(verdicts)
    p_GG = np.full((n_players, n_players), np.nan)
    for (i, j), p in outcomes.items():
        p_GG[i, j], p_GG[j, i] = p, 1 - p
    n_matched = np.zeros(n_players, int)
    for pair in {tuple(sorted((v.match.first, v.match.second))) for v in verdicts}:
        n_matched[list(pair)] += 1
    n_opponents = np.isfinite(p_GG).sum(1)
    enough = (n_opponents > 0) & (n_opponents >= min_share * n_matched)
    mean_p = np.nansum(p_GG, axis=1) / np.maximum(n_opponents, 1)
    scores = np.where(enough, 1.5 * (2 * mean_p - 1), np.nan)
    stderrs = np.where(enough, score_stderrs(n_players, verdicts, n_opponents), np.nan)
    return _standing(scores, stderrs, n_opponents, position_bias(verdicts), verdicts)


def bradley_terry(n_players: int, verdicts: Sequence[Verdict], *, bias: Bias = Bias(), ties: bool = False) -> Standing:
    """The same score from fitted probabilities against all other players, with the judge's bias taken out.

    Forfeits are exact and are not fitted. Players that no chain of judged matches joins to the largest number of the
    others cannot be compared with them and have no score (NaN). Standard errors by the delta method from the inverse
    Hessian.
    """
    played = games(verdicts)
    found = fitted(n_players, played, bias, ties=ties)
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
    return _standing(
        np.where(scored, 1.5 * (2 * mean_p - 1), np.nan),
        np.where(scored, np.sqrt(np.maximum(variances, 0)), np.nan),
        n_opponents,
        found.bias if len(played.first) else np.nan,
        verdicts,
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
    return math.log(p) - math.log1p(-p)


def cyclic_triads(verdicts: Sequence[Verdict]) -> int:
    """How many triples of players go a > b > c > a, among those whose three pairs have a winner (Kendall and Babington
    Smith, 1940).

    >>> from softgrpo.records import Match
    >>> beats = lambda i, j: Verdict(match=Match(first=i, second=j), p_first=1.0, how="text")
    >>> cyclic_triads([beats(0, 1), beats(1, 2), beats(2, 0)]), cyclic_triads([beats(0, 1), beats(1, 2), beats(0, 2)])
    (1, 0)
    """
    wins = {pair: p > 0.5 for pair, p in pair_outcomes(verdicts).items() if abs(p - 0.5) > 1e-9}
    players = sorted({i for pair in wins for i in pair})
    if not players:
        return 0
    beats = np.zeros((len(players),) * 2, bool)
    place = {player: k for k, player in enumerate(players)}
    for (i, j), first in wins.items():
        a, b = place[i], place[j]
        beats[a, b], beats[b, a] = first, not first
    # a closed walk of three wins passes each circle three times
    won = beats.astype(float)
    return round(float(((won @ won) * won.T).sum()) / 3)


def _standing(
    scores: np.ndarray, stderrs: np.ndarray, n_opponents: np.ndarray, bias: float, verdicts: Sequence[Verdict]
) -> Standing:
    return Standing(
        scores=scores,
        stderrs=stderrs,
        n_opponents=n_opponents,
        position_bias=float(bias),
        n_unjudged=sum(v.p_first is None for v in verdicts),
        n_forfeits=len(_forfeiting(verdicts)),
        n_cyclic_triads=cyclic_triads(verdicts),
    )


def _apart(verdicts: Sequence[Verdict], together: Sequence[int]) -> list[int]:
    """Players with something to show that judged matches do not join to the others; one alone needs no judge."""
    asked = {i for v in verdicts if v.how not in UNASKED for i in (v.match.first, v.match.second)}
    outcomes = {i for v in verdicts if v.p_first is not None for i in (v.match.first, v.match.second)}
    shown = asked | (outcomes - _forfeiting(verdicts))
    return [] if len(shown) < 2 else sorted(shown - set(together))


def _largest_component(n_players: int, verdicts: Sequence[Verdict]) -> list[int]:
    """The most players that judged matches join with each other; none where no match was judged."""
    label = list(range(n_players))

    def root(i: int) -> int:
        while label[i] != i:
            label[i] = label[label[i]]
            i = label[i]
        return i

    for v in verdicts:
        if v.p_first is not None and v.how != "forfeit":
            label[root(v.match.first)] = root(v.match.second)
    members: dict[int, list[int]] = defaultdict(list)
    for i in range(n_players):
        members[root(i)].append(i)
    largest = max(members.values(), key=len, default=[])
    return largest if len(largest) > 1 else []
