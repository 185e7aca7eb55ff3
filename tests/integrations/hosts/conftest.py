"""Tests inside a host's own environment: of `test_<host>*.py` only those that SOFTGRPO_HOST names are read.

    SOFTGRPO_HOST=verifiers python -m pytest --confcutdir tests/integrations/hosts tests/integrations/hosts

`--confcutdir` keeps out the conftest of the whole suite, which needs torch and hypothesis.
"""

from __future__ import annotations

import os
from pathlib import Path


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """What is another host's is not even read, scripts that its tests start included."""
    host = os.environ.get("SOFTGRPO_HOST") or "none"
    mine = collection_path.is_dir() or collection_path.stem.removeprefix("test_").startswith(host)
    return None if mine or collection_path.name == "conftest.py" else True
