"""The rewards of a recorded run under another rule: scored again by the same code, without a call."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softgrpo.evaluator import Evaluator
from softgrpo.files import read_lines
from softgrpo.grpo.advantages import advantages, estimated_reliability, is_flat
from softgrpo.records import Completion, Group, Match, Objective, Prompt, ScoredGroup, Standing, Verdict
from softgrpo.reporting.measure import pooled
from softgrpo.rewards.compose import FORMAT_PARTS
from softgrpo.tasks.task import ExtraReward, Task
from softgrpo.tournament.rule import Rule

Completed = Callable[[int, int, Mapping[str, Any]], Mapping[str, Any]]
"""from a step, a group's place in it and its recorded line to the line with the verdicts that came later"""


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


def rescored(
    folder: Path,
    rule: Rule,
    *,
    shrink: bool = False,
    scale: bool = True,
    completed: Completed = lambda step, place, line: line,
) -> Iterator[Rescored]:
    """Every recorded group in order, scored as in the run but by this rule; what is learned of the judge goes from step
    to step as it did there. `completed`: with verdicts that the record does not have."""
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    parts: dict[int, Mapping[str, Any]] = {}
    evaluator = None
    for step, recorded in recorded_groups(folder):
        lines = [completed(step, place, line) for place, line in enumerate(recorded)]
        groups = [group_of(line) for line in lines]
        for line, group in zip(lines, groups, strict=True):
            parts |= {
                id(c): kept["reward_parts"] for c, kept in zip(group.completions, line["completions"], strict=True)
            }
        evaluator = evaluator or Evaluator(recorded_task(task, lines, parts), None, task["weights"], rule=rule)
        scored = evaluator.score_groups(groups, recorded=[verdicts_of(line) for line in lines])
        for line, found in zip(lines, scored, strict=True):
            yield _one(step, line, found, shrink=shrink, scale=scale)
        parts.clear()  # of texts that are gone


def recorded_groups(folder: Path) -> Iterator[tuple[int, list[Mapping[str, Any]]]]:
    """Each step with the lines of its groups, in order."""
    for path in sorted((folder / "groups").glob("step_*.jsonl")):
        yield int(path.stem.removeprefix("step_")), read_lines(path)


def recorded_task(task: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], parts: Mapping[int, Any]) -> Task:
    """A run's task as far as its rewards go: the objectives, and every other part as it was recorded.

    `task` is the run's `task.json`, `lines` some of its groups; `parts` holds the recorded parts by the completion's
    `id()` when they are asked for.
    """
    objectives = [
        Objective(name=name, criteria=criteria, ties=name in task.get("ties", ()))
        for name, criteria in task["objectives"].items()
    ]
    # in the order of the record, in which the run added them up
    names = dict.fromkeys(name for line in lines for c in line["completions"] for name in c["reward_parts"])
    form = "reasoning_answer" if names.keys() & FORMAT_PARTS.keys() else None  # of runs that have not written it down
    others = [name for name in names if name not in task["objectives"]]
    return Task(
        name=task["evaluator"]["name"],
        system="",
        train=(),
        test=(),
        objectives=tuple(objectives),
        format=task.get("format", form),
        # of format and sameness too: what the run had counts, whatever is computed now
        extra_rewards={name: _recorded_part(name, parts) for name in others},
    )


def group_of(line: Mapping[str, Any]) -> Group:
    """A recorded group."""
    messages = tuple(line["messages"])
    prompt = Prompt(id=line["prompt_id"], messages=messages, subject=line["subject"], question=line.get("question", ""))
    completions = tuple(Completion(text=c["text"], finish_reason=c["finish_reason"]) for c in line["completions"])
    return Group(prompt=prompt, prompt_ids=(), completions=completions)


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
        # of those that there were before and are now
        "largest_change_of_a_reward": float(np.nanmax([0.0, *(change for a, b in both for change in np.abs(a - b))])),
    }


def _recorded_part(name: str, parts: Mapping[int, Mapping[str, Any]]) -> ExtraReward:
    return lambda prompt, completion: parts[id(completion)][name]


def _one(step: int, line: Mapping[str, Any], scored: ScoredGroup, *, shrink: bool, scale: bool) -> Rescored:
    rewards, stderrs = scored.rewards, scored.stderrs
    return Rescored(
        step=step,
        prompt_id=line["prompt_id"],
        standings=scored.standings,
        rewards=rewards,
        advantages=advantages(rewards, scale=scale, stderrs_G=stderrs if shrink and len(stderrs) else None),
        reliability=estimated_reliability(rewards, stderrs) if len(stderrs) else float("nan"),
        recorded_rewards=np.array([np.nan if c["reward"] is None else c["reward"] for c in line["completions"]]),
    )


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < 2 or np.ptp(a[known]) < 1e-9 or np.ptp(b[known]) < 1e-9:
        return float("nan")
    return float(np.corrcoef(a[known], b[known])[0, 1])


def _mean(values: list[float]) -> float:
    known = [v for v in values if np.isfinite(v)]
    return float(np.mean(known)) if known else float("nan")
