"""What is recorded of a step. Pure but for the memory reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import compress
from typing import Any

import numpy as np

from softgrpo.records import Mismatch, TrainingGroup, Verdict
from softgrpo.reporting.recorder import peak_rss


def step_metrics(
    step: int,
    groups: Sequence[TrainingGroup],
    learned: Mismatch | None,
    times: Mapping[str, float],
    seconds: float,
) -> dict[str, Any]:
    """One line of `metrics.jsonl`.

    `learned` is an `UpdateReport`, or on iterations without an update the mismatch alone. `entropy` is the mean of
    -log p over the sampled tokens, p under the distribution they were drawn from: an unbiased estimate.
    """
    scored = [group.scored for group in groups]
    completions = [c for s in scored for c in s.group.completions]
    standings = [st for s in scored for st in s.standings.values()]
    rewards = np.concatenate([s.rewards for s in scored])
    tokens = sum(sum(c.loss_mask) for c in completions)
    logprob = _mean(np.array([x for c in completions for x in compress(c.sampling_logprobs, c.loss_mask)]))
    metrics: dict[str, Any] = {"step": step, "reward_mean": _mean(rewards), "reward_std": _spread(scored, None)}
    for name in scored[0].reward_parts:
        metrics[f"{name}_mean"] = _mean(np.concatenate([s.reward_parts[name] for s in scored]))
        metrics[f"{name}_std"] = _spread(scored, name)
    metrics |= {
        "length_mean": tokens / len(completions),
        "n_completions": len(completions),
        "n_truncated": sum(c.finish_reason == "length" for c in completions),
        "n_forfeits": sum(s.standings["answer"].n_forfeits for s in scored if "answer" in s.standings),
        "n_unjudged": sum(st.n_unjudged for st in standings),
        "n_failed_rewards": sum(
            int(np.sum(~np.isfinite(part)))
            for s in scored
            for name, part in s.reward_parts.items()
            if name not in s.standings
        ),
        "n_left_out": int(np.sum(~np.isfinite(rewards))),
        "n_flat_groups": sum(group.flat for group in groups),
        "n_matches": sum(v.how not in ("forfeit", "undelivered") for s in scored for v in s.verdicts),
        "n_cyclic_triads": sum(st.n_cyclic_triads for st in standings),
        "position_bias": _mean(np.array([st.position_bias for st in standings])),
        "reliability": pooled([group.reliability for group in groups], [s.rewards for s in scored]),
        "sampled_logprob_mean": logprob,
        "entropy": -logprob,
    }
    if learned:
        metrics |= asdict(learned)
    metrics |= {f"time_{name}": value for name, value in times.items()}
    if times.get("sample"):
        metrics["sampled_tokens_per_second"] = tokens / times["sample"]
    return metrics | {"time_step": seconds, "peak_rss": peak_rss(), **_device_memory()}


def canary_metrics(tallies: Mapping[str, Any]) -> dict[str, int]:
    """How the canaries have fared over the run, by kind, up to a step's groups."""
    return {
        "n_canaries": sum(t.n for t in tallies.values()),
        "n_canaries_wrong": sum(t.n_wrong for t in tallies.values()),
        "n_canaries_failed": sum(t.n_failed for t in tallies.values()),
        "n_canary_alarms": sum(t.alarm for t in tallies.values()),
    }


def group_lines(groups: Sequence[TrainingGroup]) -> list[dict[str, Any]]:
    """Everything needed to compute the rewards again, one line per group."""
    return [_group_line(group) for group in groups]


def _group_line(trained: TrainingGroup) -> dict[str, Any]:
    scored, group = trained.scored, trained.scored.group
    return {
        "prompt_id": group.prompt.id,
        "subject": group.prompt.subject,
        "question": group.prompt.question,
        "messages": list(group.prompt.messages),
        "completions": [
            {
                "text": c.text,
                "finish_reason": c.finish_reason,
                "n_tokens": len(c.token_ids),
                "reward": scored.rewards[i],
                "reward_parts": {name: part[i] for name, part in scored.reward_parts.items()},
                "stderr": {name: s.stderrs[i] for name, s in scored.standings.items()},
                "advantage": trained.advantages[i],
                "trained": bool(trained.trained[i]),
            }
            for i, c in enumerate(group.completions)
        ],
        "verdicts": [verdict_line(v) for v in scored.verdicts],
    }


def verdict_line(verdict: Verdict) -> dict[str, Any]:
    """A verdict as it is recorded, in groups and in evaluations."""
    return {
        "objective": verdict.match.objective,
        "first": verdict.match.first,
        "second": verdict.match.second,
        "p_first": verdict.p_first,
        "how": verdict.how,
        "reply": verdict.reply,
        "failure": verdict.failure,
        **({} if verdict.mass is None else {"mass": verdict.mass}),
    }


def pooled(reliabilities: Sequence[float], rewards: Sequence[np.ndarray]) -> float:
    """One reliability of several groups, each of whose rewards [G] counts by its variance; NaN where none is known.

    >>> round(pooled([1.0, -1.0, float("nan")], [np.array([0.0, 2.0]), np.array([0.0, 1.0]), np.array([0.0, 9.0])]), 3)
    0.6
    """
    variances = np.array([r[np.isfinite(r)].var(ddof=1) if np.isfinite(r).sum() > 1 else 0.0 for r in rewards])
    weights = np.where(np.isfinite(reliabilities), variances, 0.0)
    return float(np.nansum(weights * reliabilities) / weights.sum()) if weights.sum() > 0 else float("nan")


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _spread(scored: Sequence[Any], part: str | None) -> float:
    """Mean over groups of the standard deviation within a group."""
    return _mean(np.array([_std(s.reward_parts[part] if part else s.rewards) for s in scored]))


def _std(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.std()) if len(known) else float("nan")


def _device_memory() -> dict[str, int]:
    """The most that was held on any one device."""
    import torch

    if not torch.cuda.is_available():
        return {}
    return {"peak_device_memory": max(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count()))}
