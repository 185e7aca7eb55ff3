"""From a judge's reply to a verdict. Pure; reads the judge's own output alone, by the labels of its own call."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from softgrpo.records import LedgerEntry, Match, Usage, Verdict

NO_USAGE = Usage()
MIN_MASS = 1e-4
"""below this share of probability on the labels a judge has not answered the question"""
MIN_MASS_WRITTEN = 0.1
"""below this share the first token opens something else, and what was written after it counts"""
MEANINGS = ("first", "second", "tie")
JSON_FIELD = "better"
_THOUGHTS = re.compile(r"\s*<think>.*</think>", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one reply says."""

    p_first: float | None
    how: str
    """`log_odds` or `text`"""
    text: str = ""
    failure: str = ""
    logprobs: Mapping[str, float] = field(default_factory=dict)
    """of the labels that were weighed, by what they mean"""

    @property
    def mass(self) -> float | None:
        """Probability on the labels; None where nothing was weighed."""
        return math.fsum(math.exp(p) for p in self.logprobs.values()) if self.logprobs else None

    def verdict(self, match: Match, usage: Usage = NO_USAGE) -> Verdict:
        """The same as a verdict on a match."""
        return Verdict(
            match=match,
            p_first=self.p_first,
            how=self.how,
            reply=self.text,
            failure=self.failure,
            usage=usage,
            mass=self.mass,
        )


def from_logprobs(logprobs: Sequence[float]) -> Reading:
    """From the log-probabilities of the labels: of the first text, the second, and perhaps of a tie (half a win).

    >>> from_logprobs([math.log(0.6), math.log(0.2)]).p_first
    0.75
    >>> from_logprobs([math.log(0.3), math.log(0.1), math.log(0.4)]).p_first
    0.625
    """
    if any(math.isnan(p) for p in logprobs):
        return Reading(p_first=None, how="log_odds", failure="the judge's log-probabilities are not numbers")
    said = dict(zip(MEANINGS, map(float, logprobs), strict=False))
    mass = math.fsum(map(math.exp, logprobs))
    text = f"mass {mass:.6f}"
    if mass < MIN_MASS:
        failure = f"the labels hold {mass:.2g} of the probability"
        return Reading(p_first=None, how="log_odds", text=text, failure=failure, logprobs=said)
    return Reading(p_first=_share(logprobs), how="log_odds", text=text, logprobs=said)


def from_reply(text: str, labels: Sequence[str], tokens: Mapping[str, float] | None = None) -> Reading:
    """From what a judge wrote and, where there are any, the log-probabilities of its first `tokens`.

    What was weighed counts if the labels hold enough of it; else what was written, which must be one label and nothing
    else, alone or as JSON, after a model's thoughts.

    >>> from_reply(" K. ", ("K", "T")).p_first, from_reply('{"better": "T"}', ("K", "T")).p_first
    (1.0, 0.0)
    >>> from_reply("K and T are equal", ("K", "T")).failure
    "the reply is not one of K, T: 'K and T are equal'"
    >>> from_reply("K", ("K", "T"), {"K": math.log(0.6), " T": math.log(0.2), "The": math.log(0.1)}).p_first
    0.75
    """
    tokens = {token: min(p, 0.0) for token, p in (tokens or {}).items() if not math.isnan(p)}
    listed = {}
    for label, meaning in zip(labels, MEANINGS, strict=False):
        spelled = [p for token, p in tokens.items() if token.strip() == label]
        if spelled:
            listed[meaning] = _log_sum(spelled)
    if math.fsum(map(math.exp, listed.values())) >= MIN_MASS_WRITTEN:
        # a label that is not listed is less likely than any that is, and than all that is not listed together
        rest = max(1 - math.fsum(map(math.exp, tokens.values())), 1e-9)
        unlisted = min(math.log(rest), *tokens.values())
        p_first = _share([listed.get(meaning, unlisted) for meaning in MEANINGS[: len(labels)]])
        return Reading(p_first=p_first, how="log_odds", text=text, logprobs=listed)
    said = _THOUGHTS.sub("", text, count=1)
    label = _in_json(said) if said.lstrip().startswith("{") else _alone(said)
    if label not in labels:
        failure = f"the reply is not one of {', '.join(labels)}: {text[:80]!r}"
        return Reading(p_first=None, how="text", text=text, failure=failure)
    return Reading(p_first=(1.0, 0.0, 0.5)[labels.index(label)], how="text", text=text)


def from_votes(readings: Sequence[Reading]) -> Reading:
    """The share of sampled replies that name the first text, among those that can be read; a tie is half a vote.

    >>> votes = [from_reply(text, ("K", "T")) for text in ("K", "T", "K", "hm")]
    >>> from_votes(votes).p_first, from_votes(votes).text
    (0.6666666666666666, '2/3')
    """
    found = [r.p_first for r in readings if r.p_first is not None]
    if not found:
        return Reading(p_first=None, how="votes", text="0/0", failure=readings[0].failure)
    return Reading(p_first=sum(found) / len(found), how="votes", text=f"{sum(found):g}/{len(found)}")


def from_entry(entry: LedgerEntry) -> Reading:
    """What was read when the ledger's entry was written."""
    how = "log_odds" if entry.logprobs else "text"
    return Reading(
        p_first=entry.p_first, how=how, text=entry.text, failure=entry.failure, logprobs=entry.logprobs or {}
    )


def json_schema(labels: Sequence[str]) -> dict[str, Any]:
    """Of a reply that is one label.

    >>> json_schema(("K", "T"))["properties"]
    {'better': {'type': 'string', 'enum': ['K', 'T']}}
    """
    return {
        "type": "object",
        "properties": {JSON_FIELD: {"type": "string", "enum": list(labels)}},
        "required": [JSON_FIELD],
        "additionalProperties": False,
    }


def unfinished(text: str) -> bool:
    """A reply that was cut off among its thoughts, or inside its JSON.

    >>> unfinished("<think> Both are"), unfinished('{"better'), unfinished("I think that"), unfinished("")
    (True, True, False, True)
    """
    said = text.lstrip()
    thinking = said.startswith("<think") and "</think>" not in said
    return not said or thinking or said.startswith("{")


def _share(logprobs: Sequence[float]) -> float:
    """First wins, a tie counting half, of all labels; rounded so that swapped labels mirror each other."""
    most = max(logprobs)
    first, second, *tie = (math.exp(p - most) for p in logprobs)
    return round((first + sum(tie) / 2) / (first + second + sum(tie)), 12)


def _log_sum(logprobs: Sequence[float]) -> float:
    return math.log(max(math.fsum(map(math.exp, logprobs)), 1e-300))


def _alone(text: str) -> str:
    found = re.fullmatch(r"[\s\"'`*(\[]*([A-Z])[\s\"'`*.)\]]*", text)
    return found[1] if found else ""


def _in_json(text: str) -> str:
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return ""
    one = len(pairs) == 1 and pairs[0][0] == JSON_FIELD
    return pairs[0][1] if one and isinstance(pairs[0][1], str) else ""
