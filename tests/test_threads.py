"""How many threads compute and how they wait: by flag, by environment, by what the machine gives."""

from __future__ import annotations

import subprocess
import sys

import pytest

from softgrpo.threads import COUNT, POLICY, cores, quota, said, settle


@pytest.mark.parametrize(
    ("written", "allowed"),
    [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("max 100000", 1 << 16), ("nonsense", 1 << 16)],
)
def test_a_containers_quota(tmp_path, written, allowed):
    (tmp_path / "cpu.max").write_text(written + "\n")
    assert quota(tmp_path / "cpu.max") == allowed
    assert quota(tmp_path / "no such file") == 1 << 16


def test_by_default_one_for_each_core_and_asleep():
    given: dict[str, str] = {}
    settle(0, "sleep", given)
    assert given == {COUNT: str(cores()), POLICY: "PASSIVE"}


def test_a_flag_wins_over_the_environment_and_the_environment_over_the_default():
    given = {COUNT: "3", POLICY: "ACTIVE"}
    settle(0, "sleep", given)
    assert given == {COUNT: "3", POLICY: "ACTIVE"}
    settle(5, "sleep", given)
    assert given[COUNT] == "5"


def test_what_is_said():
    assert said({COUNT: "2", POLICY: "ACTIVE"}).startswith(f"threads: 2 of {cores()} cores, spinning")


def test_the_command_settles_it_before_torch_is_loaded(tmp_path):
    """In a process of its own: the library that torch computes with reads the environment when it is loaded."""
    code = (
        "import sys, os\n"
        "from types import SimpleNamespace\n"
        "from softgrpo import cli\n"
        "assert 'torch' not in sys.modules\n"
        "sys.modules['softgrpo.commands.train'] = SimpleNamespace(run=lambda config: 0)\n"
        "cli.run('train', ['--threads', '1'])\n"
        "assert 'torch' not in sys.modules\n"
        "import torch\n"
        "print(torch.get_num_threads(), os.environ['OMP_WAIT_POLICY'])"
    )
    clean = {"PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "PASSIVE"]
