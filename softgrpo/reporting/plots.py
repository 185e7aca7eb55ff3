"""Figures, from what was recorded."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from softgrpo.reporting.recorder import first_alarms

PANELS = (
    ("reward", ("reward_mean",)),
    ("tournament score, spread within a group", ("answer_std",)),
    ("format", ("strict_format_mean", "soft_format_mean")),
    ("sameness: less what is shared with answers to other prompts", ("sameness_mean",)),
    ("tokens per completion", ("length_mean",)),
    ("KL to the reference", ("kl",)),
    ("entropy of the sampled tokens", ("entropy",)),
    ("learner less sampler, mean of |log ratio| and k3", ("mismatch_abs", "mismatch_k3")),
    ("share of tokens held back", ("clip_share", "bounded_share")),
    ("gradient norm", ("grad_norm",)),
    ("counts", ("n_forfeits", "n_truncated", "n_unjudged", "n_flat_groups")),
    ("the judge: log-odds for what it reads first, reliability", ("position_bias", "reliability")),
    ("canaries so far, and those gone wrong", ("n_canaries", "n_canaries_wrong")),
    ("seconds per step", ("time_sample", "time_judge", "time_learn")),
)


def draw_figures(folder: Path, metrics: list[dict[str, Any]], evaluations: list[dict[str, Any]]) -> list[Path]:
    """`win_rate.png` and `training.pdf`; returns what was written."""
    import matplotlib

    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [_win_rate(folder / "win_rate.png", evaluations)] if evaluations else []
    return drawn + ([_training(folder / "training.pdf", metrics)] if metrics else [])


def _win_rate(path: Path, evaluations: list[dict[str, Any]]) -> Path:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), dpi=150, layout="constrained")
    by_judge: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for e in evaluations:
        by_judge[e["judge"], e["opponent"]].append(e)
    for (judge, opponent), points in by_judge.items():
        watches = any(p.get("watches") for p in points)
        points = [p for p in points if p["win_rate"] is not None]
        steps = [p["step"] for p in points]
        (line,) = axes.plot(
            steps,
            [100 * p["win_rate"] for p in points],
            marker="s" if watches else "o",
            label=_plain(f"against {opponent}, {'seen by the sentinel' if watches else 'judged by'} {judge}"),
        )
        axes.fill_between(
            steps,
            [100 * p["low"] for p in points],
            [100 * p["high"] for p in points],
            color=line.get_color(),
            alpha=0.15,
            linewidth=0,
            label="95% interval over subjects",
        )
        formed = [p for p in points if p["win_rate_both_formed"] is not None and p["format_adherence"] is not None]
        if formed and not watches:
            axes.plot(
                [p["step"] for p in formed],
                [100 * p["win_rate_both_formed"] for p in formed],
                linestyle="--",
                color=line.get_color(),
                label="where both kept the form",
            )
    axes.axhline(50, color="0.6", linewidth=0.8)
    for step, alarms in first_alarms(evaluations):
        said = ", ".join(alarm.partition(":")[0] for alarm in alarms)
        axes.axvline(step, color="tab:red", linestyle=":", linewidth=1.2, label=_plain(f"alarm at {step}: {said}"))
    axes.set(xlabel="iteration", ylabel="win rate on held-out prompts (%)", ylim=(0, 100))
    axes.legend(frameon=False, loc="lower right", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return _save(figure, path)


def _training(path: Path, metrics: list[dict[str, Any]]) -> Path:
    from matplotlib import pyplot as plt

    # a task may ask for no form, a run have no reference, no canaries
    panels = [p for p in PANELS if any(m.get(name) is not None for m in metrics for name in p[1])]
    n_rows = max(1, -(-len(panels) // 2))
    figure, grid = plt.subplots(n_rows, 2, figsize=(8.3, 2.6 * n_rows), layout="constrained", squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (title, names) in zip(grid.flat, panels, strict=False):
        for name in names:
            points = [(m["step"], m[name]) for m in metrics if m.get(name) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), linewidth=0.8, label=name)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
        if len(axes.lines) > 1:
            axes.legend(frameon=False, fontsize=7)
    return _save(figure, path)


def _plain(text: str) -> str:
    """Text in which a dollar sign begins no formula."""
    return text.replace("$", r"\$")


def _save(figure: Any, path: Path) -> Path:
    from matplotlib import pyplot as plt

    aside = path.with_name("." + path.name)
    figure.savefig(aside, format=path.suffix[1:])
    plt.close(figure)
    aside.replace(path)
    return path
