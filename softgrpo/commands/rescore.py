"""`softgrpo rescore`: the rewards of a recorded run under another rule, without a call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from softgrpo.config import RescoreConfig, TrainConfig
from softgrpo.errors import UserError
from softgrpo.evaluation.rejudge import REJUDGED, Rejudged
from softgrpo.evaluation.rescore import Rescored, compared, rescored
from softgrpo.files import write_json, write_lines
from softgrpo.run_folder import open_run
from softgrpo.tournament.rule import Rule


def run(config: RescoreConfig) -> int:
    """Write the new rewards beside the record, which stays as it is, and say what would have been different."""
    folder, run = open_run(config.run)
    if config.rejudged and not (folder / REJUDGED).exists():
        raise UserError(
            f"--rejudged: {folder} holds no {REJUDGED}; ask what failed again with `softgrpo rejudge`, or drop it"
        )
    rating = config.rating or run.tournament[1]
    rule = Rule(rating=rating, min_judged=run.min_judged if config.min_judged is None else config.min_judged)
    later = Rejudged(folder) if config.rejudged else None
    write_rescored(folder, run, rule, shrink=config.shrink_advantages, rejudged=later)
    return 0


def write_rescored(
    folder: Path, run: TrainConfig, rule: Rule, *, shrink: bool, rejudged: Rejudged | None = None
) -> None:
    """The rewards by that rule, and over all of them what is different; printed, and in `rescored/` of the folder."""
    later = {} if rejudged is None else {"completed": rejudged.completed}
    groups = list(rescored(folder, rule, shrink=shrink, scale=run.scales_advantages, **later))
    if not groups:
        raise UserError(f"--run {folder}: holds no recorded groups yet")
    summary = {"rating": rule.rating, "shrink_advantages": shrink, **compared(groups)}
    summary |= {} if rejudged is None else rejudged.counts()
    name = f"{rule.rating}{'_shrunk' if shrink else ''}{'' if rejudged is None else '_rejudged'}"
    target = folder / "rescored" / name
    write_lines(target.with_suffix(".jsonl"), [_line(g) for g in groups])
    write_json(target.with_suffix(".json"), summary)
    for name, value in summary.items():
        print(f"{name.replace('_', ' '):36} {value if not isinstance(value, float) else f'{value:.4f}'}")
    print(f"wrote {target.with_suffix('.jsonl')}")


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
