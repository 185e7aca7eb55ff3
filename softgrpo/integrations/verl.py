"""verl's custom reward function, which is asked about one sample at a time: it sends each to `softgrpo serve`, where
the samples of a prompt meet.

    reward.custom_reward_function.path=pkg://softgrpo.integrations.verl
    reward.custom_reward_function.name=compute_score
    +reward.custom_reward_function.reward_kwargs.url=http://127.0.0.1:8009
    +reward.custom_reward_function.reward_kwargs.size=8
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
import uuid
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from softgrpo.errors import UserError

JUDGING_S = 1800.0  # seconds beyond a cohort's deadline in which it must be judged, restarts of the server included
HELD_S = 60.0  # seconds that one request is held; then the same is sent again
LONGEST_S = 15.0  # between two attempts
AGAIN = (502, 503, 504)  # the server, or what stands before it, is not there for the moment
_sessions: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = weakref.WeakKeyDictionary()


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
    token_env: str = "SOFTGRPO_SERVE_TOKEN",
    **ignored: Any,
) -> dict[str, float]:
    """`score`, always finite; `judged`, 1 where it is a reward and 0 where it is the group's mean; `tournament`, the
    standing alone.

    `size` is verl's `rollout.n`; `question` names the column of `extra_info` that holds the prompt. What is of another
    split than `splits` has no siblings, is not sent, and has 0. Raises `UserError` for what the server refuses.
    """
    extra = dict(extra_info or {})
    if "split" in extra and extra["split"] not in ([splits] if isinstance(splits, str) else list(splits)):
        return {"score": 0.0, "judged": 0.0, "tournament": 0.0}
    if extra.get(question) is None:
        there = ", ".join(map(str, extra)) or "nothing"
        raise UserError(f"extra_info has no {question!r} (it has {there}); name the prompt's column with question=...")
    prompt = json.loads(json.dumps(extra[question], default=lambda value: value.tolist()))  # columns may be arrays
    patience = float(deadline_s)
    body = {
        "cohort": cohort(data_source, prompt, extra.get("index")),
        "size": int(size),
        "member": uuid.uuid4().hex,
        "prompt": prompt,
        "completion": solution_str,
        "rolling": True,  # a prompt comes again in every epoch
        "deadline_s": patience,
        "wait_s": HELD_S,
    }
    token = os.environ.get(token_env)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    found = await _ask(f"{url.rstrip('/')}/v1/cohort", body, headers, patience + JUDGING_S)
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


async def _ask(url: str, body: dict[str, Any], headers: dict[str, str], patience: float) -> dict[str, Any]:
    """The same request until it is answered: the server knows it again."""
    import aiohttp

    until, pause = time.monotonic() + patience, 0.5
    timeout = aiohttp.ClientTimeout(total=HELD_S + 60)
    while True:
        try:
            async with _session().post(url, json=body, headers=headers, timeout=timeout) as response:
                status, found = response.status, await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            status, found = 503, {"detail": f"no answer: {type(error).__name__}"}
        if status == 200:
            return found
        if status not in (202, *AGAIN):
            raise UserError(f"{url} answers {status}: {found.get('detail')}")
        if status != 202:  # then it waits, and has a place
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_S)
        if time.monotonic() > until:
            raise UserError(f"{url} has given no reward within {patience:g} s (the last: {found}); see its log")


def _session() -> Any:
    """One for each event loop, with as many connections as there are samples: those that wait hold back none."""
    import aiohttp

    loop = asyncio.get_running_loop()
    if (session := _sessions.get(loop)) is None or session.closed:
        session = _sessions[loop] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    return session
