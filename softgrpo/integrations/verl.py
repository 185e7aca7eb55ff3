"""verl's custom reward function, which is asked about one sample at a time: it sends each to `softgrpo serve`, where
the samples of a prompt meet.

    reward.custom_reward_function.path=pkg://softgrpo.integrations.verl
    reward.custom_reward_function.name=compute_score
    +reward.custom_reward_function.reward_kwargs.url=http://127.0.0.1:8009
    +reward.custom_reward_function.reward_kwargs.size=8
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from softgrpo.errors import UserError
from softgrpo.integrations.serve_client import TOKEN, ask, check_url, seconds, token_of, whole

JUDGING_S = 1800.0
"""seconds beyond a cohort's deadline in which it must be judged, outages of the server and of the judge included"""


async def compute_score(
    data_source: Any,
    solution_str: str,
    ground_truth: Any = None,
    extra_info: Mapping[str, Any] | None = None,
    *,
    url: str,
    size: int | str,
    question: str = "question",
    splits: Sequence[str] | str = ("train",),
    deadline_s: float | str = 600,
    token_env: str = TOKEN,
    **ignored: Any,
) -> dict[str, float]:
    """`score`, always finite; `judged`, 1 where it is a reward and 0 where it is the group's mean; `tournament`, the
    standing alone.

    `size` is verl's `rollout.n`; `question` names the column of `extra_info` that holds the prompt. What is of another
    split than `splits` has no siblings, is not sent, and has 0. Raises `UserError` for what the server refuses, and for
    wrong arguments even where nothing is sent.
    """
    check_url(url)
    n, patience, token = whole("size", size, least=2), seconds("deadline_s", deadline_s), token_of(token_env)
    extra = dict(extra_info or {})
    if "split" in extra and extra["split"] not in ([splits] if isinstance(splits, str) else list(splits)):
        return {"score": 0.0, "judged": 0.0, "tournament": 0.0}
    if extra.get(question) is None:
        there = ", ".join(map(str, extra)) or "nothing"
        raise UserError(f"extra_info has no {question!r} (it has {there}); name the prompt's column with question=...")
    prompt = _plain(extra[question], question)
    body = {
        "cohort": cohort(data_source, prompt, extra.get("index")),
        "size": n,
        "member": uuid.uuid4().hex,
        "prompt": prompt,
        "completion": solution_str,
        "rolling": True,  # a prompt comes again in every epoch
        "deadline_s": patience,
    }
    found = await ask(url, body, token=token, patience=patience + JUDGING_S)
    return {
        "score": float(found["neutral_reward"]),
        "judged": float(found["reward"] is not None),
        "tournament": float(found["reward_parts"].get("answer") or 0.0),
    }


def cohort(data_source: Any, prompt: Any, index: Any) -> str:
    """Where the samples of a prompt meet.

    >>> cohort("d", "Why?", 3) == cohort("d", "Why?", 3) != cohort("d", "Why?", 4)
    True
    """
    what = json.dumps([str(data_source), prompt, None if index is None else str(index)], sort_keys=True)
    return f"verl/{hashlib.sha256(what.encode()).hexdigest()[:32]}"


def _plain(value: Any, name: str) -> Any:
    """A column as JSON; it may be, or hold, arrays."""
    try:
        return json.loads(json.dumps(value, default=lambda array: array.tolist(), allow_nan=False))
    except (AttributeError, TypeError, ValueError, RecursionError):
        raise UserError(
            f"extra_info[{name!r}] is a {type(value).__name__} that is neither text, JSON nor an array of these; name "
            "the prompt's column with question=..."
        ) from None
