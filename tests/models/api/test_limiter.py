"""Slots that adapt: who gets one, when there are fewer, when more."""

from __future__ import annotations

import asyncio

import pytest

from softgrpo.models.api.limiter import Limiter


def test_the_size_falls_by_half_once_for_all_that_were_under_way_and_rises_slowly():
    limiter = Limiter(16)
    for _ in range(16):
        limiter.was_limited(sent_in=0, until=0.0)
    assert (limiter.size, limiter.round) == (8, 1)
    limiter.was_limited(sent_in=1, until=0.0)
    assert limiter.size == 4
    for _ in range(5):
        limiter.went_well()
    assert 5 <= limiter.size < 5.2, "a round of four good answers adds one slot, and the fifth a part"
    for _ in range(10):
        limiter.was_limited(sent_in=limiter.round, until=0.0)
    assert limiter.size == 1
    for _ in range(500):
        limiter.went_well()
    assert limiter.size == 16, "never more than there may be"


def test_the_oldest_call_goes_first_and_the_size_is_kept():
    async def run() -> list[int]:
        limiter, stopped, order = Limiter(2), asyncio.Event(), []

        async def call(turn: int) -> None:
            assert await limiter.enter(turn, stopped)
            assert limiter.under_way <= 2
            order.append(turn)
            await asyncio.sleep(0.001)
            limiter.leave()

        await asyncio.gather(*(call(turn) for turn in (9, 8, 7, 3, 5, 4)))
        assert limiter.under_way == 0
        return order

    assert asyncio.run(run()) == [9, 8, 3, 4, 5, 7]


def test_nobody_enters_while_a_limit_holds():
    async def run() -> float:
        loop, limiter, stopped = asyncio.get_running_loop(), Limiter(4), asyncio.Event()
        await limiter.enter(0, stopped)
        began = loop.time()
        limiter.was_limited(0, began + 0.1)
        limiter.leave()
        await asyncio.gather(*(limiter.enter(i, stopped) for i in range(2)))
        return loop.time() - began

    assert asyncio.run(run()) >= 0.1


def test_those_who_wait_are_sent_away_and_a_cancelled_one_leaves_no_gap():
    async def run() -> None:
        limiter, stopped, other = Limiter(1), asyncio.Event(), asyncio.Event()
        assert await limiter.enter(0, stopped)
        waiting = [asyncio.ensure_future(limiter.enter(i, stopped)) for i in (1, 2)]
        third = asyncio.ensure_future(limiter.enter(3, other))
        gone = asyncio.ensure_future(limiter.enter(0, other))
        await asyncio.sleep(0)
        gone.cancel()
        stopped.set()
        limiter.dismiss(stopped)
        assert await asyncio.gather(*waiting) == [False, False]
        assert not await limiter.enter(4, stopped)
        limiter.leave()
        assert await third
        assert limiter.under_way == 1

    asyncio.run(run())


def test_a_place_that_was_given_to_a_cancelled_call_is_given_back():
    async def run() -> None:
        limiter, stopped = Limiter(1), asyncio.Event()
        await limiter.enter(0, stopped)
        second = asyncio.ensure_future(limiter.enter(1, stopped))
        await asyncio.sleep(0)
        limiter.leave()  # the place goes to the second, which is cancelled before it runs
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert limiter.under_way == 0

    asyncio.run(run())
