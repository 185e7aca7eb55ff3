"""What verdicts say about their judge. Pure: every pair here was judged in both orders.

The judge's log-odds that i beats j, with i read first, are taken as quality + bias + noise; with j read first the
bias changes its sign. So half the difference of the two is about the texts, half their sum about the judge.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from softgrpo.evaluation.win_rate import wilson
from softgrpo.records import Verdict
from softgrpo.tournament.log_odds import log_odds
from softgrpo.tournament.outcomes import HARD, combined, triads, won

RESAMPLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Two texts in both orders."""

    unit: str
    """pairs of one unit (a subject) are drawn together when an interval is made"""
    forward: Verdict
    """the text i first"""
    backward: Verdict
    """the text j first"""
    gold: int = 0
    """1 where i is known to be better, 0 where nobody knows"""
    kind: str = ""
    length_ratio: float = 0.0
    """log2 of the lengths, i's over j's"""

    @property
    def readable(self) -> bool:
        return self.forward.p_first is not None and self.backward.p_first is not None

    @property
    def outcome(self) -> float:
        """Probability that i wins, orders combined as in any tournament."""
        return combined([_p_first(self.forward), 1 - _p_first(self.backward)], hard=self.hard)

    @property
    def odds(self) -> tuple[float, float]:
        """Log-odds for the text read first, i first and j first."""
        return log_odds(_p_first(self.forward)), log_odds(_p_first(self.backward))

    @property
    def hard(self) -> bool:
        return self.forward.how in HARD and self.backward.how in HARD


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number with its 95% interval, and from how many things it comes."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if not self.n or math.isnan(self.value):
            return "none"
        if math.isnan(self.low):
            return f"{self.value:.2f} (of one subject: no interval)"
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def first_share(pairs: Sequence[Seen]) -> Figure:
    """Share of verdicts for the text read first; 0.5 has no position bias."""
    return _figure(pairs, lambda p: [won(_p_first(p.forward)), won(_p_first(p.backward))])


def position_bias(pairs: Sequence[Seen]) -> Figure:
    """Log-odds that the judge gives to the text it reads first; of soft verdicts alone."""
    return _figure([p for p in pairs if not p.hard], lambda p: [sum(p.odds) / 2], share=False)


def noise(pairs: Sequence[Seen]) -> Figure:
    """Standard deviation, in log-odds, of what a verdict has beside quality and bias; of soft verdicts alone.

    The sum over both orders is 2 * bias + the two errors, so its standard deviation is sqrt(2) that of an error.
    """
    soft = [p for p in pairs if p.readable and not p.hard]
    sums = np.array([sum(p.odds) for p in soft])
    return _bootstrap(
        [p.unit for p in soft], lambda rows: float(sums[rows].std() / math.sqrt(2)) if len(rows) > 1 else math.nan
    )


def consistency(pairs: Sequence[Seen]) -> Figure:
    """Share of pairs in which both orders name the same winner; pairs with a tie are not counted."""
    decided = [p for p in pairs if p.readable and 0.5 not in (p.forward.p_first, p.backward.p_first)]
    return _figure(decided, lambda p: [float((p.odds[0] > 0) == (p.odds[1] < 0))])


def ties(pairs: Sequence[Seen]) -> Figure:
    """Share of verdicts that name nobody."""
    return _figure(pairs, lambda p: [float(v.p_first == 0.5) for v in (p.forward, p.backward)])


def agreement(pairs: Sequence[Seen]) -> Figure:
    """Share of gold pairs won by the better text, orders combined; a tie counts half."""
    return _figure([p for p in pairs if p.gold], lambda p: [won(p.outcome)])


def length_preference(pairs: Sequence[Seen]) -> Figure:
    """Log-odds that a judge gives to a text of twice the length, the texts' known quality held equal.

    Soft verdicts: least squares of the combined log-odds on the ratio of lengths (log2) and on which one is known to be
    better. Hard ones: logistic regression on the same, with a small ridge.
    """
    known = [p for p in pairs if p.readable]
    x = np.array([[p.length_ratio, float(p.gold)] for p in known]).reshape(-1, 2)
    hard = any(p.hard for p in known)
    y = np.array([p.outcome if hard else log_odds(p.outcome) for p in known])
    # where no pair has a known winner, that column says nothing
    x = x if x[:, 1].any() else x[:, :1]

    def slope(rows: np.ndarray) -> float:
        if len(rows) < 3 or not x[rows, 0].any():
            return math.nan
        return float((_logistic if hard else _least_squares)(x[rows], y[rows])[0])

    return _bootstrap([p.unit for p in known], slope)


def cyclic_share(groups: Sequence[Sequence[Seen]], members: Sequence[Sequence[tuple[int, int]]]) -> Figure:
    """Share of triads a > b > c > a (Kendall and Babington Smith, 1940), ties aside.

    `members` names each pair's texts.
    """
    every = (
        triads({ij: p.outcome for ij, p in zip(named, group, strict=True) if p.readable})
        for group, named in zip(groups, members, strict=True)
    )
    found = [of for of in every if of.decided]
    cyclic, decided = np.array([of.cyclic for of in found]), np.array([of.decided for of in found])
    figure = _bootstrap(
        [str(number) for number in range(len(found))],
        lambda rows: float(cyclic[rows].sum() / decided[rows].sum()) if len(rows) else math.nan,
    )
    return replace(_share(figure, len(found)), n=int(decided.sum()))


def failures(verdicts: Sequence[Verdict]) -> tuple[float, dict[str, int]]:
    """Share of verdicts that could not be read or never came, and why, most frequent first."""
    failed = [v.failure for v in verdicts if v.p_first is None]
    return (len(failed) / len(verdicts) if verdicts else math.nan), dict(Counter(failed).most_common(5))


def _figure(pairs: Sequence[Seen], values: Callable[[Seen], list[float]], *, share: bool = True) -> Figure:
    known = [p for p in pairs if p.readable]
    each = np.array([np.mean(values(p)) for p in known])
    units = [p.unit for p in known]
    figure = _bootstrap(units, lambda rows: float(each[rows].mean()) if len(rows) else math.nan)
    return _share(figure, len(set(units))) if share else figure


def _share(figure: Figure, n_units: int) -> Figure:
    """Where all units agree on 0 or 1 resampling knows no doubt: Wilson's interval (1927) over units instead."""
    if not n_units or figure.value not in (0.0, 1.0):
        return figure
    low, high = wilson(figure.value, n_units)
    return replace(figure, low=low, high=high)


def _bootstrap(units: Sequence[str], statistic: Callable[[np.ndarray], float]) -> Figure:
    """A statistic of rows, and its percentile interval over units (Efron, 1979)."""
    unit_of_row = np.array(units)
    rows = [np.flatnonzero(unit_of_row == u) for u in sorted(set(units))]
    everything = np.concatenate(rows) if rows else np.empty(0, int)
    value = statistic(everything)
    if len(rows) < 2 or not math.isfinite(value):
        return Figure(value=value, low=math.nan, high=math.nan, n=len(everything))
    rng = np.random.default_rng(0)
    drawn = [
        statistic(np.concatenate([rows[k] for k in rng.integers(0, len(rows), len(rows))])) for _ in range(RESAMPLES)
    ]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Figure(value=value, low=float(low), high=float(high), n=len(everything))


def _p_first(verdict: Verdict) -> float:
    """Probability that the first wins; 1/2 where nothing was said, of which no figure makes use."""
    return 0.5 if verdict.p_first is None else verdict.p_first


def _least_squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.linalg.lstsq(x, y, rcond=None)[0]


def _logistic(x: np.ndarray, y: np.ndarray, ridge: float = 0.01) -> np.ndarray:
    beta = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        gradient = x.T @ (y - p) - ridge * beta
        step = np.linalg.solve(x.T @ (x * (p * (1 - p))[:, None]) + ridge * np.eye(len(beta)), gradient)
        beta = beta + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-8:
            break
    return beta
