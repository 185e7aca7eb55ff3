"""What a run asks of services: the ledger of its judgements, its budget, and what it has spent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softgrpo.config.train import TrainConfig
from softgrpo.errors import UserError
from softgrpo.model_interface import ModelPool
from softgrpo.models import names
from softgrpo.run_folder import LEDGER, SPENDING, recorded_config
from softgrpo.spending.budget import Budget, SpendingFile, Spent, load_prices
from softgrpo.spending.ledger import SqliteLedger
from softgrpo.tasks.task import digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The ledger and the budget of a run."""

    ledger: SqliteLedger | None
    """None where no judge is asked about pairs"""
    budget: Budget

    def close(self) -> None:
        """Close the ledger; everything is in it already."""
        if self.ledger:
            self.ledger.close()

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


def asks_about_pairs(judge: names.ModelName) -> bool:
    """The judge is asked about two texts at a time, rather than scoring each."""
    return judge.provider != names.EMBEDDED or judge.name == "prompt"


def check_spending(config: TrainConfig) -> Budget:
    """What can be said of prices and limits before anything is asked; the run's budget."""
    if config.ledger and Path(config.ledger).is_dir():
        raise UserError(f"--ledger {config.ledger}: is a folder; name a file")
    budget = open_budget(config)
    for name in config.services:
        budget.check(names.parse(name))
    return budget


def open_budget(config: TrainConfig) -> Budget:
    """The run's budget with what was spent before. Spending belongs to the run's folder, whatever its ledger."""
    file = SpendingFile(Path(config.output_dir) / SPENDING)
    return Budget(
        calls=config.budget_calls,
        tokens=config.budget_tokens,
        usd=config.budget_usd,
        prices=load_prices(config.prices),
        before=_before(config, file) if config.services else Spent(),
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
    begun, own = recorded_config(folder), (folder / LEDGER).resolve()
    shared = {f"spent/{digest(str(Path(name).resolve()))}" for name in (folder, begun.output_dir)}
    for path in sorted({own, *(Path(name).resolve() for name in (begun.ledger, config.ledger) if name)}):
        if path.is_file():
            with SqliteLedger(path) as ledger:
                for name in shared | ({"spent"} if path == own else set()):
                    found = found.plus(Spent(**ledger.noted(name)))
    return found


def open_services(config: TrainConfig, pool: ModelPool) -> Services:
    """The run's ledger, and its budget in the hands of every service."""
    budget, ledger = open_budget(config), None
    pool.budget = budget
    if config.services or any(judge and asks_about_pairs(judge) for judge in (config.judge, config.sentinel)):
        ledger = SqliteLedger(config.ledger or Path(config.output_dir) / LEDGER, prices=budget.prices)
    return Services(ledger=ledger, budget=budget)
