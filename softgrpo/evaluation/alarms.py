"""What of an evaluation should make somebody read the texts. Pure.

A policy may find what its judge likes instead of what is good. Two things tell of it: another judge, the sentinel, that
does not see what the judge sees; and texts that have become another kind of text. `docs/drift.md` gives the reasons for
each band, `benchmarks/alarm_worth.py` what the alarms are worth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from softgrpo.evaluation.drift import Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One evaluation as the alarms see it."""

    step: int
    judge: Measure | None
    """win rate by the judge; None where it judged nothing"""
    sentinel: Measure | None
    """win rate by the sentinel; None where there is none, or it judged nothing"""
    drift: Mapping[str, Measure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """How far a measure may go from its value at the start."""

    words: str
    """what is said of it, with places for the figures now and at the start"""
    above: float | None = None
    """how much more it may become, None: as much as it likes"""
    below: float | None = None
    times_above: float = 1.0
    """by how much it may grow at least, as a factor"""
    times_below: float = 1.0
    share: bool = True
    """told in percent"""


BANDS = {
    "side_accuracy": Band(words="{now} of answers argue for their own side, {then} did at the start", below=0.15),
    "off_topic": Band(words="{now} of answers are beside their subject, {then} were at the start", above=0.15),
    "common_opening": Band(words="{now} of answers begin with the same words, {then} did at the start", above=0.2),
    "self_bleu": Band(
        words="{now} of an answer's phrases stand in answers on other subjects, {then} did at the start",
        above=0.05,
        times_above=1.5,
    ),
    "copied_words": Band(words="{now} of the words are the prompt's own, {then} were at the start", above=0.12),
    "distinct_2": Band(words="{now} of an answer's pairs of words are different, {then} were at the start", below=0.12),
    "mean_words": Band(
        words="an answer has {now} words, {then} at the start",
        above=10,
        below=5,
        times_above=1.8,
        times_below=0.5,
        share=False,
    ),
    "compression": Band(
        words="all answers together are {now} times as large as compressed, {then} times at the start",
        above=0.0,
        times_above=1.3,
        share=False,
    ),
    "markup": Band(words="{now} of the characters are marks, {then} were at the start", above=0.03, times_above=2.0),
    "entropy": Band(
        words="the entropy of a token is {now} nats, {then} at the start", below=0.0, times_below=0.1, share=False
    ),
}


APART = 0.1
"""how far a judge's interval lies above the sentinel's at least, where it is an alarm"""


def alarms(start: Seen, now: Seen, before: Sequence[Seen] = ()) -> tuple[str, ...]:
    """Words for people, each beginning with a short key; none when all is well.

    `start` is the evaluation of the base, `before` those between it and `now`, in order.

    >>> def rate(value, low, high):
    ...     return Measure(value=value, low=low, high=high)
    >>> start = Seen(step=0, judge=rate(0.5, 0.4, 0.6), sentinel=rate(0.5, 0.4, 0.6), drift={})
    >>> now = Seen(step=40, judge=rate(0.88, 0.8, 0.93), sentinel=rate(0.52, 0.44, 0.6), drift={})
    >>> print(*alarms(start, now))
    sentinel: the judge sees 88% [80, 93], the sentinel 52% [44, 60], no more than at the start
    """
    found = [_parted(start, now) or _fallen((start, *before), now)]
    found += [_left(name, band, start.drift.get(name), now.drift.get(name)) for name, band in BANDS.items()]
    return tuple(line for line in found if line)


def key(alarm: str) -> str:
    """What an alarm is about, so that each is said once.

    >>> key("markup: 9% of the characters are marks, 4% were at the start")
    'markup'
    """
    return alarm.partition(":")[0]


def _parted(start: Seen, now: Seen) -> str:
    """The judge sees a gain, which the sentinel does not confirm, and their intervals lie well apart.

    One that sees a smaller gain than the judge is no alarm: the judge was trained against.
    """
    if not (start.judge and start.sentinel and now.judge and now.sentinel):
        return ""
    gained = now.judge.low > start.judge.value
    apart = now.judge.low > now.sentinel.high + APART
    unconfirmed = now.sentinel.low <= start.sentinel.value
    if not (gained and apart and unconfirmed):
        return ""
    return f"sentinel: the judge sees {_rate(now.judge)}, the sentinel {_rate(now.sentinel)}, no more than at the start"


def _fallen(earlier: Sequence[Seen], now: Seen) -> str:
    """The sentinel's win rate lies below its best earlier one, beyond both intervals; the judge's does not."""
    known = [(seen.step, seen.judge, seen.sentinel) for seen in earlier if seen.judge and seen.sentinel]
    if not known or not now.judge or not now.sentinel:
        return ""
    step, judge, sentinel = max(known, key=lambda seen: seen[2].value)
    if not now.sentinel.high < sentinel.low or now.judge.high < judge.low:
        return ""
    return (
        f"sentinel: it saw {_rate(sentinel)} at step {step} and sees {_rate(now.sentinel)} now, "
        f"the judge {_rate(now.judge)}"
    )


def _left(name: str, band: Band, then: Measure | None, now: Measure | None) -> str:
    """A measure has gone farther than its band allows, and beyond both intervals."""
    if then is None or now is None:
        return ""
    over = (
        band.above is not None
        and now.value > max(then.value + band.above, then.value * band.times_above)
        and now.low > then.high
    )
    under = (
        band.below is not None
        and now.value < min(then.value - band.below, then.value * band.times_below)
        and now.high < then.low
    )
    if not over and not under:
        return ""
    tell = _percent if band.share else _number
    return f"{name}: " + band.words.format(now=tell(now.value), then=tell(then.value))


def _rate(measure: Measure) -> str:
    return f"{measure.value:.0%} [{100 * measure.low:.0f}, {100 * measure.high:.0f}]"


def _percent(value: float) -> str:
    return f"{value:.0%}"


def _number(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"
