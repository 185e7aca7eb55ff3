"""Ctrl-C waits for what must not be cut in half, and for nothing else."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from softgrpo.training.interrupts import Interrupts


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_outside_it_is_raised_at_once(number):
    with Interrupts(), pytest.raises(KeyboardInterrupt):
        send(number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_held_it_is_raised_when_the_block_has_ended(number):
    done = []

    def write(interrupts):
        with interrupts.held():
            send(number)
            done.append("written")

    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            write(interrupts)
        with interrupts.held():
            done.append("once only")
    assert done == ["written", "once only"]


def test_held_blocks_nest():
    done = []

    def write(interrupts):
        with interrupts.held():
            with interrupts.held():
                send(signal.SIGINT)
            done.append("the outer one ends too")

    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        write(interrupts)
    assert done == ["the outer one ends too"]


def test_an_error_inside_a_held_block_is_not_swallowed():
    with Interrupts() as interrupts, pytest.raises(OSError, match="disk full"), interrupts.held():
        raise OSError("disk full")


def test_the_handlers_from_before_come_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interrupts():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_in_another_thread_it_does_nothing_and_says_nothing():
    errors = []

    def work():
        try:
            with Interrupts() as interrupts, interrupts.held():
                pass
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == []
