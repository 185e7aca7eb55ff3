"""From a configuration to judge and evaluator, for a run and for an evaluation; what can be wrong is found first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from softgrpo.auditing.gold import packaged
from softgrpo.config.evaluation import Settings
from softgrpo.config.players import EMBEDDED_SENTINEL, ModelFlags, TaskFlags
from softgrpo.errors import UserError
from softgrpo.evaluator import Evaluator
from softgrpo.files import file_name
from softgrpo.judges.by_name import check_judge, load_judge
from softgrpo.judges.neutral import neutral
from softgrpo.model_interface import ModelPool
from softgrpo.models import names
from softgrpo.models.loading import pick_device
from softgrpo.records import Judge, Ledger
from softgrpo.rewards.compose import FORMAT_PARTS
from softgrpo.spending.estimate import plan
from softgrpo.streams import seed_for
from softgrpo.tasks import Task, Tasks
from softgrpo.tasks.task import fingerprint
from softgrpo.tournament.rule import Rule


def check_players(config: ModelFlags, flags: Sequence[str], device: str) -> None:
    """The models' names, the judge's part, the device."""
    check_judge(config.judge_model_name)
    for flag in flags:
        check_name(flag, getattr(config, flag))
    pick_device(device)


def check_name(flag: str, name: str) -> None:
    """A model's name is one, its folder exists, its key is there."""
    try:
        names.check(name)
    except UserError as error:
        raise UserError(f"--{flag}: {error}") from None


def check_sentinel(config: ModelFlags, task: Task) -> None:
    """The sentinel is a judge, and another than the one it watches."""
    name = config.sentinel_name
    if name is None:
        if config.sentinel_pairs is not None:
            raise UserError(
                f"--sentinel_pairs {config.sentinel_pairs}: there is no sentinel; name one with --sentinel_judge"
            )
        return
    check_name("sentinel_judge", name)
    check_judge(name)
    if config.sentinel == config.judge or file_name(name) == file_name(config.judge_model_name):
        raise UserError(f"--sentinel_judge {name}: is the judge itself; name another, or none")
    if config.sentinel_judge == EMBEDDED_SENTINEL and not _is_of_motions(task):
        raise UserError(
            f"--sentinel_judge {name}: knows arguments for and against motions alone, and {task.name} has none; name "
            "another, or none"
        )


def check_services(config: ModelFlags, pool: ModelPool) -> None:
    """Services are asked whether they serve judge, opponent and sentinel, on the pool's budget from the first word
    on."""
    for name in sorted({config.judge_model_name, config.compare_model_name, config.sentinel_name or ""} - {""}):
        for warning in pool.check(name):
            print(f"warning: {warning}")


def check_shots(config: TaskFlags, task: Task) -> None:
    """There are as many worked examples as are asked for."""
    there = len(task.examples)
    if (config.num_shots or 0) > there:
        raise UserError(f"--num_shots {config.num_shots}: {task.name} has {there} worked examples; ask for {there}")


def check_eval_prompts(config: Settings, task: Task) -> None:
    """There are as many held-out prompts as are asked for."""
    there = len(task.test)
    if config.eval_prompts > there:
        raise UserError(
            f"--eval_prompts {config.eval_prompts}: {config.task} has {there} held-out prompts; "
            f"give --eval_prompts {there}"
        )


def task_record(config: Settings, tasks: Tasks) -> dict[str, Any]:
    """What is recorded of a run's task: by its fingerprint a resumed run knows that the task is the same."""
    parts = {"dataset": tasks.dataset, "evaluator": tasks.scoring}
    return {
        **{what: {"name": t.name, "fingerprint": fingerprint(t), "format": t.format} for what, t in parts.items()},
        "format": tasks.scoring.format,
        "n_train": len(tasks.dataset.train),
        "n_test": len(tasks.dataset.test),
        "objectives": {o.name: o.criteria for o in tasks.scoring.objectives},
        "ties": [o.name for o in tasks.scoring.objectives if o.ties],
        "weights": weights(config, tasks.scoring),
    }


def weights(config: Settings, task: Task) -> dict[str, float]:
    """The weights in force: the task's own, and over them those of the configuration that its form leaves."""
    given = config.weights(judge_is_local=config.judge.is_local)
    absent = () if task.format else {*FORMAT_PARTS, "reasoning"} - task.weights.keys()
    return task.weights | {name: weight for name, weight in given.items() if name not in absent}


def evaluator(config: Settings, tasks: Tasks, pool: ModelPool, ledger: Ledger | None = None) -> Evaluator:
    """The judge with the criteria it is to judge by; what the ledger knows is not asked."""
    return Evaluator(
        tasks.scoring,
        _judge(config, config.judge_model_name, pool, ledger),
        weights(config, tasks.scoring),
        plan=plan(config),
        rule=Rule(rating=config.tournament[1], min_judged=config.min_judged),
        canary_rate=config.canary_rate,
        gold=[p.contest for p in packaged("tune")] if config.scoring_task == "debate" else (),
    )


def sentinel(config: Settings, tasks: Tasks, pool: ModelPool, ledger: Ledger | None = None) -> Evaluator | None:
    """Another judge, which is told nothing of the criteria; None where there is to be none, or where the one by default
    knows nothing of the task."""
    unfit = config.sentinel_judge is None and not _is_of_motions(tasks.dataset)
    if config.sentinel_name is None or unfit:
        return None
    blind = replace(tasks.scoring, objectives=tuple(neutral(o) for o in tasks.scoring.objectives))
    return Evaluator(blind, _judge(config, config.sentinel_name, pool, ledger), {})


def _is_of_motions(task: Task) -> bool:
    return any("motion" in question.meta for question in task.test)


def _judge(config: Settings, name: str, pool: ModelPool, ledger: Ledger | None) -> Judge:
    return load_judge(
        name,
        models=pool,
        votes=config.judge_votes,
        ledger=ledger,
        # fences follow from it: the policy cannot foresee them, and a run can be repeated
        secret=str(seed_for(config.seed, "fences")).encode(),
    )
