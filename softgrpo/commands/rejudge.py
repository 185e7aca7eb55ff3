"""`softgrpo rejudge`: what a judge failed to answer, of a recorded run or a ledger, asked again; nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from softgrpo import assembly
from softgrpo.commands.rescore import write_rescored
from softgrpo.config import RejudgeConfig, TrainConfig
from softgrpo.config.evaluation import EvaluationSettings
from softgrpo.errors import UserError
from softgrpo.evaluation.rejudge import Rejudged
from softgrpo.judges.chat.judge import ChatJudge
from softgrpo.model_interface import ModelPool
from softgrpo.models import names
from softgrpo.models.api.errors import APIStop
from softgrpo.reporting.recorder import Recorder
from softgrpo.run_folder import LEDGER, open_run
from softgrpo.spending.ask_again import failures, means
from softgrpo.spending.budget import Budget, load_prices
from softgrpo.spending.ledger import SqliteLedger
from softgrpo.spending.services import asks_about_pairs
from softgrpo.streams import seed_for
from softgrpo.tasks import Tasks
from softgrpo.tournament.rule import Rule


def run(config: RejudgeConfig) -> int:
    """Returns the exit status: 1 where a service or the budget ended it, 130 where it was interrupted."""
    if config.run is None and config.ledger is not None:
        return _of_ledger(config, Path(config.ledger))
    folder, run = open_run(config.run or "output")
    for name in ("judge_model_name", "seed"):
        if getattr(config, name) is not None:
            raise UserError(f"--{name} {getattr(config, name)}: a run has its own; drop it")
    recorder = Recorder(folder)
    if not config.dry_run:
        recorder.hold()
    try:
        return _of_run(config, recorder, run)
    finally:
        recorder.release()


def _of_run(config: RejudgeConfig, recorder: Recorder, run: TrainConfig) -> int:
    folder = recorder.folder
    changes = {} if config.dtype is None else {"dtype": config.dtype}
    settings = EvaluationSettings.of(run, device=config.device, **changes)
    tasks = Tasks.load(settings.task, settings.scoring_task)
    recorder.check_task(assembly.task_record(settings, tasks), "leave the run's failures as they are")
    rejudged = Rejudged(folder)
    failed, judge = rejudged.failed(tasks), settings.judge_model_name
    n = sum(len(f.contest.matches) for f in failed)
    _say_what_comes(n, f"the run in {folder}", (judge,), config)
    if config.dry_run:
        return 0
    status = 0
    if failed:
        assembly.check_players(settings, ("judge_model_name",), settings.device)
        budget = _budget(config, () if settings.judge.is_local else (judge,))
        pool = ModelPool(
            dtype=settings.dtype, device=settings.device, max_concurrency=config.max_concurrency, budget=budget
        )
        _check(judge, pool)
        path = Path(config.ledger or run.ledger or folder / LEDGER)
        ledger = SqliteLedger(path, prices=budget.prices) if asks_about_pairs(settings.judge) else None
        asked = assembly.evaluator(settings, tasks, pool, ledger).judge
        if isinstance(asked, ChatJudge):
            asked.again = True
        status = _ended(
            lambda: rejudged.ask(asked, failed),
            lambda: n - sum(len(f.contest.matches) for f in rejudged.failed(tasks)),
            n,
            budget,
        )
        if status != 130:  # else replies may still be on their way to the ledger
            pool.close()
            if ledger:
                ledger.close()
    if not status and rejudged.lines:
        rule = Rule(rating=run.tournament[1], min_judged=run.min_judged)
        write_rescored(folder, run, rule, shrink=run.shrink_advantages, rejudged=rejudged)
    return status


def _of_ledger(config: RejudgeConfig, path: Path) -> int:
    if not path.is_file():
        raise UserError(f"--ledger {path}: there is no such file; name a ledger, or a run with --run")
    ledger, judge = SqliteLedger(path, prices=load_prices(config.prices)), config.judge_model_name
    known = sorted(ledger.spent())
    if judge is not None and not any(means(judge, name) for name in known):
        raise UserError(
            f"--judge_model_name {judge}: the ledger has nothing of it; it has {', '.join(known) or 'nothing'}"
        )
    before = failures(ledger.unanswered(), judge)
    _say_what_comes(before.n, f"the ledger {path}", before.judges, config)
    for n, why in (
        (before.n_without_question, "kept without their question by an earlier softgrpo: ask what asked them again"),
        (before.n_other_words, "asked in words that are no longer in use: their verdicts would be others"),
        (before.n_unknown_judge, "of judges that no name loads"),
    ):
        if n:
            print(f"{n} more cannot be asked here, {why}")
    status = 0
    if before.n and not config.dry_run:
        for name in before.judges:
            names.check(name)
        budget = _budget(config, before.judges)
        pool = ModelPool(max_concurrency=config.max_concurrency, budget=budget)
        absent = _absent(before.judges, pool)
        secret = str(seed_for(config.seed or 0, "fences")).encode()  # as a `Scorer` draws it

        def ask() -> None:
            for again in before.again:
                if again.judge not in absent:
                    again.ask(pool.get(again.judge), ledger, secret)

        def answered() -> int:
            asked, left = (
                {(a.judge, q) for a in f.again for q in a.questions} for f in (before, failures(ledger.unanswered()))
            )
            return len(asked - left)

        status = _ended(ask, answered, before.n, budget)
        if status != 130:
            pool.close()
        status = status or int(bool(absent))
    if status != 130:
        ledger.close()
    return status


def _absent(judges: tuple[str, ...], pool: ModelPool) -> set[str]:
    """The judges that cannot be asked now, each said; where it is all of them, that is the error."""
    absent: set[str] = set()
    for name in judges:
        try:
            _check(name, pool)
        except UserError as error:
            if len(absent) + 1 == len(judges):
                raise
            print(f"{name} is left out: {error}")
            absent.add(name)
    return absent


def _budget(config: RejudgeConfig, services: tuple[str, ...]) -> Budget:
    """Of this command alone: what a run has spent, and may spend, is the run's."""
    budget = Budget(
        calls=config.budget_calls,
        tokens=config.budget_tokens,
        usd=config.budget_usd,
        prices=load_prices(config.prices),
    )
    for name in services:
        budget.check(names.parse(name))
    return budget


def _check(judge: str, pool: ModelPool) -> None:
    for warning in pool.check(judge):
        print(f"warning: {warning}")


def _say_what_comes(n: int, where: str, judges: tuple[str, ...], config: RejudgeConfig) -> None:
    if not n:
        print(f"{where} has no failed judgement that is unanswered; nobody is asked")
        return
    word = "would" if config.dry_run else "will"
    what = "failed judgements" if n > 1 else "failed judgement"
    print(f"{n} {what} of {where} {word} be asked again of {', '.join(judges)}, unless the ledger knows them by now")


def _ended(ask: Callable[[], None], answered: Callable[[], int], n: int, budget: Budget) -> int:
    """Ask, and say what has come of it however it ends; the exit status."""

    def said() -> str:
        spent, done = budget.spent, answered()
        usd = "an unknown price" if spent.unpriced else f"{spent.usd:.4f} USD"
        paid = f" ({spent.calls} calls, {spent.tokens} tokens, {usd})" if spent.calls else ""
        return f"{done} of {n} answered, {n - done} without a verdict{paid}"

    on = "the same command goes on, and pays for no judgement twice"
    try:
        ask()
    except KeyboardInterrupt:
        print(
            f"interrupted: {said()}; the same command goes on, and pays twice for no more than was under way just now"
        )
        return 130
    except APIStop as stop:  # a service that refuses (a key, a quota), or the budget
        print(f"stopped: {stop}; {said()}; {on}")
        return 1
    except UserError as error:
        raise UserError(f"{error}; {said()}; {on}") from error
    print(said())
    return 0
