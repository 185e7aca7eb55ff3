"""A player's answer as it is kept in a file, and read again."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import compress
from statistics import fmean
from typing import Any

from softgrpo.records import Completion


def neg_logprob(completion: Completion) -> float | None:
    """Mean -log p of the tokens that the player chose, in nats; None where it is not known, as of an API model.

    >>> neg_logprob(Completion(text="a b", sampling_logprobs=(-1.0, -2.0, -9.0), loss_mask=(True, True, False)))
    1.5
    """
    chosen = list(compress(completion.sampling_logprobs, completion.loss_mask))
    return -fmean(chosen) if chosen else None


def as_kept(completion: Completion) -> dict[str, Any]:
    """What is kept of an answer: its text, why it ended and, where it is known, how likely it was."""
    mean = neg_logprob(completion)
    kept = {"finish_reason": completion.finish_reason} | ({} if mean is None else {"neg_logprob": mean})
    return {"text": completion.text, **kept}


def from_kept(kept: Mapping[str, Any]) -> Completion:
    """The answer again; of its log-probabilities the mean alone, as that of one token.

    >>> from_kept({"text": "a b", "finish_reason": "stop", "neg_logprob": 1.5}).sampling_logprobs
    (-1.5,)
    """
    mean = kept.get("neg_logprob")
    known = {} if mean is None else {"sampling_logprobs": (-mean,), "loss_mask": (True,)}
    return Completion(text=kept["text"], finish_reason=kept["finish_reason"], **known)
