"""How long until something happens? `python benchmarks/startup.py`: importing the package, and asking for help.

Writes `startup.json` beside itself: seconds of a new process, and beside it of a bare interpreter.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

OUTPUT = Path(__file__).with_suffix(".json")
ROOT = Path(__file__).resolve().parents[1]
TIMES = 15
COMMANDS = {
    "bare interpreter": ["-c", "pass"],
    "import softgrpo": ["-c", "import softgrpo"],
    "from softgrpo import rank": ["-c", "from softgrpo import rank"],
    "main.py --help": ["main.py", "--help"],
}


def seconds(arguments: list[str]) -> dict[str, float]:
    """Median, least and most of some runs; the first, which fills the caches, is not counted."""
    found = []
    for _ in range(TIMES + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        found.append(time.perf_counter() - began)
    return {"median": statistics.median(found[1:]), "min": min(found[1:]), "max": max(found[1:])}


def main() -> None:
    record = {
        "command": "python benchmarks/startup.py",
        "seconds": {name: seconds(arguments) for name, arguments in COMMANDS.items()},
        "python": platform.python_version(),
        "processors": os.cpu_count(),
    }
    OUTPUT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")
    print(json.dumps(record["seconds"], indent=1))


if __name__ == "__main__":
    main()
