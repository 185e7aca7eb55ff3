"""From a configuration to judge and evaluator, for a run and for an evaluation; what can be wrong is found first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from softgrpo.auditing.gold import packaged
from softgrpo.config.evaluation import Settings
from softgrpo.config.players import ModelFlags, TaskFlags
from softgrpo.errors import UserError
from softgrpo.evaluator import Evaluator
from softgrpo.judges.by_name import check_judge, load_judge
from softgrpo.model_interface import ModelPool
from softgrpo.models import names
from softgrpo.models.loading import pick_device
from softgrpo.records import Ledger
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


def check_services(config: ModelFlags, pool: ModelPool) -> None:
    """Services are asked whether they serve the judge and the opponent, on the pool's budget from the first word on."""
    for name in sorted({config.judge_model_name, config.compare_model_name}):
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
    judge = load_judge(
        config.judge_model_name,
        models=pool,
        votes=config.judge_votes,
        ledger=ledger,
        # fences follow from it: the policy cannot foresee them, and a run can be repeated
        secret=str(seed_for(config.seed, "fences")).encode(),
    )
    return Evaluator(
        tasks.scoring,
        judge,
        weights(config, tasks.scoring),
        plan=plan(config),
        rule=Rule(rating=config.tournament[1], min_judged=config.min_judged),
        canary_rate=config.canary_rate,
        gold=[p.contest for p in packaged("tune")] if config.scoring_task == "debate" else (),
    )
