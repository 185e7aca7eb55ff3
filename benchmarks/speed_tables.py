"""The tables of docs/speed.md, from the records beside this file. `python benchmarks/speed_tables.py` prints them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PARTS = {"step": "whole step", "sample": "sampling", "rest": "learning"}


def record(name: str) -> dict[str, Any]:
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def ranged(v: dict[str, float], digits: int = 1) -> str:
    return f"{v['median']:.{digits}f} [{v['min']:.{digits}f}, {v['max']:.{digits}f}]"


def step(found: dict[str, Any]) -> str:
    """Seconds of each side, the ratio to the fastest of TRL's, and over the floor."""
    main, sides = found["main"], found["main"]["seconds"]
    lines = ["|  | " + " | ".join(PARTS.values()) + " |", "|---|---|---|---|"]
    for side, seconds in sides.items():
        lines.append(f"| `{side}`, s | " + " | ".join(ranged(seconds[part]) for part in PARTS) + " |")
    if "times_as_fast_as_before" in main:
        times = " | ".join(ranged(main["times_as_fast_as_before"][part], 2) for part in PARTS)
        lines.append(f"| times as fast as `before` | {times} |")
    best = main["best_of_trl"]
    times = " | ".join(ranged(main["times_as_fast"][part], 2) for part in PARTS)
    lines.append(f"| times as fast as `{best}` | {times} |")
    lines.append("| over the floor | " + " | ".join(f"{main['over_the_floor'][part]:.2f}" for part in PARTS) + " |")
    return "\n".join(lines)


def growth(found: dict[str, Any]) -> str:
    """How the ratio grows with the group and with the prompt."""
    lines = [
        "| completions | prompt tokens | ours, s | TRL, s | times as fast | over the floor |",
        "|---|---|---|---|---|---|",
    ]
    by_prompt = [r for r in found.get("by_prompt", {}).values() if r != found["main"]]
    rows = [*found.get("by_group", {}).values(), *by_prompt]
    for r in rows:
        ours, trl = (ranged(r["seconds"][side]["step"]) for side in ("ours", r["best_of_trl"]))
        ratio, over = ranged(r["times_as_fast"]["step"], 2), r["over_the_floor"]["step"]
        lines.append(
            f"| {r['prompts']} x {r['group']} | {r['prompt_tokens']} | {ours} | {trl} | {ratio} | {over:.2f} |"
        )
    return "\n".join(lines)


def judging(found: dict[str, Any]) -> str:
    """Matches a second, shared and not."""
    rates, times = found["matches_per_second"], found["times_as_fast_as"]
    lines = ["|  | matches a second | shared is faster by |", "|---|---|---|"]
    words = {
        "shared": "beginnings computed once",
        "whole": "every prompt whole, same attention",
        "whole_padded": "every prompt whole, padded batches",
    }
    for name, said in words.items():
        ratio = ranged(times[name], 2) if name in times else ""
        lines.append(f"| {said} | {ranged(rates[name])} | {ratio} |")
    return "\n".join(lines)


def fast_paths(found: dict[str, Any]) -> str:
    """What each of the faster ways that are gone earned."""
    lines = ["| left out | share of the step it earned |", "|---|---|"]
    for name, share in found["share_of_the_step_earned"].items():
        lines.append(f"| {name} | {share['median']:.0%} [{share['min']:.0%}, {share['max']:.0%}] |")
    return "\n".join(lines)


def memory(found: dict[str, Any]) -> str:
    """Peak of learning beyond weights, gradients and optimizer."""
    ours, trl = (ranged(found["megabytes"][side], 0) for side in ("ours", "trl_bf16"))
    return f"{ours} MB against {trl} MB: {ranged(found['ours_over_trl'], 2)} of TRL's"


def overlap(found: dict[str, Any]) -> str:
    """A slow judge: on-policy, one ahead, TRL."""
    lines = ["|  | step, s | judging, s | waiting for it, s | over the longer part |", "|---|---|---|---|---|"]
    for name, words in (("on_policy", "on-policy"), ("one_ahead", "`--max_staleness 1`")):
        run = found["runs"][name]
        m, over = run["median_seconds"], ranged(run["step_over_bound"], 2)
        lines.append(f"| {words} | {m['step']:.1f} | {m['judge']:.1f} | {m['wait']:.1f} | {over} |")
    if found["trl"]:
        m, over = found["trl"]["median_seconds"], found["trl"]["step_over_bound"]
        lines.append(f"| TRL | {m['step']:.1f} | {m['judge']:.1f} | {m['judge']:.1f} | {over:.2f} |")
    return "\n".join(lines)


def threads(found: dict[str, Any]) -> str:
    """Beside busy processes, by how threads wait."""
    lines = ["| threads that wait | busy processes | a step, s | longer by | shares explain |", "|---|---|---|---|---|"]
    for row in found["steps"]:
        seconds = f"{row['seconds']:.1f} [{row['least']:.1f}, {row['most']:.1f}]"
        lines.append(f"| {row['way']} | {row['busy']} | {seconds} | {row['slowdown']:.2f} | {row['explained']:.2f} |")
    return "\n".join(lines)


TABLES = {
    "step": ("step_speed", step),
    "growth": ("step_speed", growth),
    "fast_paths": ("fast_paths", fast_paths),
    "judging": ("local_judging", judging),
    "memory": ("learning_memory", memory),
    "overlap": ("overlap", overlap),
    "threads": ("competing_threads", threads),
}


if __name__ == "__main__":
    for name, (source, table) in TABLES.items():
        if (HERE / f"{source}.json").exists():
            print(f"{name}\n\n{table(record(source))}\n")
