"""Pairs of places in a list of players. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import combinations

Seats = tuple[int, int]
"""two places, the one that is read first in front"""


def every(n: int, *, both: bool) -> list[Seats]:
    """All pairs of `n` players, each in both orders, or once with everybody first about as often as second.

    >>> every(3, both=False), len(every(3, both=True))
    ([(0, 1), (2, 0), (1, 2)], 6)
    """
    pairs: list[Seats] = []
    for a, b in combinations(range(n), 2):
        if both:
            pairs += [(a, b), (b, a)]
        else:  # neighbours at odd distance keep their order: over a whole row the two directions alternate
            pairs.append((a, b) if (b - a) % 2 else (b, a))
    return pairs


def regular(n: int, calls: int, seed: int) -> list[Seats]:
    """Random pairs in which all players meet about as many others, each first about as often as second.

    A random cycle through all players comes first, so that they are joined; then cycles of random other strides, in
    each of which everybody is first once and second once. No pair meets twice before every pair has met; the second
    time it is read in the other order.

    >>> regular(4, 5, seed=1)
    [(1, 2), (2, 0), (0, 3), (3, 1), (1, 0)]
    """
    rng = random.Random(seed)
    seats = rng.sample(range(n), n)
    strides = [1, *rng.sample(range(2, (n + 1) // 2), max((n - 3) // 2, 0))] if n > 2 else [1]
    pairs: list[Seats] = []
    for stride in strides:
        if len(pairs) >= calls:
            break
        pairs += _ring(seats, stride) if n > 2 else [(seats[0], seats[1])]
    if n > 2 and n % 2 == 0:  # opposite seats come last: there everybody is only first or only second
        opposite = [(seats[i], seats[i + n // 2]) for i in range(n // 2)]
        pairs += [pair if rng.random() < 0.5 else pair[::-1] for pair in opposite]
    pairs += [(b, a) for a, b in pairs]
    return pairs[:calls]


def _ring(seats: Sequence[int], stride: int) -> list[Seats]:
    """Everybody with whom sits `stride` further; of the wider ones every second pair first.

    A part of a wide ring then spreads over all players, while any part of the first ring is a chain.
    """
    n = len(seats)
    length = n // math.gcd(n, stride)
    starts = [(start + k * stride) % n for start in range(n // length) for k in range(length)]
    ring = [(seats[a], seats[(a + stride) % n]) for a in starts]
    if stride == 1:
        return ring
    last = [length % 2 == 1 and k % length == length - 1 for k in range(n)]  # the odd one out of an odd cycle
    return [ring[k] for k in sorted(range(n), key=lambda k: (last[k], k % length % 2))]


def joined(n: int, pairs: Sequence[Seats]) -> list[int]:
    """[n] a number for each player, the same for those that some chain of pairs joins."""
    label = list(range(n))
    for a, b in pairs:
        if label[a] != label[b]:
            old, new = label[a], label[b]
            label = [new if x == old else x for x in label]
    return label
