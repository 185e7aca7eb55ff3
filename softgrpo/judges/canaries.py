"""Questions to which the answer is known, mixed among a judge's matches: is it still a judge? Pure.

Three kinds: a text against an empty one, a text against itself, a pair of which everybody knows the better text. They
are part of no reward.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from softgrpo.records import Contest, Verdict
from softgrpo.tournament.log_odds import log_odds
from softgrpo.tournament.outcomes import HARD, n_votes, pair_outcomes

KINDS = ("empty", "identical", "gold")
ENOUGH = 6
"""canaries of a kind before anything is said of them"""
ALARMING = 0.25
"""share of them that may go wrong"""
FAR = 0.25
"""from 1/2 may the outcome of two identical texts be, their orders combined"""
CHANCE = 3.0
"""standard errors of sampled votes that prove nothing"""
PLACE = math.log(19)
"""log-odds for a place, between two identical texts, from which the judge no longer reads: 95%"""
SURE = 1e-9
"""from 0 and 1 are probabilities kept here: certainty beyond the clip of ratings is to be seen"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A question with a known answer. Text 0 is the better one, or both are the same."""

    kind: str
    contest: Contest


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How a kind of canary has fared over the run."""

    n: int = 0
    n_wrong: int = 0
    n_failed: int = 0
    """without a readable verdict: neither right nor wrong"""

    @property
    def alarm(self) -> bool:
        return self.n >= ENOUGH and self.n_wrong > ALARMING * self.n


def draw_canaries(
    contests: Sequence[Contest], gold: Sequence[Contest], *, rate: float, n_matches: int, seed: int
) -> list[Canary]:
    """About `rate` of the matches as canaries, each of two matches, from the texts at hand and the gold pairs.

    The number is a fraction's whole part and, by chance, one more: on average the rate is kept.
    """
    rng = random.Random(seed)
    shown = [(c, i) for c in contests for i, text in enumerate(c.texts) if text is not None]
    wanted = rate * n_matches / 2
    kinds = [k for k in KINDS if (gold if k == "gold" else shown)]
    if not kinds:
        return []
    n = int(wanted) + (rng.random() < wanted % 1)
    return [_one(rng.choice(kinds), shown, gold, rng) for _ in range(n)]


def tally(
    tallies: Mapping[str, Tally], canaries: Sequence[Canary], verdicts: Sequence[Sequence[Verdict]]
) -> dict[str, Tally]:
    """The tallies after these verdicts."""
    after = dict(tallies)
    for canary, found in zip(canaries, verdicts, strict=True):
        before = after.get(canary.kind, Tally())
        if any(v.p_first is None for v in found) or not found:
            after[canary.kind] = replace(before, n_failed=before.n_failed + 1)
        else:
            after[canary.kind] = replace(before, n=before.n + 1, n_wrong=before.n_wrong + is_wrong(canary, found))
    return after


def is_wrong(canary: Canary, verdicts: Sequence[Verdict]) -> bool:
    """The better text did not win; or one of two identical ones did, whatever its place.

    Of identical texts a judge may favour a place: in both orders that cancels, and one that can only name a winner must
    name one of them. What does not cancel is wrong, such as two answers that name different places. Sampled votes may
    be divided as chance divides them, since a sound judge has no opinion here. One that gives probabilities can say so,
    and is wrong, too, where it is all but sure of a place: it has stopped reading, and what it gives beyond the clip of
    probabilities no longer cancels.

    >>> from softgrpo.records import Match, Objective, Prompt
    >>> prompt = Prompt(id="p", messages=(), subject="s", question="q")
    >>> asked = Objective(name="a", criteria="")
    >>> pair = lambda *texts: Contest(prompt=prompt, objective=asked, texts=texts, matches=())
    >>> lost = [Verdict(match=Match(first=0, second=1), p_first=0.1, how="log_odds")]
    >>> is_wrong(Canary(kind="empty", contest=pair("text", "")), lost)
    True
    """
    outcome = pair_outcomes(verdicts).get((0, 1), 0.5)
    if canary.kind != "identical":
        return not outcome > 0.5
    soft = [v.p_first for v in verdicts if v.how not in HARD and v.p_first is not None]
    return abs(outcome - 0.5) > max(FAR, _by_chance(verdicts)) or any(abs(log_odds(p, clip=SURE)) > PLACE for p in soft)


def _by_chance(verdicts: Sequence[Verdict]) -> float:
    """How far the outcome of two texts may be from 1/2 where votes for them are drawn like the throws of a coin.

    The outcome of k votes in each order has the standard error 1 / sqrt(8 k): of few votes it can be anything.
    """
    votes = [n_votes(v) for v in verdicts if v.how == "votes"]
    return CHANCE / math.sqrt(8 * min(votes)) if votes else 0.0


def alarms(tallies: Mapping[str, Tally]) -> list[str]:
    """What must be said, in words."""
    words = {
        "empty": "prefers an empty text to an answer",
        "identical": "finds a winner between a text and itself",
        "gold": "is wrong on pairs of which everybody knows the better text",
    }
    return [
        f"the judge {words[kind]}: {tally.n_wrong} of {tally.n} canaries"
        for kind, tally in sorted(tallies.items())
        if tally.alarm
    ]


def _one(kind: str, shown: Sequence[tuple[Contest, int]], gold: Sequence[Contest], rng: random.Random) -> Canary:
    if kind == "gold":
        return Canary(kind=kind, contest=replace(rng.choice(gold), matches=()))
    contest, i = rng.choice(shown)
    text = contest.texts[i]
    return Canary(kind=kind, contest=replace(contest, texts=(text, "" if kind == "empty" else text), matches=()))
