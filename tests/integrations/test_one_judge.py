"""One process judges for all: shares of different size, its errors everywhere, and nobody left waiting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from softgrpo.integrations.one_judge import judged_once

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, os, sys
from accelerate import PartialState
from softgrpo.integrations.one_judge import judged_once
state = PartialState(cpu=True)
rank, calls = state.process_index, []
mine = [f"{rank}.{i}" for i in range(5 if rank == 0 else 3)]

def judge(rows):
    calls.append(len(rows))
    return [row.upper() + "!" for row in rows]

found, where = judged_once(mine, judge)
record = {"all": found, "mine": found[where], "calls": calls}

class Odd(Exception):
    def __init__(self, a, b): super().__init__(f"{a} and {b}")   # cannot be pickled as it is

def fails(rows):
    raise Odd("this", "that")

try:
    judged_once(mine, fails)
except Exception as error:
    record["error"] = [type(error).__name__, str(error)]
found, where = judged_once([] if rank else ["x"], judge)
record["last"] = found[where]
with open(os.path.join(sys.argv[1], f"{rank}.json"), "w") as file:
    json.dump(record, file)
state.wait_for_everyone()
os._exit(0)  # gloo's threads, at the end of two processes, now and then wait for each other or abort
"""


def test_alone():
    assert judged_once(["a", "b", "c"], len) == (3, slice(0, 3))
    with pytest.raises(ZeroDivisionError):
        judged_once(["a"], lambda rows: 1 / 0)


def test_two_processes(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv_backend", "c10d",
               "--rdzv_endpoint", "127.0.0.1:0", str(tmp_path / "script.py"), str(tmp_path)]  # fmt: skip
    env = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    rows = [*(f"0.{i}!" for i in range(5)), *(f"1.{i}!" for i in range(3))]
    assert first["all"] == second["all"] == rows
    assert (first["mine"], second["mine"]) == (rows[:5], rows[5:])
    assert (first["calls"], second["calls"]) == ([8, 1], [])
    assert first["error"] == ["Odd", "this and that"]
    assert second["error"] == ["UserError", "in the process that judges: Odd: this and that"]
    assert (first["last"], second["last"]) == (["X!"], [])
