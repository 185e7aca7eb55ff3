"""What a run asks of services: the ledger of its judgements, its budget, and what it has spent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softgrpo.budget import Budget, SpendingFile, Spent, load_prices
from softgrpo.config import TrainConfig
from softgrpo.errors import UserError
from softgrpo.judging.ledger import Ledger
from softgrpo.model_interface import load_model
from softgrpo.models import names
from softgrpo.tasks.task import digest
from softgrpo.training.again import asked

LEDGER = "verdicts.sqlite"
SPENDING = "spending.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The ledger and the budget of a run."""

    ledger: Ledger | None
    """None where no judge is asked about pairs"""
    budget: Budget

    def spending(self, before: int, done: int, left: int) -> dict[str, Any]:
        """For the metrics: spent so far, and what the iterations that are left will take at the pace of those done.

        `before` is how many calls had been made when this process began its `done` iterations.
        """
        spent = self.budget.spent
        if not spent.calls:
            return {}
        pace = (spent.calls - before) / max(done, 1)
        usd = spent.usd / spent.calls if not spent.unpriced else float("nan")
        return {
            "spent_calls": spent.calls,
            "spent_tokens": spent.tokens,
            "spent_usd": spent.usd if not spent.unpriced else float("nan"),
            "calls_to_come": round(pace * left),
            "usd_to_come": pace * left * usd,
        }


def asks_about_pairs(judge: str) -> bool:
    """The judge is asked about two texts at a time, rather than scoring each."""
    model = names.parse(judge)
    return model.provider != names.EMBEDDED or model.name == "prompt"


def services_of(config: TrainConfig) -> list[str]:
    """The names of the run's models that are behind a service."""
    roles = (config.model_name, config.judge_model_name, config.compare_model_name)
    return [name for name in sorted(set(roles)) if not names.parse(name).is_local]


def check(config: TrainConfig) -> Budget:
    """What can be said of prices and limits before anything is asked; the run's budget."""
    if config.ledger and Path(config.ledger).is_dir():
        raise UserError(f"--ledger {config.ledger}: is a folder; name a file")
    budget = open_budget(config)
    for name in services_of(config):
        budget.check(names.parse(name))
        model: Any = load_model(name)
        model.max_concurrency = config.max_concurrency  # before its first call
    return budget


def put_on_budget(config: TrainConfig, budget: Budget | None) -> None:
    """From now on `budget` allows and counts what the services are asked; None where nobody does."""
    for name in services_of(config):
        service: Any = load_model(name)
        service.budget = budget


def open_budget(config: TrainConfig) -> Budget:
    """The run's budget with what was spent before. Spending belongs to the run's folder, whatever its ledger."""
    file = SpendingFile(Path(config.output_dir) / SPENDING)
    return Budget(
        calls=config.budget_calls,
        tokens=config.budget_tokens,
        usd=config.budget_usd,
        prices=load_prices(config.prices),
        before=_before(config, file) if services_of(config) else Spent(),
        keep=file.write,
    )


def _before(config: TrainConfig, file: SpendingFile) -> Spent:
    """What the run has spent so far."""
    if (spent := file.read()) is not None:
        return spent
    earlier = _noted(config, file.path.parent)
    if earlier.calls:
        file.write(earlier)  # at once: when the run has another ledger the note will not be found
    return earlier


def _noted(config: TrainConfig, folder: Path) -> Spent:
    """What a run of an earlier version has spent, which has no file of it and noted it in the ledger that it used."""
    found = Spent()
    if not (folder / "args.json").exists():
        return found
    begun, own = asked(folder), (folder / LEDGER).resolve()
    shared = {f"spent/{digest(str(Path(name).resolve()))}" for name in (folder, begun.output_dir)}
    for path in sorted({own, *(Path(name).resolve() for name in (begun.ledger, config.ledger) if name)}):
        if path.is_file():
            with Ledger(path) as ledger:
                for name in shared | ({"spent"} if path == own else set()):
                    found = found.plus(Spent(**ledger.noted(name)))
    return found


def open_services(config: TrainConfig) -> Services:
    """The run's ledger, and its budget in the hands of every service."""
    budget, ledger = open_budget(config), None
    put_on_budget(config, budget)
    if services_of(config) or asks_about_pairs(config.judge_model_name):
        ledger = Ledger(config.ledger or Path(config.output_dir) / LEDGER, prices=budget.prices)
    return Services(ledger=ledger, budget=budget)
