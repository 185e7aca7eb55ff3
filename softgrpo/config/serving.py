"""The flags of `softgrpo serve`."""

from __future__ import annotations

from dataclasses import dataclass

from softgrpo.config.groups import ANY_MODEL_HELP, BUDGET, DATA, DTYPES, MACHINE, MODELS, SERVER, THREADS_HELP
from softgrpo.config.judging import JudgingFlags
from softgrpo.config.machine import BudgetFlags
from softgrpo.flags import flag


@dataclass(frozen=True, kw_only=True)
class ServerFlags:
    """Where the server listens, and what it takes in."""

    host: str = flag(
        "127.0.0.1",
        "the address to listen at; for any other than this machine's own, set SOFTGRPO_SERVE_TOKEN in the environment",
        group=SERVER,
    )
    port: int = flag(8009, "the port; 0 is any that is free", group=SERVER, low=0, high=65535)
    cohort_deadline_s: float = flag(
        600.0, "seconds from a cohort's first member within which all must have come", group=SERVER, above=0, high=86400
    )
    cohorts: str | None = flag(
        None, "the file of finished cohorts (default: cohorts.sqlite beside the ledger)", group=SERVER
    )
    keep_hours: float = flag(48.0, "how long a finished cohort is kept", group=SERVER, above=0)
    max_body_mb: float = flag(16.0, "size of a request's body", group=SERVER, above=0, high=1024)
    max_text_chars: int = flag(200_000, "characters of a prompt, and of a completion", group=SERVER, low=1)
    max_group: int = flag(256, "completions of a group", group=SERVER, low=2, high=1024)


@dataclass(frozen=True, kw_only=True)
class ServeConfig(BudgetFlags, JudgingFlags, ServerFlags):
    """`softgrpo serve`: rewards over HTTP."""

    judge_model_name: str = flag("embedded", f"who compares the answers: {ANY_MODEL_HELP}", group=MODELS)
    dataset_name: str | None = flag(
        None, "the task: debate, comedy (or ld), recipes (or chopped), or a .yaml or .py file", group=DATA
    )
    criteria: str | None = flag(None, "instead of a task: what makes an answer better, for the judge", group=DATA)
    format: str | None = flag(
        None,
        "the form of a reply: reasoning_answer, or none, which judges whole replies (default: the task's own, for "
        "criteria none)",
        group=DATA,
    )
    seed: int = flag(0, "everything random follows from it", group=DATA, low=0, high=2**62)
    ledger: str | None = flag(
        None,
        "the file of all judgements, where none is paid for twice (default: verdicts.sqlite, where the judge is asked "
        "about pairs)",
        group=BUDGET,
    )
    dtype: str = flag("auto", "precision of a local judge", group=MACHINE, choices=DTYPES)
    device: str = flag("auto", "cpu, cuda, ...", group=MACHINE)
    threads: int = flag(0, THREADS_HELP, group=MACHINE, low=0, high=4096)
