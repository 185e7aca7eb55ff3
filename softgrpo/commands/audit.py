"""`softgrpo audit`: the table, the file, the verdict in words."""

from __future__ import annotations

from pathlib import Path

from softgrpo.auditing import gold
from softgrpo.auditing.audit import audit, n_calls
from softgrpo.auditing.words import table, verdict
from softgrpo.config import AuditConfig
from softgrpo.files import file_name, write_json
from softgrpo.judges.by_name import check_judge, load_judge
from softgrpo.model_interface import ModelPool
from softgrpo.models import names
from softgrpo.records import Usage
from softgrpo.spending.budget import load_prices
from softgrpo.spending.ledger import SqliteLedger


def run(config: AuditConfig) -> int:
    """Ask, print and write; exit status 0 whatever the verdict."""
    check_judge(config.judge_model_name)
    names.check(config.judge_model_name)
    pairs = gold.from_file(Path(config.gold)) if config.gold else gold.packaged()
    size = {"pairs": config.pairs, "groups": config.groups, "group_size": config.group_size, "seed": config.seed}
    pool = ModelPool(dtype=config.dtype, device=config.device)
    for warning in pool.check(config.judge_model_name):
        print(f"warning: {warning}")
    print(f"{config.judge_model_name}: {n_calls(pairs, **size)} matches")
    ledger = SqliteLedger(config.ledger) if config.ledger else None
    judge = load_judge(config.judge_model_name, models=pool, ledger=ledger)
    found = audit(judge, pairs, **size)
    word, reasons = verdict(found)
    read, written = (round(n) for n in found.tokens_per_1000)
    usd = load_prices().cost(names.parse(config.judge_model_name), Usage(input_tokens=read, output_tokens=written))
    cost = "unknown" if usd is None else f"{usd:.2f}"
    print(f"\n{table(found)}\n{'USD per 1,000 matches':34} {cost}")
    print(f"\n{config.judge_model_name} is {word} to train against:")
    for reason in reasons:
        print(f"- {reason}")
    path = Path(config.output or f"audit_{file_name(config.judge_model_name)}.json")
    write_json(
        path,
        {
            "verdict": word,
            "reasons": reasons,
            "gold": config.gold or "packaged",
            "usd_per_1000": usd,
            **found.to_dict(),
        },
    )
    print(f"\nwrote {path}")
    return 0
