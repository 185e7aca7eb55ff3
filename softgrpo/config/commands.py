"""The flags of the other commands."""

from __future__ import annotations

from dataclasses import dataclass

from softgrpo.config.groups import (
    ANY_MODEL_HELP,
    BUDGET,
    DATA,
    DTYPES,
    EVALUATION,
    MACHINE,
    MODELS,
    REWARD,
    RUN,
    SAMPLING,
    THREADS_HELP,
)
from softgrpo.flags import flag
from softgrpo.tournament import RATINGS


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """`softgrpo evaluate`: any model or checkpoint against any other, with any judge, on held-out or own prompts."""

    run: str | None = flag(None, "the run whose settings, prompts and opponent are used (default: output)", group=RUN)
    output_dir: str | None = flag(
        None, "where the results go (default: the run's evaluations, without a run `evaluations`)", group=RUN
    )
    checkpoint: str = flag("final", "of the run: final, base, or a checkpoint such as step-40", group=MODELS)
    model_name: str | None = flag(None, f"a plain model instead of a run's: {ANY_MODEL_HELP}", group=MODELS)
    judge_model_name: str | None = flag(None, "who compares (default: the run's judge)", group=MODELS)
    compare_model_name: str | None = flag(None, "the opponent (default: the run's)", group=MODELS)
    sentinel_judge: str | None = flag(
        None,
        "a judge that is told no criteria and looks on (default: the run's beside the run's judge, none beside "
        "another; without a run embedded:sentinel beside the embedded judge); none switches it off",
        group=MODELS,
    )
    sentinel_pairs: int | None = flag(
        None, "pairs that it looks at, at most (default: the run's; all, or 64 behind a service)", group=MODELS, low=1
    )
    dataset_name: str | None = flag(
        None, "the task: debate, comedy, recipes, or a .yaml or .py file (default: the run's)", group=DATA
    )
    prompts: str | None = flag(
        None, "your own prompts for the task: a .jsonl, .csv, or .txt file of one topic per line", group=DATA
    )
    num_shots: int | None = flag(None, "worked examples in the prompts of a plain model", group=DATA, low=0, high=2)
    prefill: str | None = flag(None, "text that opens a plain model's reply", group=DATA)
    eval_prompts: int | None = flag(
        None,
        "how many prompts (default: the run's number, without a run 32, or all of --prompts)",
        group=EVALUATION,
        low=1,
    )
    eval_samples: int | None = flag(
        None, "answers of each player per prompt (default: the run's)", group=EVALUATION, low=1
    )
    eval_temperature: float | None = flag(
        None, "sampling temperature of plain models (default: 0.9)", group=EVALUATION, low=0, high=10
    )
    max_completion_length: int | None = flag(
        None, "tokens a plain model's reply may have (default: 786)", group=EVALUATION, low=1
    )
    seed: int | None = flag(None, "everything random follows from it", group=EVALUATION, low=0, high=2**62)
    ledger: str | None = flag(
        None, "the file of all judgements (default: verdicts.sqlite of the run, or beside the results)", group=BUDGET
    )
    dtype: str | None = flag(None, "precision of plain models (default: auto)", group=MACHINE, choices=DTYPES)
    device: str = flag("auto", "cpu, cuda, ...", group=MACHINE)
    threads: int = flag(0, THREADS_HELP, group=MACHINE, low=0, high=4096)


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """`softgrpo report`: figures and one page, from what was recorded."""

    run: str = flag("output", "the run's folder", group=RUN)


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """`softgrpo audit`: is this judge fit to train against?"""

    judge_model_name: str = flag("embedded", f"the judge: {ANY_MODEL_HELP}", group=MODELS)
    gold: str | None = flag(
        None,
        "your own pairs: a .csv or .jsonl file with better, worse and, by wish, kind, beside prompt and, by wish, "
        "criteria, or with --dataset_name the fields of that task (default: the packaged ones, on debate)",
        group=DATA,
    )
    dataset_name: str | None = flag(
        None,
        "the task whose fields your pairs have, and whose criteria judge: debate (motion, side), comedy (subject), "
        "recipes (ingredients), or a .yaml or .py file",
        group=DATA,
    )
    evaluator: str | None = flag(
        None,
        "the task whose criteria and format rules judge your pairs (default: the same; a name or a file)",
        group=DATA,
    )
    pairs: int | None = flag(
        None,
        "gold pairs, each in both orders (default: all of them for a judge on this machine, else 96 at most)",
        group=DATA,
        low=1,
    )
    groups: int = flag(8, "round robins among texts of one prompt, for cycles", group=DATA, low=0)
    group_size: int = flag(6, "texts of such a group, at most", group=DATA, low=3, high=64)
    seed: int = flag(0, "which pairs and groups are taken", group=DATA, low=0)
    output: str | None = flag(None, "the JSON file (default: audit_JUDGE.json)", group=RUN)
    ledger: str | None = flag(None, "a file of judgements, where none is paid for twice", group=BUDGET)
    dtype: str = flag("auto", "precision of a local judge", group=MACHINE, choices=DTYPES)
    device: str = flag("auto", "cpu, cuda, ...", group=MACHINE)
    threads: int = flag(0, THREADS_HELP, group=MACHINE, low=0, high=4096)


@dataclass(frozen=True, kw_only=True)
class RescoreConfig:
    """`softgrpo rescore`: the rewards of a recorded run under another rule, without a call."""

    run: str = flag("output", "the run's folder", group=RUN)
    rating: str | None = flag(
        None, "from verdicts to scores (default: the run's)", group=REWARD, choices=tuple(RATINGS)
    )
    shrink_advantages: bool = flag(False, "advantages are shrunk by their reliability", group=REWARD)
    rejudged: bool = flag(False, "with the verdicts that `softgrpo rejudge` has added", group=REWARD)
    min_judged: float | None = flag(
        None,
        "a group with a smaller share of its matches judged has no rewards (default: the run's)",
        group=REWARD,
        low=0,
        high=1,
    )


@dataclass(frozen=True, kw_only=True)
class RejudgeConfig:
    """`softgrpo rejudge`: what a judge failed to answer, of a recorded run or of a ledger, is asked again."""

    run: str | None = flag(None, "the run's folder (default: output, unless a ledger is given alone)", group=RUN)
    dry_run: bool = flag(False, "say how many would be asked, and of whom; ask nothing", group=RUN)
    judge_model_name: str | None = flag(
        None, "of a ledger's judges this one alone, by name or provider:name@address (default: all)", group=MODELS
    )
    seed: int | None = flag(
        None,
        "of the `Scorer` whose ledger it is, from which fences and labels follow (default: 0, as there)",
        group=MODELS,
        low=0,
        high=2**62,
    )
    ledger: str | None = flag(
        None,
        "a ledger whose failures are asked again, without a run; with --run the file of all judgements (default: the "
        "run's)",
        group=BUDGET,
    )
    budget_calls: int | None = flag(
        None, "API calls this command may make, repeated attempts included", group=BUDGET, low=0
    )
    budget_tokens: int | None = flag(None, "tokens that its API calls may read and write", group=BUDGET, low=0)
    budget_usd: float | None = flag(None, "what its API calls may cost, at known prices", group=BUDGET, low=0)
    prices: str | None = flag(
        None, "a YAML file of prices in USD per million tokens (default: the packaged list; check it)", group=BUDGET
    )
    max_concurrency: int = flag(
        32, "calls to a service at once; fewer while it limits their rate", group=BUDGET, low=1, high=1024
    )
    dtype: str | None = flag(None, "precision of a local judge (default: the run's)", group=MACHINE, choices=DTYPES)
    device: str = flag("auto", "cpu, cuda, ...", group=MACHINE)
    threads: int = flag(0, THREADS_HELP, group=MACHINE, low=0, high=4096)


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """`softgrpo sample`: base against trained, side by side, on a topic of the user's own."""

    run: str = flag("output", "the run's folder", group=RUN)
    checkpoint: str = flag("final", "of the run: final, or a checkpoint such as step-40", group=MODELS)
    topic: str = flag("", "what to write about", group=DATA)
    seed: int = flag(0, "another seed gives other texts", group=SAMPLING, low=0)
    temperature: float = flag(0.7, "sampling temperature", group=SAMPLING, low=0, high=10)
    device: str = flag("auto", "cpu, cuda, ...", group=MACHINE)
    threads: int = flag(0, THREADS_HELP, group=MACHINE, low=0, high=4096)
