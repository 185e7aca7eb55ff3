"""`softgrpo serve`: a scorer on a port, until it is told to end."""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

from softgrpo.config import ServeConfig
from softgrpo.errors import UserError
from softgrpo.integrations.serve_client import token_of
from softgrpo.judges.by_name import check_judge
from softgrpo.model_interface import ModelPool
from softgrpo.models import names
from softgrpo.rewards.compose import FORMAT_PARTS
from softgrpo.run_folder import LEDGER
from softgrpo.scorer import Scorer
from softgrpo.scoring_task import OWN, scoring_task
from softgrpo.spending.budget import Budget, load_prices
from softgrpo.spending.ledger import SqliteLedger
from softgrpo.spending.services import asks_about_pairs
from softgrpo.tasks import Task

COHORTS = "cohorts.sqlite"


def run(config: ServeConfig) -> int:
    """Everything that can be wrong is said before the port opens. Exit status 0 after SIGTERM, 130 after Ctrl-C."""
    check(config)
    try:
        from softgrpo.serving.app import make_app
        from softgrpo.serving.server import bound, serve, url
    except ImportError as error:
        raise UserError(f"softgrpo serve needs {error.name}; pip install 'softgrpo[serve]'") from None
    logging.basicConfig(format="softgrpo: %(message)s")
    token = token_of()
    with ExitStack() as opened:
        sock = opened.enter_context(bound(config.host, config.port, has_token=token is not None))
        scorer = open_scorer(config, opened)
        ledger = ledger_of(config)
        app = make_app(
            scorer,
            token=token,
            max_body_mb=config.max_body_mb,
            max_text_chars=config.max_text_chars,
            max_group=config.max_group,
            cohort_deadline_s=config.cohort_deadline_s,
            cohorts=config.cohorts or str((ledger.parent if ledger else Path()) / COHORTS),
            keep_hours=config.keep_hours,
        )
        opened.callback(app.state.service.close)
        at = url(config.host, sock)
        line = f"softgrpo serves {scorer.task.name} under {config.judge_model_name} at {at} (docs at /docs)"
        number, is_done = serve(app, sock, listening=lambda: print(line, flush=True))
    status = 130 if number == signal.SIGINT else 0
    if not is_done:  # a thread that waits for a judge cannot be told to end, and would be waited for
        sys.stdout.flush()
        os._exit(status)
    return status


def check(config: ServeConfig) -> None:
    """What can be said of the flags alone."""
    if (config.dataset_name is None) == (config.criteria is None):
        what = "both are given" if config.criteria is not None else "neither is given"
        raise UserError(f"--dataset_name or --criteria: {what}; give a task, or what makes an answer better")
    if config.shrink_advantages:
        raise UserError("--shrink_advantages: a server gives rewards, and its client the advantages; drop it")
    if config.sameness_weight:
        raise UserError(
            f"--sameness_weight {config.sameness_weight:g}: compares the answers of a run's iterations in their order, "
            "which a server does not know; drop it"
        )
    for name in ("ledger", "cohorts"):
        if (path := getattr(config, name)) and Path(path).is_dir():
            raise UserError(f"--{name} {path}: is a folder; name a file")
    check_judge(config.judge_model_name)
    names.check(config.judge_model_name)
    if names.parse(config.judge_model_name).is_local:
        from softgrpo.models.loading import pick_device  # which needs torch, and a service does not

        pick_device(config.device)


def open_scorer(config: ServeConfig, opened: ExitStack) -> Scorer:
    """The scorer on a pool of its own, after its service was asked whether it serves the judge."""
    task = scoring_task(config.dataset_name, config.criteria, config.format or OWN)
    judge = names.parse(config.judge_model_name)
    prices = load_prices(config.prices)
    budget = Budget(calls=config.budget_calls, tokens=config.budget_tokens, usd=config.budget_usd, prices=prices)
    if not judge.is_local:
        budget.check(judge)
    pool = ModelPool(dtype=config.dtype, device=config.device, max_concurrency=config.max_concurrency, budget=budget)
    opened.callback(pool.close)
    for warning in pool.check(config.judge_model_name):
        print(f"warning: {warning}")
    path = ledger_of(config)
    ledger = opened.enter_context(SqliteLedger(path, prices=prices)) if path else None
    scorer = Scorer(
        task=config.dataset_name,
        criteria=config.criteria,
        format=config.format or OWN,
        judge=config.judge_model_name,
        weights=weights(config, task, judge_is_local=judge.is_local),
        judge_calls_per_group=config.judge_calls_per_group,
        schedule=config.schedule,
        orders=config.judge_orders,
        rating=config.rating,
        votes=config.judge_votes,
        min_judged=config.min_judged,
        canary_rate=config.canary_rate,
        ledger=ledger,
        seed=config.seed,
        models=pool,
    )
    return opened.enter_context(scorer)


def ledger_of(config: ServeConfig) -> Path | None:
    """The file of judgements, where there is one: a judge that scores single texts keeps none."""
    if asks_about_pairs(names.parse(config.judge_model_name)):
        return Path(config.ledger or LEDGER)
    return None


def weights(config: ServeConfig, task: Task, *, judge_is_local: bool) -> dict[str, float]:
    """Of the flags' weights those of parts that the task has."""
    parts = {*task.weights, *(FORMAT_PARTS if task.format else ())}
    given = config.weights(judge_is_local=judge_is_local)
    return {name: weight for name, weight in given.items() if name in parts}
