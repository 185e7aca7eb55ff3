"""The seed's entry point: `python main.py ...` is `softgrpo train ...`."""

import sys

from softgrpo.cli import run

if __name__ == "__main__":
    sys.exit(run("train", sys.argv[1:], prog="main.py"))
