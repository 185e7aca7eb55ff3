"""Calls that were asked together, and how far each has come."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from softgrpo.models.api.calls import OnReply, Reply, SpendingLimit
from softgrpo.models.api.errors import APIStop, Failure
from softgrpo.models.api.event_loop import WriterThread
from softgrpo.records import Usage


@dataclass(slots=True, kw_only=True)
class Batch:
    """Calls that were asked together."""

    on_reply: OnReply | None
    budget: SpendingLimit | None
    """of all its attempts: what was reserved in one budget is settled in the same, whatever the model has by then"""
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    stop: APIStop | None = None
    aside: WriterThread = field(default_factory=WriterThread)

    async def keep(self, i: int, reply: Reply) -> None:
        """Tell the listener, who may keep the reply in a file."""
        if self.on_reply is not None:
            await self.aside.do(self.on_reply, i, reply)


@dataclass(slots=True, kw_only=True)
class Course:
    """How far a call has come."""

    began: float
    """on the loop's clock"""
    spent: Usage = field(default_factory=Usage)
    tries: int = 0
    """attempts without those that a rate limit refused: the service's pace is no fault of the call"""
    limited: int = 0
    """those"""
    empty: int = 0
    """replies without a text"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What came of one request: a reply or a failure."""

    reply: Reply = field(default_factory=Reply)
    failure: Failure | None = None
    usage: Usage | None = None
    """None when nobody said what it used"""
