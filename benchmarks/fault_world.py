"""A world for judging under fire: texts of known quality, a server with scripted faults, a client that is watched."""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from softgrpo.judges.chat.judge import ChatJudge
from softgrpo.models.api.calls import Call, Reply
from softgrpo.models.api.openai import OpenAIModel
from softgrpo.models.names import parse
from softgrpo.records import Contest, Objective, Prompt, Verdict
from softgrpo.spending.ledger import SqliteLedger
from softgrpo.tournament.rule import Rule
from softgrpo.tournament.schedule import round_robin
from tests.fakes.api_server import DROP, OTHER, TRUNCATE, Fault, Seen, hang, status
from tests.fakes.chat_models import ONE, read
from tests.fakes.openai_server import FakeOpenAI

PLAYERS = 5  # texts of a group: 20 judgements
FAULTY = 0.3
TIMEOUT, HANG = 1.5, 2.0  # seconds
PATIENT = 60.0  # seconds, where no time-out is meant
CONCURRENCY = 16
KINDS: tuple[Callable[[random.Random], Fault], ...] = (
    lambda rng: status(429, retry_after_ms=str(rng.randint(20, 120))),
    lambda rng: status(500),
    lambda rng: status(529, retry_after_ms=str(rng.randint(20, 120))),
    lambda rng: hang(HANG),
    lambda rng: TRUNCATE,
    lambda rng: OTHER,
    lambda rng: DROP,
)
OBJECTIVE = Objective(name="answer", criteria="Which text is better?")


def groups(n: int) -> list[Contest]:
    """Round robins in both orders of texts that nobody has judged."""
    matches = round_robin(range(PLAYERS))
    return [
        Contest(
            prompt=Prompt(id=str(g), messages=(), subject=str(g), question=f"Question {g}"),
            objective=OBJECTIVE,
            texts=tuple(f"Answer {i} to question {g}." for i in range(PLAYERS)),
            matches=matches,
        )
        for g in range(n)
    ]


def quality(text: str) -> float:
    """How good a text is: anything, but always the same."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32


def p_first(first: str, second: str) -> float:
    """What the judge says of two texts."""
    return 1 / (1 + math.exp(4 * (quality(second) - quality(first))))


def weighed(messages: list[Any]) -> dict[str, float]:
    """The judge: the labels' log-probabilities follow from the texts."""
    sheet = read(messages)
    p = p_first(*sheet.texts)
    return {sheet.labels[0]: math.log(p), sheet.labels[1]: math.log(1 - p)}


def likeliest(messages: list[Any]) -> str:
    """Its answer: one label."""
    said = weighed(messages)
    return max(said, key=lambda label: said[label])


class Fire:
    """The faults of a run, drawn from the question and how often it has been asked."""

    def __init__(self, share: float, seed: int = 0) -> None:
        self.share, self.seed = share, seed
        self.attempts: Counter[str] = Counter()

    def __call__(self, seen: Seen) -> Fault | None:
        question = asked(seen)
        self.attempts[question] += 1
        rng = random.Random(f"{self.seed}/{question}/{self.attempts[question]}")
        return rng.choice(KINDS)(rng) if rng.random() < self.share else None


class Bucket:
    """A service that takes so many requests per second, and says when the next one may come."""

    def __init__(self, per_second: float, burst: int = 4) -> None:
        self.per_second, self.burst = per_second, burst
        self.tokens, self.at = float(burst), time.monotonic()

    def __call__(self, seen: Seen) -> Fault | None:
        now = time.monotonic()
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.per_second)
        self.at = now
        if self.tokens >= 1:
            self.tokens -= 1
            return None
        return status(429, retry_after_ms=str(math.ceil((1 - self.tokens) / self.per_second * 1000)))


class Watched(OpenAIModel):
    """Notes when an attempt is sent and when a rate limit becomes known, on its own clock, and what is answered."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.sent: list[float] = []
        self.delivered: Counter[tuple[str, ...]] = Counter()
        """by the two texts of a question: readable answers that arrived in time"""
        self.holds: list[tuple[float, float]] = []

    async def _send(self, client: Any, body: dict[str, Any]) -> Any:
        self.sent.append(asyncio.get_running_loop().time())
        payload = await super()._send(client, body)
        sheet = read(body["messages"])
        self.delivered[sheet.texts] += payload["choices"][0]["message"]["content"] in sheet.labels
        return payload

    def _failure(self, error: Exception, body: Any) -> Any:
        failure = super()._failure(error, body)
        if failure.status in (429, 529) and failure.wait:
            now = asyncio.get_running_loop().time()
            self.holds.append((now, now + failure.wait))
        return failure

    @property
    def too_early(self) -> int:
        """Attempts that were sent while a known limit held."""
        sent = np.sort(self.sent)
        return sum(int(np.searchsorted(sent, b) - np.searchsorted(sent, a, "right")) for a, b in self.holds)


class Calm:
    """The same judge without a network: what would be said if nothing ever failed."""

    def __init__(self, identity: str) -> None:
        self.identity = identity

    def run(self, calls: Sequence[Call], on_reply: Any = None) -> list[Reply]:
        """A reply to each call."""
        return [Reply(text=likeliest(list(c.chat)), logprobs=weighed(list(c.chat)), usage=ONE) for c in calls]


def asked(seen: Seen) -> str:
    """What tells one question from another: all attempts at it have the same words."""
    return seen.body["messages"][-1]["content"]


def serve(fault_for: Callable[[Seen], Fault | None] | None = None, **options: Any) -> FakeOpenAI:
    """A server that judges, with faults by request."""
    server = FakeOpenAI(answer=likeliest, logprobs=weighed, fault_for=fault_for, **options)
    os.environ |= {"OPENAI_API_KEY": server.key, "NO_PROXY": "127.0.0.1"}
    return server


def connect(url: str, **options: Any) -> Watched:
    """A client of that server."""
    settings = {"max_concurrency": CONCURRENCY, "timeout": TIMEOUT, "backoff": 0.02, **options}
    return Watched(parse(f"openai:gpt-4o@{url}"), **settings)


def judge_all(
    model: Watched | Calm, ledger: SqliteLedger | None, contests: Sequence[Contest]
) -> list[tuple[Verdict, ...]]:
    """Every match of every contest, by a judge that is told how to ask."""
    # what a service can do is not the question here: it weighs labels, and the judge knows it
    return ChatJudge("gpt-4o", model, methods=("logprobs",), ledger=ledger).judge(contests)


def rewards(verdicts: Sequence[Sequence[Verdict]]) -> np.ndarray:
    """[groups, PLAYERS] the win shares."""
    return np.array([Rule().standing(PLAYERS, v).scores for v in verdicts])


def check(holds: Any, claim: str) -> None:
    """A claim that does not hold ends everything."""
    if not holds:
        raise AssertionError(claim)
