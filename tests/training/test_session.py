"""What surrounds a run: a step's seconds counted once, what is said once, the time that is left."""

from __future__ import annotations

import math
import signal

import pytest

from softgrpo.training import session as module
from softgrpo.training.session import RECENT, Session


class Spoken:
    """A console that remembers."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is told: `clock[0]` is the time."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def session(clock):
    return Session(Spoken())


def spend(session, clock, **seconds):
    for name, value in seconds.items():
        with session.timed(name):
            clock[0] += value


def recorded(session):
    """A step's record, as the loop writes it."""
    seconds = session.step_seconds()
    times = dict(session.times)
    session.end_step(seconds)
    return times, seconds


def test_a_steps_seconds_by_what_they_were_spent_on(session, clock):
    session.begin_step()
    spend(session, clock, sample=2.0, learn=1.0)
    spend(session, clock, sample=0.5)
    clock[0] += 0.25
    times, seconds = recorded(session)
    assert times == {"sample": 2.5, "learn": 1.0, "save": 0.0, "elapsed": 3.75}
    assert seconds == 3.75


def test_saving_after_the_record_counts_in_the_next_record_and_only_there(session, clock):
    found = []
    for saving in (0.0, 7.0, 0.0, 0.0, 4.0, 5.0, 0.0):
        session.begin_step()
        spend(session, clock, learn=1.0)
        found.append(recorded(session))
        spend(session, clock, save=saving)
    assert [times["save"] for times, _ in found] == [0, 0, 7, 0, 0, 4, 5]
    assert [times["learn"] for times, _ in found] == [1.0] * 7
    assert [seconds for _, seconds in found] == [1.0] * 7, "a step's own seconds are without it"
    assert [times["elapsed"] for times, _ in found] == [1, 2, 10, 11, 12, 17, 23]


def test_what_came_before_the_first_step_is_no_steps(session, clock):
    spend(session, clock, evaluate=30.0)
    session.begin_step()
    spend(session, clock, sample=1.0)
    times, seconds = recorded(session)
    assert "evaluate" not in times
    assert (seconds, times["elapsed"]) == (1.0, 31.0)


def test_what_fails_has_taken_its_time(session, clock):
    session.begin_step()
    with pytest.raises(OSError, match="full"), session.timed("save"):
        clock[0] += 3.0
        raise OSError("full")
    assert session.times["save"] == 3.0


def test_what_is_said_once_is_said_the_first_time(session):
    session.say_once("reward wit", "reward 'wit' fails (a)")
    session.say_once("reward wit", "reward 'wit' fails (b)")
    session.say_once("reward odd", "reward 'odd' fails")
    session.say("twice")
    session.say("twice")
    assert session.console.lines == ["reward 'wit' fails (a)", "reward 'odd' fails", "twice", "twice"]


def test_the_time_that_is_left_follows_the_last_steps(session):
    assert math.isnan(session.seconds_left(5)), "nothing is known yet"
    session.end_step(100.0)
    assert session.seconds_left(5) == 500.0
    for _ in range(RECENT):
        session.end_step(2.0)
    assert session.seconds_left(5) == 10.0, "the slow first one is long past"
    assert session.seconds_left(0) == 0.0


def test_inside_it_an_interrupt_waits_for_what_must_not_be_cut_and_outside_there_is_none(session):
    before = signal.getsignal(signal.SIGTERM)
    done = []

    def write():
        with session.uninterrupted():
            signal.raise_signal(signal.SIGTERM)
            done.append("whole")

    with session, pytest.raises(KeyboardInterrupt):
        write()
    assert done == ["whole"]
    assert signal.getsignal(signal.SIGTERM) == before
