"""The console command. Thin: takes the flags apart, calls the piece that does the work, turns errors into one line."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

from softgrpo import __version__
from softgrpo.config import (
    AuditConfig,
    EvaluateConfig,
    RejudgeConfig,
    ReportConfig,
    RescoreConfig,
    SampleConfig,
    ServeConfig,
    TrainConfig,
)
from softgrpo.errors import UserError
from softgrpo.flags import parse, parser_for, to_yaml
from softgrpo.threads import WAITS, settle


def main(argv: Sequence[str] | None = None) -> int:
    """`softgrpo COMMAND [flags]`; returns the exit status: 0 done, 2 wrong input, 1 stopped, 130 interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage())
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"softgrpo {__version__}")
        return 0
    command, rest = argv[0], argv[1:]
    if command not in COMMANDS:
        print(f"softgrpo: unknown command {command!r}; choose from {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    return run(command, rest)


def run(command: str, argv: Sequence[str], prog: str | None = None) -> int:
    """One command with its flags."""
    cls: type[Any]
    cls, description = COMMANDS[command]
    try:
        parser = parser_for(cls, prog or f"softgrpo {command}", description)
        if command == "sample":
            argv = _topic_first(argv)
        config, only_print = parse(cls, parser, argv)
        if only_print:
            print(to_yaml(config), end="")
            return 0
        settle(getattr(config, "threads", 0), getattr(config, "thread_wait", WAITS[0]))  # before torch is there
        return importlib.import_module(f"softgrpo.commands.{command}").run(config)
    except UserError as error:
        print(f"softgrpo: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"softgrpo: {error}; nothing that was saved is lost", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("softgrpo: interrupted", file=sys.stderr)
        return 130


COMMANDS: dict[str, tuple[type, str]] = {
    "train": (TrainConfig, "Train a policy with GRPO on a judge's tournament."),
    "evaluate": (EvaluateConfig, "A run's model or a plain one head to head with another, with any judge."),
    "report": (ReportConfig, "Draw a run's figures and page from what was recorded."),
    "audit": (AuditConfig, "Is this judge fit to train against?"),
    "rescore": (RescoreConfig, "A recorded run's rewards under another rule, without a call."),
    "rejudge": (RejudgeConfig, "What a judge failed to answer, of a run or of a ledger, asked again."),
    "estimate": (TrainConfig, "What `train` with the same flags will ask of services, and for how much."),
    "serve": (ServeConfig, "The rewards of a task or of criteria over HTTP, for trainers that cannot hold a Scorer."),
    "sample": (SampleConfig, "Base against trained, side by side: softgrpo sample --run DIR TOPIC."),
}
"""each is the module of that name in `commands`, which is imported when it is called"""


def _topic_first(argv: Sequence[str]) -> list[str]:
    """The topic may stand alone: a last word that is no flag and belongs to none is `--topic`."""
    argv = list(argv)
    takes_it = len(argv) > 1 and argv[-2].startswith("--") and "=" not in argv[-2]
    if argv and not argv[-1].startswith("--") and not takes_it:
        argv.insert(-1, "--topic")
    return argv


def _usage() -> str:
    lines = [f"  {name:10} {description}" for name, (_, description) in COMMANDS.items()]
    return "usage: softgrpo COMMAND [flags]\n\n" + "\n".join(lines) + "\n\nsoftgrpo COMMAND --help explains every flag."
