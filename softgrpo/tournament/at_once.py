"""Schedules that ask for everything at once, whatever the verdicts. Pure."""

from __future__ import annotations

import random
from abc import abstractmethod

from softgrpo.tournament.pairs import Seats, every, regular
from softgrpo.tournament.schedule import Schedule, SoFar

CHUNK = 4
"""players of a chunk"""


class AtOnce(Schedule):
    """One round and no other."""

    def next_pairs(self, so_far: SoFar) -> list[Seats]:
        """Everything, and then nothing."""
        return [] if so_far.verdicts else self.pairs(so_far.calls, so_far.seed)

    @abstractmethod
    def pairs(self, calls: int, seed: int) -> list[Seats]:
        """All that is asked, `calls` pairs at most."""

    @property
    def sides(self) -> int:
        """How often a pair meets."""
        return 2 if self.orders == "both" else 1


class RoundRobin(AtOnce):
    """All meet all; with fewer calls, a random part of that which joins everybody."""

    @property
    def own(self) -> int:
        return self.n * (self.n - 1) * self.sides // 2

    def pairs(self, calls: int, seed: int) -> list[Seats]:
        return every(self.n, both=self.sides == 2) if calls == self.own else regular(self.n, calls, seed)


class RandomRegular(AtOnce):
    """Random pairs, in which all meet about as many others."""

    @property
    def own(self) -> int:
        return 4 * self.n

    def pairs(self, calls: int, seed: int) -> list[Seats]:
        return regular(self.n, calls, seed)


class Chunks(AtOnce):
    """Round robins of four, by lot, as comparable systems hold them: nothing joins one to another."""

    @property
    def own(self) -> int:
        return sum(k * (k - 1) * self.sides // 2 for k in chunk_sizes(self.n))

    @property
    def least(self) -> int:
        return 0

    @property
    def most(self) -> int:
        return self.own

    def pairs(self, calls: int, seed: int) -> list[Seats]:
        seats = random.Random(seed).sample(range(self.n), self.n)
        pairs: list[Seats] = []
        start = 0
        for k in chunk_sizes(self.n):
            pairs += [(seats[start + a], seats[start + b]) for a, b in every(k, both=self.sides == 2)]
            start += k
        return pairs[:calls]


class Anchor(AtOnce):
    """One player of random choice meets all others, who do not meet."""

    @property
    def own(self) -> int:
        return (self.n - 1) * self.sides

    @property
    def most(self) -> int:
        return self.own

    def pairs(self, calls: int, seed: int) -> list[Seats]:
        anchor, *others = random.Random(seed).sample(range(self.n), self.n)
        both = [[(anchor, b), (b, anchor)] for b in others]
        if calls == 2 * len(others):
            return [pair for sides in both for pair in sides]
        once = [sides[k % 2] for k, sides in enumerate(both)]
        return (once + [sides[1 - k % 2] for k, sides in enumerate(both)])[:calls]


def chunk_sizes(n: int) -> list[int]:
    """Chunks of four; what is left over makes the first ones larger.

    >>> chunk_sizes(16), chunk_sizes(6), chunk_sizes(3)
    ([4, 4, 4, 4], [6], [3])
    """
    count = max(n // CHUNK, 1)
    return [n // count + (k < n % count) for k in range(count)]
