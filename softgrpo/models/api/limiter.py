"""How many requests may be under way at once: fewer after a rate limit, more again while all goes well."""

from __future__ import annotations

import asyncio
import heapq
import itertools

LEAST = 1.0


class Limiter:
    """Slots for requests on one event loop, given to whoever has waited longest, and to none while a limit holds.

    Additive increase, multiplicative decrease (Chiu and Jain, 1989): a rate limit halves the number of slots, once for
    all the requests that were under way together, and every full round of good answers adds one slot.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = float(most)
        """slots there are now, between 1 and `most`"""
        self.round = 0
        """goes up with every halving; a request remembers the one in which it was sent"""
        self.under_way = 0
        self.not_before = 0.0
        """on the loop's clock"""
        self._waiting: list[tuple[int, int, asyncio.Future[bool], asyncio.Event]] = []
        self._count = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    async def enter(self, turn: int, stopped: asyncio.Event) -> bool:
        """Wait for a slot, the lowest `turn` first; False without one when `stopped` is set (and `dismiss` called)."""
        loop = asyncio.get_running_loop()
        while not stopped.is_set():
            place: asyncio.Future[bool] = loop.create_future()
            heapq.heappush(self._waiting, (turn, next(self._count), place, stopped))
            self._grant()
            try:
                has_slot = await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled() and place.result():
                    self.leave()
                raise
            if has_slot and loop.time() < self.not_before:  # a limit became known after the slot was given
                self.leave()
            elif has_slot:
                return True
        return False

    def leave(self) -> None:
        """Give a slot back."""
        self.under_way -= 1
        self._grant()

    def dismiss(self, stopped: asyncio.Event) -> None:
        """Send away those who wait with this event."""
        for _, _, place, event in self._waiting:
            if event is stopped and not place.done():
                place.set_result(False)

    def went_well(self) -> None:
        """A request was answered."""
        self.size = min(self.most, self.size + 1 / self.size)

    def was_limited(self, sent_in: int, until: float) -> None:
        """A request that was sent in round `sent_in` met a rate limit, which holds until then on the loop's clock."""
        if sent_in == self.round:  # those sent before the last halving have said nothing new
            self.size = max(self.size / 2, LEAST)
            self.round += 1
        self.not_before = max(self.not_before, until)

    def _grant(self) -> None:
        loop = asyncio.get_running_loop()
        if self._waiting and loop.time() < self.not_before:
            if self._timer is None:
                self._timer = loop.call_at(self.not_before, self._again)
            return
        while self._waiting and self.under_way < int(self.size):
            place = heapq.heappop(self._waiting)[2]
            if not place.done():
                self.under_way += 1
                place.set_result(True)

    def _again(self) -> None:
        self._timer = None
        self._grant()
