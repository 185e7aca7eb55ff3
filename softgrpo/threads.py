"""How many threads compute, and how they wait for each other. Libraries read it when they are loaded, as torch is."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")
WAITS = ("sleep", "spin")
POLICY = "OMP_WAIT_POLICY"
COUNT = "OMP_NUM_THREADS"


def cores() -> int:
    """Cores that this process may use: those it is bound to, and no more than a container's quota gives it."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(there, quota(QUOTA)))


def quota(file: Path) -> int:
    """Cores that a control group allows, rounded up; as good as endless where it names none."""
    try:
        allowed, period = file.read_text().split()
        return math.ceil(int(allowed) / int(period))
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
        return 1 << 16


def settle(threads: int, wait: str, environ: MutableMapping[str, str] = os.environ) -> None:
    """Say it to the libraries that compute, where the environment says nothing itself.

    `threads` 0 is one for each core. Threads that sleep while they wait leave their core to others; those that spin
    wake a little sooner where nobody else wants it.

    >>> given = {"OMP_WAIT_POLICY": "ACTIVE"}
    >>> settle(3, "sleep", given)
    >>> given["OMP_NUM_THREADS"], given["OMP_WAIT_POLICY"]
    ('3', 'ACTIVE')
    """
    if threads:
        environ[COUNT] = str(threads)
        if environ is os.environ and (torch := sys.modules.get("torch")):  # it has read the environment already
            torch.set_num_threads(threads)
    environ.setdefault(COUNT, str(cores()))
    environ.setdefault(POLICY, {"sleep": "PASSIVE", "spin": "ACTIVE"}[wait])


def said(environ: Mapping[str, str] = os.environ) -> str:
    """What is in force, for people.

    >>> said({"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}).split(" of ")[0]
    'threads: 2'
    """
    waiting = {"PASSIVE": "asleep while they wait", "ACTIVE": "spinning while they wait"}
    how = waiting.get(environ.get(POLICY, "").upper(), "waiting as their library likes")
    return f"threads: {environ.get(COUNT, '?')} of {cores()} cores, {how} (--threads, --thread_wait)"
