"""Figures and one page, from what was recorded."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from softgrpo import files
from softgrpo.config import ReportConfig
from softgrpo.errors import UserError
from softgrpo.reporting.recorder import first_alarms, judged_alone, read_evaluations

SHOWN = 10
STAGES = {
    "sample": "sampling",
    "wait": "waiting for the judge",
    "learn": "learning",
    "evaluate": "evaluation",
    "save": "saving",
}
"""what a run does, one after another, by the names of its times"""
"""texts drawn from the first and the last evaluation"""


def report(config: ReportConfig) -> int:
    """`softgrpo report`."""
    folder = Path(config.run)
    if not (folder / "args.json").exists():
        raise UserError(f"--run {config.run}: holds no run (no args.json)")
    for path in write_report(folder):
        print(f"wrote {path}")
    return 0


def write_report(folder: Path) -> list[Path]:
    """`figures/` and `report.html`; returns what was written."""
    from softgrpo.reporting.plots import draw_figures

    metrics = files.read_lines(folder / "metrics.jsonl")
    evaluations = read_evaluations(folder)
    try:
        figures = draw_figures(folder / "figures", metrics, evaluations)
    except ImportError as error:
        print(f"no figures: {error}; pip install matplotlib, then softgrpo report --run {folder}")
        figures = []
    return [*figures, _page(folder, metrics, evaluations)]


def _page(folder: Path, metrics: list[dict[str, Any]], evaluations: list[dict[str, Any]]) -> Path:
    import jinja2

    source = (resources.files("softgrpo.reporting") / "templates" / "report.html").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(source)
    picture = folder / "figures" / "win_rate.png"
    args = json.loads((folder / "args.json").read_text(encoding="utf-8"))
    page = template.render(
        args=args,
        task=task_name(folder, args["dataset_name"]),
        environment=json.loads((folder / "environment.json").read_text(encoding="utf-8")),
        evaluations=judged_alone(evaluations),
        alarms=first_alarms(evaluations),
        drift=drift(evaluations),
        last=metrics[-1] if metrics else None,
        times=_times(metrics),
        bound=_bound(_times(metrics)),
        samples=samples(folder, evaluations),
        picture=base64.b64encode(picture.read_bytes()).decode() if picture.exists() else "",
    )
    files.write_text(folder / "report.html", page)
    return folder / "report.html"


def task_name(folder: Path, given: str) -> str:
    """The task's own name: what was given may be the path of a file, which says more than it should."""
    return str(recorded_task(folder).get("dataset", {}).get("name") or Path(given).stem)


def recorded_task(folder: Path) -> dict[str, Any]:
    """What was recorded of a run's task; nothing by runs of an earlier version."""
    path = folder / "task.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def samples(folder: Path, evaluations: list[dict[str, Any]], seed: int = 0) -> list[dict[str, Any]]:
    """The same held-out prompts before and after, drawn at random."""
    judged = judged_alone(evaluations)
    if not judged:
        return []
    ends = []
    for e in (judged[0], judged[-1]):
        name = f"step_{e['step']:06d}.{files.file_name(e['judge'])}.pairs.jsonl"
        ends.append({line["prompt_id"]: line for line in files.read_lines(folder / "evaluations" / name)})
    common = sorted(set(ends[0]) & set(ends[1]))
    drawn = random.Random(seed).sample(common, min(SHOWN, len(common)))
    return [{"question": ends[0][i]["question"], "before": ends[0][i], "after": ends[1][i]} for i in drawn]


def drift(evaluations: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """How the last texts that were measured differ from the first: each measure by its name.

    >>> drift([{"step": 8, "mean_words": 20.5, "mean_words_low": 18, "mean_words_high": 23, "mean_words_base": 31}])
    {'mean words': {'base': 31, 'value': 20.5, 'low': 18, 'high': 23}}
    """
    measured = [e for e in judged_alone(evaluations) if any(name.endswith("_base") for name in e)]
    if not measured:
        return {}
    last = measured[-1]
    names = [name.removesuffix("_base") for name in last if name.endswith("_base")]
    figures = {"base": "{}_base", "value": "{}", "low": "{}_low", "high": "{}_high"}
    return {
        name.replace("_", " "): {what: last.get(key.format(name)) for what, key in figures.items()} for name in names
    }


def _bound(times: Mapping[str, float]) -> tuple[str, float] | None:
    """The stage that takes longest, and its share; a judge counts for as long as it was waited for.

    >>> _bound({"sample": 30.0, "judge": 90.0, "wait": 10.0, "learn": 60.0})
    ('learning', 0.6)
    """
    stages = {words: times.get(name, 0.0) for name, words in STAGES.items()}
    whole = sum(stages.values())
    longest = max(stages, key=lambda stage: stages[stage])
    return (longest, stages[longest] / whole) if whole else None


def _times(metrics: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds by stage over the run."""
    whole = ("time_step", "time_elapsed")
    names = sorted({name for m in metrics for name in m if name.startswith("time_") and name not in whole})
    return {name.removeprefix("time_"): sum(m.get(name) or 0.0 for m in metrics) for name in names}
