"""What can be said against a run before anything is loaded, cheapest first."""

from __future__ import annotations

from pathlib import Path

from softgrpo import assembly
from softgrpo.config.train import TrainConfig
from softgrpo.errors import UserError
from softgrpo.flags import check_fields
from softgrpo.model_interface import ModelPool
from softgrpo.spending.services import check_spending
from softgrpo.tasks import Tasks


def check(config: TrainConfig, pool: ModelPool, tasks: Tasks | None = None) -> Tasks:
    """Raises `UserError` in one line; returns the tasks, loaded. Services are asked last, on the run's budget."""
    check_fields(config)  # it may have been made in Python
    tasks = tasks or Tasks.load(config.task, config.scoring_task)
    assembly.check_shots(config, tasks.dataset)
    assembly.check_players(config, ("model_name", "judge_model_name", "compare_model_name"), config.device)
    assembly.check_sentinel(config, tasks.dataset)
    _check_flags(config)
    assembly.check_eval_prompts(config, tasks.dataset)
    if Path(config.output_dir).exists() and not Path(config.output_dir).is_dir():
        raise UserError(f"--output_dir {config.output_dir}: is a file; name a folder")
    pool.budget = check_spending(config)
    assembly.check_services(config, pool)
    return tasks


def _check_flags(config: TrainConfig) -> None:
    """Those that do not go together."""
    if not config.policy.is_local:
        raise UserError(f"--model_name {config.model_name}: an API model cannot be trained; name a local one")
    if config.update_ref_model and config.use_lora:
        raise UserError(
            "--update_ref_model moves a full copy of the weights, which --use_lora avoids; drop one of them"
        )
    if config.update_ref_model and not config.kl_weight_beta:
        raise UserError("--update_ref_model needs a reference, but --kl_weight_beta 0 has none; drop one of them")
    if config.max_staleness and config.judge.is_local:
        raise UserError(
            f"--max_staleness {config.max_staleness} hides the time of a judge behind a service, and "
            f"{config.judge_model_name} computes on this machine; drop it"
        )
    every, updates = config.eval_iterations, config.gradient_accumulation_steps
    if config.on_alarm == "best" and every < config.num_train_iters and every % updates:
        raise UserError(
            f"--on_alarm best goes back to weights that were evaluated, and --eval_iterations {every} does not fall on "
            f"updates, which come every {updates} iterations; give --eval_iterations {-(-every // updates) * updates}"
        )
    fewest = config.num_chains - 1
    if config.judge_calls_per_group is not None and config.judge_calls_per_group < fewest:
        raise UserError(
            f"--judge_calls_per_group {config.judge_calls_per_group}: {config.num_chains} completions need at least "
            f"{fewest} matches to be compared at all; give {2 * config.num_chains} or more"
        )
