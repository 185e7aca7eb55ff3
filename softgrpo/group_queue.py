"""Groups that come one by one, as sampling completes them, to a judge that need not wait for the last."""

from __future__ import annotations

import queue
import time
from collections.abc import Sequence

from softgrpo.records import Group


class GroupQueue:
    """One thread puts, another takes.

    >>> arrivals = GroupQueue(2)
    >>> arrivals.put(1, "group")
    >>> arrivals.take(wait=True), arrivals.take(wait=False), arrivals.complete
    ([(1, 'group')], [], False)
    """

    def __init__(self, n: int) -> None:
        """`n` groups are to come."""
        self.left = n
        self.waited = 0.0
        """seconds in which there was nothing to do but wait"""
        self._queue: queue.SimpleQueue[tuple[int, Group] | None] = queue.SimpleQueue()

    @classmethod
    def of(cls, groups: Sequence[Group]) -> GroupQueue:
        """Groups that are all there."""
        arrivals = cls(len(groups))
        for i, group in enumerate(groups):
            arrivals.put(i, group)
        return arrivals

    @property
    def complete(self) -> bool:
        """Every group has been taken."""
        return not self.left

    def put(self, place: int, group: Group) -> None:
        """The group of the prompt in that place of its iteration."""
        self._queue.put((place, group))

    def give_up(self) -> None:
        """No more will come; who waits for them gets a RuntimeError."""
        self._queue.put(None)

    def take(self, *, wait: bool) -> list[tuple[int, Group]]:
        """What has come since; with `wait`, at least one as long as any is left."""
        taken: list[tuple[int, Group]] = []
        while self.left:
            began = time.monotonic()
            try:
                one = self._queue.get(block=wait and not taken)
            except queue.Empty:
                break
            self.waited += time.monotonic() - began
            if one is None:
                raise RuntimeError("sampling ended before all groups were there")
            taken.append(one)
            self.left -= 1
        return taken
