"""What a run asks of services: the ledger of its judgements, its budget, and what it has spent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softgrpo.budget import Budget, load_prices
from softgrpo.config import TrainConfig
from softgrpo.errors import UserError
from softgrpo.judging.ledger import Ledger
from softgrpo.model_interface import load_model
from softgrpo.models import names
from softgrpo.tasks.task import digest

LEDGER = "verdicts.sqlite"


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
    roles = (config.judge_model_name, config.compare_model_name)
    return [name for name in sorted(set(roles)) if not names.parse(name).is_local]


def check(config: TrainConfig) -> None:
    """What can be said of prices and limits before anything is asked."""
    prices = load_prices(config.prices)
    limits = Budget(usd=config.budget_usd, prices=prices)
    for name in services_of(config):
        limits.check(names.parse(name))
        model: Any = load_model(name)
        model.max_concurrency = config.max_concurrency  # before its first call
    if config.ledger and Path(config.ledger).is_dir():
        raise UserError(f"--ledger {config.ledger}: is a folder; name a file")


def open_services(config: TrainConfig, folder: Path) -> Services:
    """The run's ledger, its budget with what was spent before, and the budget in the hands of every service."""
    asked = services_of(config)
    prices = load_prices(config.prices)
    ledger = None
    if asked or asks_about_pairs(config.judge_model_name):
        ledger = Ledger(config.ledger or folder / LEDGER, prices=prices)
    # runs that share a ledger have budgets of their own
    note = f"spent/{digest(str(folder.resolve()))}" if config.ledger else "spent"
    budget = Budget(
        calls=config.budget_calls,
        tokens=config.budget_tokens,
        usd=config.budget_usd,
        prices=prices,
        keep=(lambda state: ledger.note(note, state)) if ledger else None,
    )
    if ledger:
        budget.restore(ledger.noted(note))
    for name in asked:
        service: Any = load_model(name)
        service.budget = budget
    return Services(ledger=ledger, budget=budget)
