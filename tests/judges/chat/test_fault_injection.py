"""Judging under fire: a tenth of `benchmarks/fault_injection.py`, whose checks end with an error; then all of it."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))
fault_injection = import_module("fault_injection")
fault_world = import_module("fault_world")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "")
    monkeypatch.setenv("NO_PROXY", "")


def test_a_thousand_judgements_under_fire(tmp_path):
    found = fault_injection.under_fire(50, tmp_path)
    assert found["judgements"] == 1000
    assert 0.25 < found["fault_share"] < 0.4
    assert len(found["faults"]) == 7, "every kind of fault was met"
    # 93% of them in the record; three standard errors of fifty groups below that, since what meets a fault is chance
    assert found["groups_whose_rewards_are_those_without_faults"] >= 41


def test_a_budget_under_fire(tmp_path):
    found = fault_injection.on_a_budget(10, tmp_path)
    assert found["calls_when_it_was_reached"] == found["budget_calls"] == 133
    assert found["verdicts_kept"] > 60


def test_goodput_against_the_servers_own_limit():
    assert fault_injection.goodput(10, 0.4)["goodput"] > 0.5  # the recorded figure is higher; this machine may be busy


def test_ten_kills(tmp_path):
    found = fault_injection.killed(30, 10, tmp_path)
    assert 0 < found["most_by_one_kill"] <= found["in_flight_at_most"]


def test_the_checks_can_fail():
    with pytest.raises(AssertionError, match="no"):
        fault_world.check(0, "no")


@pytest.mark.long
def test_ten_thousand_judgements_and_a_hundred_kills():
    found = fault_injection.everything(10_000, 100)
    assert found["under_fire"]["judgements"] == 10_000
    assert found["killed"]["kills"] == 100
    assert all(part["goodput"] > 0.5 for part in found["goodput"])
