"""The run's folder, its evaluations, what it may spend, and the machine."""

from __future__ import annotations

from dataclasses import dataclass

from softgrpo.config.groups import BUDGET, DTYPES, EVALUATION, MACHINE, RUN, THREADS_HELP
from softgrpo.flags import flag
from softgrpo.threads import WAITS


@dataclass(frozen=True, kw_only=True)
class RunFlags:
    """Where the run is kept, and how long it is."""

    output_dir: str = flag("output", "the run's folder", group=RUN)
    resume: bool = flag(False, "go on from the run's last checkpoint, if there is one", group=RUN)
    verbose: bool = flag(False, "print a completion and its verdicts at every step", group=RUN)
    num_train_iters: int = flag(1000, "iterations; one samples and judges prompts_per_step groups", group=RUN, low=1)
    save_steps: int = flag(100, "iterations between checkpoints", group=RUN, low=1)
    save_total_limit: int = flag(2, "checkpoints to keep; 0 keeps all", group=RUN, low=0)
    seed: int = flag(7111994, "everything random follows from it", group=RUN, low=0, high=2**62)


@dataclass(frozen=True, kw_only=True)
class EvaluationFlags:
    """How the policy is tested."""

    eval_iterations: int = flag(40, "iterations between evaluations", group=EVALUATION, low=1)
    eval_prompts: int = flag(32, "held-out prompts, both sides of a subject together", group=EVALUATION, low=1)
    eval_samples: int = flag(1, "answers of each player per prompt", group=EVALUATION, low=1)
    eval_temperature: float = flag(0.9, "sampling temperature of both players", group=EVALUATION, low=0, high=10)
    on_alarm: str = flag(
        "warn",
        "when a win rate or the texts become suspect: say it; stop, as if the run had reached its end; or stop and go "
        "back to the best evaluation before, by the sentinel if there is one, which may be the base",
        group=EVALUATION,
        choices=("warn", "stop", "best"),
    )


@dataclass(frozen=True, kw_only=True)
class BudgetFlags:
    """What services may cost."""

    ledger: str | None = flag(
        None,
        "the file of all judgements, where none is paid for twice (default: verdicts.sqlite in output_dir); runs may "
        "share one",
        group=BUDGET,
    )
    budget_calls: int | None = flag(None, "API calls the run may make, repeated attempts included", group=BUDGET, low=0)
    budget_tokens: int | None = flag(None, "tokens that its API calls may read and write", group=BUDGET, low=0)
    budget_usd: float | None = flag(None, "what its API calls may cost, at known prices", group=BUDGET, low=0)
    max_concurrency: int = flag(
        32, "calls to a service at once; fewer while it limits their rate", group=BUDGET, low=1, high=1024
    )
    prices: str | None = flag(
        None, "a YAML file of prices in USD per million tokens (default: the packaged list; check it)", group=BUDGET
    )


@dataclass(frozen=True, kw_only=True)
class MachineFlags:
    """What computes, and in which pieces."""

    dtype: str = flag("auto", "precision of computation; weights are learned in float32", group=MACHINE, choices=DTYPES)
    device: str = flag("auto", "cpu, cuda, cuda:1, ...; auto takes CUDA where there is one", group=MACHINE)
    threads: int = flag(0, THREADS_HELP, group=MACHINE, low=0, high=4096)
    thread_wait: str = flag(
        WAITS[0],
        "how threads wait for each other: asleep, which leaves their cores to others, or spinning",
        group=MACHINE,
        choices=WAITS,
    )
    micro_batch_tokens: int = flag(
        4096, "tokens per forward and backward pass; less needs less memory", group=MACHINE, low=1
    )
    gradient_checkpointing: bool = flag(False, "compute activations twice to hold them never", group=MACHINE)
    skip_memory_check: bool = flag(False, "start although the estimate says that it does not fit", group=MACHINE)
