"""From a judge's reply to a verdict. Pure; reads the judge's own output alone."""

from __future__ import annotations

import math
import re

from softgrpo.records import Match, Usage, Verdict

LABELS = ("A", "B")
FREE = Usage()
MIN_MASS = 1e-4
"""below this share of probability on the two labels a judge has not answered the question"""


def from_logprobs(match: Match, first: float, second: float) -> Verdict:
    """A verdict from the log-probabilities of the two labels.

    >>> from_logprobs(Match(first=0, second=1), math.log(0.6), math.log(0.2)).p_first
    0.75
    """
    mass = math.exp(first) + math.exp(second) if math.isfinite(first + second) else float("nan")
    reply = f"mass {mass:.6f}"
    if not mass >= MIN_MASS:
        failure = f"the labels hold {mass:.2g} of the probability"
        return Verdict(match=match, p_first=None, how="log_odds", reply=reply, failure=failure)
    p_first = round(1 / (1 + math.exp(min(second - first, 700.0))), 12)
    return Verdict(match=match, p_first=p_first, how="log_odds", reply=reply)


def from_text(match: Match, reply: str, *, usage: Usage = FREE) -> Verdict:
    """A verdict from a written reply that must be one label and nothing else.

    >>> from_text(Match(first=0, second=1), " A. ").p_first
    1.0
    >>> from_text(Match(first=0, second=1), "A and B are equal").failure
    "the reply is not one of A, B: 'A and B are equal'"
    """
    found = re.fullmatch(r"[\s\"'`*(\[]*([AB])[\s\"'`*.)\]]*", reply)
    if found is None:
        failure = f"the reply is not one of {', '.join(LABELS)}: {reply[:80]!r}"
        return Verdict(match=match, p_first=None, how="text", reply=reply, failure=failure, usage=usage)
    return Verdict(match=match, p_first=float(found[1] == "A"), how="text", reply=reply, usage=usage)
