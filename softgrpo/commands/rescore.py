"""`softgrpo rescore`: the rewards of a recorded run under another rule, without a call."""

from __future__ import annotations

from typing import Any

from softgrpo.config import RescoreConfig
from softgrpo.errors import UserError
from softgrpo.evaluation.rescore import Rescored, compared, rescored
from softgrpo.files import write_json, write_lines
from softgrpo.run_folder import open_run
from softgrpo.tournament.rule import Rule


def run(config: RescoreConfig) -> int:
    """Write the new rewards beside the record, which stays as it is, and say what would have been different."""
    folder, run = open_run(config.run)
    rating = config.rating or run.tournament[1]
    rule = Rule(rating=rating, min_judged=run.min_judged if config.min_judged is None else config.min_judged)
    groups = list(rescored(folder, rule, shrink=config.shrink_advantages, scale=run.scales_advantages))
    if not groups:
        raise UserError(f"--run {config.run}: holds no recorded groups yet")
    summary = {"rating": rating, "shrink_advantages": config.shrink_advantages, **compared(groups)}
    target = folder / "rescored" / f"{rating}{'_shrunk' if config.shrink_advantages else ''}"
    write_lines(target.with_suffix(".jsonl"), [_line(g) for g in groups])
    write_json(target.with_suffix(".json"), summary)
    for name, value in summary.items():
        print(f"{name.replace('_', ' '):36} {value if not isinstance(value, float) else f'{value:.4f}'}")
    print(f"wrote {target.with_suffix('.jsonl')}")
    return 0


def _line(group: Rescored) -> dict[str, Any]:
    return {
        "step": group.step,
        "prompt_id": group.prompt_id,
        "rewards": group.rewards.tolist(),
        "advantages": group.advantages.tolist(),
        "scores": {name: s.scores.tolist() for name, s in group.standings.items()},
        "stderrs": {name: s.stderrs.tolist() for name, s in group.standings.items()},
        "reliability": group.reliability,
    }
