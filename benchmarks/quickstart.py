"""Record the quickstart: read a finished `make demo` run, write `quickstart.json`, and put its figures into the README.

make demo && .venv/bin/python benchmarks/quickstart.py --run output/demo
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

from softgrpo.cli import main as main_command
from softgrpo.evaluation.head_to_head import path_of
from softgrpo.files import read_lines, write_json, write_text
from softgrpo.reporting.recorder import evaluations_in, judged_alone, read_evaluations
from softgrpo.reporting.report import samples
from softgrpo.rewards.format import section

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- quickstart: begin -->", "<!-- quickstart: end -->"


def words(text: str) -> list[str]:
    """Lower-case words without punctuation."""
    return ["".join(c for c in w if c.isalnum()) for w in text.casefold().split()]


def copied_share(text: str, motion: str) -> float:
    """Share of a text's words that stand in its motion."""
    found, own = words(text), set(words(motion))
    return sum(w in own for w in found) / max(len(found), 1)


def distinct_2(text: str) -> float:
    """Share of different pairs of neighbouring words."""
    found = words(text)
    pairs = list(pairwise(found))
    return len(set(pairs)) / max(len(pairs), 1)


def texture(lines: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Means over the formed answers of one evaluation."""
    formed = [(section(line["ours"], "answer"), line["subject"]) for line in lines]
    texts = [(text, subject) for text, subject in formed if text]
    return {
        "n_formed": len(texts),
        "words": mean(len(words(t)) for t, _ in texts),
        "copied_from_motion": mean(copied_share(t, s) for t, s in texts),
        "distinct_2": mean(distinct_2(t) for t, _ in texts),
    }


def record(run: Path) -> dict[str, Any]:
    """Everything the README says of the run."""
    metrics = read_lines(run / "metrics.jsonl")
    evaluations = judged_alone(read_evaluations(run))
    ends = [pairs_of(run, e) for e in (evaluations[0], evaluations[-1])]
    return {
        "command": "make demo && .venv/bin/python benchmarks/quickstart.py --run output/demo",
        "environment": json.loads((run / "environment.json").read_text()),
        "args": json.loads((run / "args.json").read_text()),
        "evaluations": evaluations,
        "before": texture(ends[0]),
        "after": texture(ends[1]),
        "peak_rss_gib": max(m["peak_rss"] for m in metrics) / 2**30,
        "seconds": {
            "from_the_first_evaluation_to_the_last": metrics[-1]["time_elapsed"],
            "step_median": median(m["time_step"] - m.get("time_evaluate", 0) for m in metrics),
            **{
                name: sum(m.get(f"time_{name}", 0) for m in metrics)
                for name in ("sample", "judge", "learn", "evaluate")
            },
        },
        "samples": samples(run, evaluations),
    }


def pairs_of(run: Path, evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """The texts of an evaluation, and what the judge said of them."""
    path = path_of(run / "evaluations", evaluation["step"], evaluation["judge"])
    return read_lines(path.with_name(f"{path.stem}.pairs.jsonl"))


def larger(run: Path, output: Path) -> dict[str, Any]:
    """Base and final model again, on all 96 held-out prompts with two answers each: a narrower interval."""
    found = {}
    for name in ("base", "final"):
        flags = [
            "--checkpoint",
            name,
            "--eval_prompts",
            "96",
            "--eval_samples",
            "2",
            "--output_dir",
            str(output / name),
        ]
        if main_command(["evaluate", "--run", str(run), *flags]):
            raise SystemExit(f"evaluating {name} failed")
        found[name] = judged_alone(evaluations_in(output / name))[-1]
    return found


def as_markdown(found: dict[str, Any]) -> str:
    """The README's part."""
    percent = lambda x: f"{100 * x:.0f}%"  # noqa: E731
    rows = "\n".join(
        f"| {e['step']} | {percent(e['win_rate'])} [{percent(e['low'])}, {percent(e['high'])}] "
        f"| {percent(e['win_rate_both_formed'])} [{percent(e['both_formed_low'])}, {percent(e['both_formed_high'])}] "
        f"| {percent(e['format_adherence'])} | {e['n_pairs']} | {e['n_forfeits']} | {e['n_unjudged']} |"
        for e in found["evaluations"]
    )
    before, after, last = found["before"], found["after"], found["evaluations"][-1]
    environment = found["environment"]
    texts = "\n\n".join(
        f"**{s['question'].splitlines()[0].removeprefix('Debate Topic: ')}** ({s['question'].split()[-1]})\n\n"
        f"before:\n{_quoted(s['before']['ours'])}\n\nafter:\n{_quoted(s['after']['ours'])}"
        for s in found["samples"]
    )
    return f"""{BEGIN}
| iteration | win rate [95%] | where both kept the form [95%] | format | pairs | by forfeit | unjudged |
|---|---|---|---|---|---|---|
{rows}

Judge `{last["judge"]}`, opponent `{last["opponent"]}` (its own base), {last["n_prompts"]} held-out prompts on
{last["n_subjects"]} motions, both sides of each. From the first evaluation to the last it took
{found["seconds"]["from_the_first_evaluation_to_the_last"] / 60:.1f} minutes, {found["seconds"]["step_median"]:.1f} s
per step in the median; peak memory {found["peak_rss_gib"]:.1f} GiB.
{_larger(found)}
Words per answer {before["words"]:.0f} before and {after["words"]:.0f} after; share of words copied from the motion
{percent(before["copied_from_motion"])} and {percent(after["copied_from_motion"])};
distinct-2 {before["distinct_2"]:.2f} and {after["distinct_2"]:.2f}.
Machine: {environment["processor"]}, {environment["cpu_count"]} cores,
torch {environment["packages"]["torch"]}. From `benchmarks/quickstart.json`, which `benchmarks/quickstart.py` wrote.

<details><summary>Ten completions drawn at random (seed 0), before and after</summary>

{texts}

</details>
{END}"""


def _larger(found: dict[str, Any]) -> str:
    rate = lambda e: f"{100 * e['win_rate']:.0f}% [{100 * e['low']:.0f}, {100 * e['high']:.0f}]"  # noqa: E731
    formed = lambda e: f"{100 * e['win_rate_both_formed']:.0f}%"  # noqa: E731
    base, final = found["larger"]["base"], found["larger"]["final"]
    return (
        f"Both models again on all {base['n_prompts']} held-out prompts with two answers each:\n"
        f"{rate(base)} before and {rate(final)} after; where both kept the form, {formed(base)} and {formed(final)}."
    )


def _quoted(text: str) -> str:
    """A text as a code block that its own backticks cannot end."""
    fence = "`" * (3 + max((len(run) for run in text.split() if set(run) == {"`"}), default=0))
    return f"{fence}text\n{text.strip()}\n{fence}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=HERE.parent / "output" / "demo")
    run = parser.parse_args().run
    found = record(run) | {"larger": larger(run, run.with_name(run.name + "_larger"))}
    write_json(HERE / "quickstart.json", found)
    figures = HERE.parent / "docs" / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run / "figures" / "win_rate.png", figures / "quickstart_win_rate.png")
    text = README.read_text(encoding="utf-8")
    start, end = text.index(BEGIN), text.index(END) + len(END)
    write_text(README, text[:start] + as_markdown(found) + text[end:])


if __name__ == "__main__":
    main()
