"""`softgrpo rescore`: the rewards of a recorded run under another rule, without a call."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softgrpo.config import RescoreConfig
from softgrpo.errors import UserError
from softgrpo.files import read_lines, write_json, write_lines
from softgrpo.grpo.advantages import advantages, estimated_reliability, is_flat
from softgrpo.records import Match, Standing, Verdict
from softgrpo.reporting.measure import pooled
from softgrpo.rewards.compose import compose, reward_stderrs
from softgrpo.tournament.rating import Bias, learned
from softgrpo.tournament.rule import Rule
from softgrpo.training.again import open_run


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescored:
    """One recorded group under another rule."""

    step: int
    prompt_id: str
    standings: Mapping[str, Standing]
    rewards: np.ndarray
    """[G]"""
    advantages: np.ndarray
    """[G]"""
    reliability: float
    recorded_rewards: np.ndarray
    """[G] as the run had them"""


def rescore(config: RescoreConfig) -> int:
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


def rescored(folder: Path, rule: Rule, *, shrink: bool = False, scale: bool = True) -> Iterator[Rescored]:
    """Every recorded group in order; what is learned of the judge goes from step to step as in the run."""
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    biases: dict[str, Bias] = {}
    for path in sorted((folder / "groups").glob("step_*.jsonl")):
        lines = read_lines(path)
        judged = [verdicts_of(line) for line in lines]
        for line, verdicts in zip(lines, judged, strict=True):
            yield _one(int(path.stem.removeprefix("step_")), line, verdicts, task, biases, rule, shrink, scale)
        for name in {name for verdicts in judged for name in verdicts}:
            told = [(len(line["completions"]), v[name]) for line, v in zip(lines, judged, strict=True) if v.get(name)]
            if not any(v.how == "scores" for _, verdicts in told for v in verdicts):
                biases[name] = learned(biases.get(name, Bias()), told)


def verdicts_of(line: Mapping[str, Any]) -> dict[str, list[Verdict]]:
    """A recorded group's verdicts, by objective."""
    found: dict[str, list[Verdict]] = {}
    for v in line["verdicts"]:
        match = Match(first=v["first"], second=v["second"], objective=v["objective"])
        verdict = Verdict(match=match, p_first=v["p_first"], how=v["how"], reply=v["reply"], failure=v["failure"])
        found.setdefault(v["objective"], []).append(verdict)
    return found


def compared(groups: list[Rescored]) -> dict[str, Any]:
    """What is different from the record, over all groups."""
    both = [(g.rewards, g.recorded_rewards) for g in groups]
    correlations = [_correlation(a, b) for a, b in both]
    standings = [s for g in groups for s in g.standings.values()]
    return {
        "n_groups": len(groups),
        "n_flat_groups": sum(is_flat(g.rewards) for g in groups),
        "n_without_reward": int(sum(np.isnan(g.rewards).sum() for g in groups)),
        "n_unjudged": sum(s.n_unjudged for s in standings),
        "n_cyclic_triads": sum(s.n_cyclic_triads for s in standings),
        "position_bias": _mean([s.position_bias for s in standings]),
        "reliability": pooled([g.reliability for g in groups], [g.rewards for g in groups]),
        "correlation_with_recorded_rewards": _mean(correlations),
        "largest_change_of_a_reward": float(np.nanmax([0.0, *(np.abs(a - b).max() for a, b in both)])),
    }


def _one(
    step: int,
    line: Mapping[str, Any],
    verdicts: Mapping[str, list[Verdict]],
    task: Mapping[str, Any],
    biases: Mapping[str, Bias],
    rule: Rule,
    shrink: bool,
    scale: bool,
) -> Rescored:
    completions = line["completions"]
    standings = {
        name: rule.standing(len(completions), found, bias=biases.get(name, Bias()), ties=name in task.get("ties", ()))
        for name, found in verdicts.items()
    }
    parts = {
        name: np.array([np.nan if c["reward_parts"][name] is None else c["reward_parts"][name] for c in completions])
        for name in completions[0]["reward_parts"]
    } | {name: standing.scores for name, standing in standings.items()}
    rewards = compose(parts, task["weights"])
    stderrs = reward_stderrs(standings, task["weights"])
    return Rescored(
        step=step,
        prompt_id=line["prompt_id"],
        standings=standings,
        rewards=rewards,
        advantages=advantages(rewards, scale=scale, stderrs_G=stderrs if shrink and len(stderrs) else None),
        reliability=estimated_reliability(rewards, stderrs) if len(stderrs) else float("nan"),
        recorded_rewards=np.array([np.nan if c["reward"] is None else c["reward"] for c in completions]),
    )


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


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < 2 or np.ptp(a[known]) < 1e-9 or np.ptp(b[known]) < 1e-9:
        return float("nan")
    return float(np.corrcoef(a[known], b[known])[0, 1])


def _mean(values: list[float]) -> float:
    known = [v for v in values if np.isfinite(v)]
    return float(np.mean(known)) if known else float("nan")
