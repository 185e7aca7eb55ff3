"""`softgrpo audit`: the table, the file, the verdict in words."""

from __future__ import annotations

from pathlib import Path

from softgrpo.auditing.audit import audit, n_calls
from softgrpo.auditing.gold import GoldPair, packaged
from softgrpo.auditing.gold_file import from_file
from softgrpo.auditing.words import table, verdict
from softgrpo.config import AuditConfig
from softgrpo.config.players import TASK_ALIASES
from softgrpo.errors import UserError
from softgrpo.files import file_name, write_json
from softgrpo.judges.by_name import check_judge, load_judge
from softgrpo.model_interface import ModelPool
from softgrpo.models import names
from softgrpo.records import Usage
from softgrpo.reporting.console import harmless
from softgrpo.spending.budget import load_prices
from softgrpo.spending.ledger import SqliteLedger
from softgrpo.tasks import Tasks

PACKAGED = "debate"
"""the task of the packaged pairs"""
PAIRS_OF_A_SERVICE = 96
"""that are asked about unless somebody wants more: they cost money, and an audit has no budget"""


def run(config: AuditConfig) -> int:
    """Ask, print and write; exit status 0 whatever the verdict."""
    check_judge(config.judge_model_name)
    names.check(config.judge_model_name)
    pairs = gold_pairs(config)
    model = names.parse(config.judge_model_name)
    most = config.pairs or (len(pairs) if model.is_local else PAIRS_OF_A_SERVICE)
    size = {"pairs": most, "groups": config.groups, "group_size": config.group_size, "seed": config.seed}
    pool = ModelPool(dtype=config.dtype, device=config.device)
    for warning in pool.check(config.judge_model_name):
        print(f"warning: {warning}")
    n = n_calls(pairs, **size)
    tables = " and of round robins" if n > 2 * min(most, len(pairs)) else ""
    print(f"{config.judge_model_name}: {n} matches, of {_how_many(most, len(pairs))}{tables}")
    ledger = SqliteLedger(config.ledger) if config.ledger else None
    judge = load_judge(config.judge_model_name, models=pool, ledger=ledger)
    found = audit(judge, pairs, **size)
    word, reasons = verdict(found)
    read, written = (round(n) for n in found.tokens_per_1000)
    usd = load_prices().cost(model, Usage(input_tokens=read, output_tokens=written))
    cost = "unknown" if usd is None else f"{usd:.2f}"
    print(harmless(f"\n{table(found)}\n{'USD per 1,000 matches':34} {cost}"))
    print(f"\n{config.judge_model_name} is {word} to train against:")
    for reason in reasons:
        print(harmless(f"- {reason}"))
    path = Path(config.output or f"audit_{file_name(config.judge_model_name)}.json")
    write_json(
        path,
        {
            "verdict": word,
            "reasons": reasons,
            "gold": config.gold or "packaged",
            "dataset": config.dataset_name or (None if config.gold else PACKAGED),
            "evaluator": config.evaluator,
            "n_gold": len(pairs),
            "usd_per_1000": usd,
            **found.to_dict(),
        },
    )
    print(f"\nwrote {path}")
    return 0


def gold_pairs(config: AuditConfig) -> tuple[GoldPair, ...]:
    """The pairs there are to ask about. Raises `UserError` for what is no file, no task, or no pair of it."""
    if config.dataset_name is None:
        if config.evaluator is not None:
            raise UserError(f"--evaluator {config.evaluator}: say with --dataset_name whose fields your pairs have")
        return from_file(Path(config.gold)) if config.gold else packaged()
    asks = TASK_ALIASES.get(config.dataset_name, config.dataset_name)
    scores = TASK_ALIASES.get(config.evaluator, config.evaluator) if config.evaluator else asks
    tasks = Tasks.load(asks, scores)
    if config.gold:
        return from_file(Path(config.gold), tasks)
    if (asks, scores) != (PACKAGED, PACKAGED):
        named = f"--evaluator {config.evaluator}" if config.evaluator else f"--dataset_name {config.dataset_name}"
        raise UserError(f"{named}: the packaged pairs are of {PACKAGED}; give your own with --gold FILE")
    return packaged()


def _how_many(most: int, there: int) -> str:
    """How many pairs are asked about.

    >>> _how_many(340, 340), _how_many(96, 340)
    ('all 340 gold pairs', '96 of 340 gold pairs (--pairs 340 takes all)')
    """
    return f"{most} of {there} gold pairs (--pairs {there} takes all)" if most < there else f"all {there} gold pairs"
