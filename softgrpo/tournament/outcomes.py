"""What verdicts say of pairs and triples: who won, which place is favoured, who beats whom in a circle. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from softgrpo.records import Verdict
from softgrpo.tournament.log_odds import log_odds

HARD = frozenset({"text", "json", "votes", "forfeit"})
"""verdicts that name a winner, or count who did, rather than give a probability"""
UNASKED = frozenset({"forfeit", "undelivered"})
"""outcomes and failures of which no judge knows"""
EVEN = 1e-9
"""from 1/2; nearer to it is a tie, within rounding"""


@dataclass(frozen=True, slots=True)
class Triads:
    """How many triples of players there are, among those whose three pairs have a winner."""

    decided: int
    cyclic: int
    """of these, how many go a > b > c > a"""


def won(p: float) -> float:
    """1, 1/2 or 0 for a probability; a tie is a tie within rounding.

    >>> won(0.7), won(0.5 + 1e-12), won(0.0)
    (1.0, 0.5, 0.0)
    """
    return 0.5 if abs(p - 0.5) < EVEN else float(p > 0.5)


def combined(ps: Sequence[float], *, hard: bool) -> float:
    """One probability from those of several verdicts on a pair, all of them for the same text.

    Hard ones average. Soft ones average in log-odds, so that any additive preference for a position cancels exactly
    between the two orders.

    >>> combined([1.0, 0.0], hard=True), round(combined([0.9, 0.6], hard=False), 3)
    (0.5, 0.786)
    """
    if hard:
        return sum(ps) / len(ps)
    return 1 / (1 + math.exp(-sum(log_odds(p) for p in ps) / len(ps)))


def pair_outcomes(verdicts: Sequence[Verdict]) -> dict[tuple[int, int], float]:
    """Probability that i beats j for each judged pair i < j, its orders combined.

    A pair of which a verdict is missing has no outcome: half of it would carry the judge's position bias.

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
        if len(ps) == len(found):
            outcomes[pair] = combined(ps, hard=all(v.how in HARD for v in found))
    return outcomes


def position_bias(verdicts: Sequence[Verdict]) -> float:
    """Mean log-odds that the first text wins, over pairs that were judged in both orders; NaN when there are none."""
    odds = {
        (v.match.first, v.match.second): log_odds(v.p_first)
        for v in verdicts
        if v.p_first is not None and v.how != "forfeit"
    }
    both = [(d + odds[j, i]) / 2 for (i, j), d in odds.items() if i < j and (j, i) in odds]
    return float(np.mean(both)) if both else float("nan")


def triads(outcomes: Mapping[tuple[int, int], float]) -> Triads:
    """The triples of players and the circles among them (Kendall and Babington Smith, 1940), ties aside.

    >>> triads({(0, 1): 1.0, (1, 2): 0.9, (0, 2): 0.2, (2, 3): 0.5})
    Triads(decided=1, cyclic=1)
    """
    place = {player: k for k, player in enumerate(sorted({i for pair in outcomes for i in pair}))}
    beats_GG = np.zeros((len(place), len(place)))
    for (i, j), p in outcomes.items():
        a, b = place[i], place[j]
        beats_GG[a, b], beats_GG[b, a] = won(p) == 1, won(p) == 0
    met_GG = beats_GG + beats_GG.T
    # a closed walk of three wins passes each circle three times, one of three meetings each triple six times
    cyclic, decided = (float(((walks @ walks) * walks.T).sum()) for walks in (beats_GG, met_GG))
    return Triads(decided=round(decided / 6), cyclic=round(cyclic / 3))


def cyclic_triads(verdicts: Sequence[Verdict]) -> int:
    """How many triples of players go a > b > c > a.

    >>> from softgrpo.records import Match
    >>> beats = lambda i, j: Verdict(match=Match(first=i, second=j), p_first=1.0, how="text")
    >>> cyclic_triads([beats(0, 1), beats(1, 2), beats(2, 0)]), cyclic_triads([beats(0, 1), beats(1, 2), beats(0, 2)])
    (1, 0)
    """
    return triads(pair_outcomes(verdicts)).cyclic


def forfeiting(verdicts: Sequence[Verdict]) -> set[int]:
    """Who had nothing to show: the losers of forfeit verdicts, both sides of a forfeit at 1/2."""
    lost = {v.match.first for v in verdicts if v.how == "forfeit" and v.p_first in (0, 0.5)}
    return lost | {v.match.second for v in verdicts if v.how == "forfeit" and v.p_first in (1, 0.5)}


def n_votes(verdict: Verdict) -> float:
    """How many answers a verdict of `w/k` counts; 1 where it counts none."""
    _, slash, count = verdict.reply.partition("/")
    return float(count) if slash and count.isdigit() and int(count) else 1.0
