"""Names first, and what they mean when it is used."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from softgrpo.registry import Registry

EVERY = [
    ("softgrpo.tournament", "SCHEDULES"),
    ("softgrpo.tournament", "RATINGS"),
    ("softgrpo.grpo", "LOSSES"),
    ("softgrpo.judges", "JUDGES"),
    ("softgrpo.judges.embedded", "PARTS"),
]


@pytest.mark.parametrize(("module", "name"), EVERY)
def test_every_entry_can_be_imported(module, name):
    registry = getattr(import_module(module), name)
    assert [entry.__doc__ is not None for entry in registry.values()] == [True] * len(registry)


@pytest.mark.parametrize(("module", "name"), EVERY)
def test_an_unknown_name_is_told_the_others(module, name):
    registry = getattr(import_module(module), name)
    for refused in (registry.check, registry.__getitem__):
        with pytest.raises(ValueError, match=f"unknown {registry.kind} 'nobody'; choose from {', '.join(registry)}"):
            refused("nobody")


def test_the_names_cost_no_import():
    modules = ", ".join(sorted({module for module, _ in EVERY}))
    script = f"import sys, {modules}; print(*sorted(set(sys.modules) & {{'numpy', 'torch'}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


def test_a_place_is_imported_only_when_it_is_used():
    registry = Registry("shape", {"round": "math:tau", "square": "no.such.module:Square"})
    registry.check("square")
    assert "square" in registry
    assert registry["round"] == pytest.approx(6.283185307)
    with pytest.raises(ModuleNotFoundError):
        registry["square"]
