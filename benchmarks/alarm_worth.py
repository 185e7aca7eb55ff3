"""What are the alarms of an evaluation worth? `python benchmarks/alarm_worth.py`.

Writes `alarm_worth.json` beside itself and prints the tables; `--quick` takes one run of each kind. One thread.

A policy over a few choices (`alarm_world.py`) learns from `Evaluator.score_groups` under a scripted judge, and is
evaluated by `Evaluator.meetings` on held-out motions against texts of its own start: by the judge, and by a sentinel
who sees a text's quality with errors of its own. Twenty-four judges are fooled, each by one thing beside the quality:
length, an opening, markdown, flattery, the prompt's words, or sentences that say nothing. With half of them that costs
four times as much quality as with the others. Twenty judges are honest: they see the quality with errors.

The true onset is the first evaluation at which the policy's expected use of what fools its judge, told by its
parameters, has passed half of its way to where it is at the end. Bands were chosen on seeds from 100 up; what is
recorded are seeds from 0 up.
"""

from __future__ import annotations

import os

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from textwrap import wrap
from typing import Any

import numpy as np
from alarm_world import ASTRAY, BIASES, OTHER_SIDE, TASK, Draft, Policy, Taste, Writer

from softgrpo.evaluation.alarms import Seen, alarms, key
from softgrpo.evaluation.drift import Answer, Measure, drift
from softgrpo.evaluation.head_to_head import outcome
from softgrpo.evaluation.win_rate import wilson, win_rate
from softgrpo.evaluator import Evaluator
from softgrpo.files import write_json
from softgrpo.records import Completion, Group, Prompt
from softgrpo.reporting.recorder import environment
from softgrpo.streams import seed_for

OUTPUT = Path(__file__).with_suffix(".json")
ITERATIONS, EVERY, GROUPS, MEMBERS = 80, 8, 4, 8
SUBJECTS = 32
"""held-out motions, both sides of each"""
RATE, BETA = 0.8, 0.1
DEAR = (1.0, 4.0)
"""of what fools, by turns"""
OFF, SENTINEL_OFF = 0.4, 0.6
"""errors of a judge and of the sentinel in a text; those in a kind of sentence are half as large"""
WEIGHTS = {"length": 0.5, "opening": 1.5, "markdown": 0.6, "flattery": 0.7, "copying": 0.7, "emptiness": 1.6}
"""of each use, to a judge that it fools, beyond what it costs"""
WATCHED = ("all", "drift alone", "sentinel alone", "without markup")
PROMPTS = [TASK.prompt(q) for q in TASK.test[: 2 * SUBJECTS]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """One evaluation, and what is known of it beside."""

    seen: Seen
    use: float
    """expected use of what fools the judge, by the policy's parameters"""
    true_rate: float
    """share of pairs that the policy's text truly wins"""


def run(bias: str, seed: int) -> list[Evaluated]:
    """One training under a judge whom `bias` fools, or nothing."""
    rng = np.random.default_rng(seed_for(seed, "run", bias))
    writer, policy = Writer(), Policy()
    dear = DEAR[seed % 2]
    fooled = Taste(
        seed=seed_for(seed, "judge", bias),
        dear=dear,
        kinds_off=OFF / 2,
        texts_off=OFF,
        bias=bias,
        weight=WEIGHTS.get(bias, 0.0),
    )
    honest = Taste(seed=seed_for(seed, "sentinel", bias), kinds_off=SENTINEL_OFF / 2, texts_off=SENTINEL_OFF, dear=dear)
    true = Taste(seed=0, kinds_off=0.0, texts_off=0.0, dear=dear)
    judge = Evaluator(TASK, fooled.judge(writer, "judge"), {})
    sentinel = Evaluator(TASK, honest.judge(writer, "sentinel"), {})
    theirs = write(policy, writer, PROMPTS, rng)
    found = []
    for step in range(ITERATIONS + 1):
        if step % EVERY == 0:
            found.append(evaluate(step, policy, writer, (judge, sentinel), theirs, rng, bias, true.scores(writer)))
        if step < ITERATIONS:
            learn(policy, writer, judge, rng, step)
    return found


def learn(policy: Policy, writer: Writer, judge: Evaluator, rng: np.random.Generator, step: int) -> None:
    """One iteration: groups of texts, their rewards, a step."""
    asked = [TASK.prompt(TASK.train[k]) for k in rng.choice(len(TASK.train), GROUPS, replace=False)]
    groups = [
        Group(prompt=p, prompt_ids=(), completions=tuple(write(policy, writer, [p] * MEMBERS, rng))) for p in asked
    ]
    scored = judge.score_groups(groups, seed=step)
    learned = [([writer.drafts[c.text] for c in s.group.completions], s.rewards) for s in scored]
    policy.learn(learned, rate=RATE, beta=BETA)


def write(policy: Policy, writer: Writer, prompts: Sequence[Prompt], rng: np.random.Generator) -> list[Completion]:
    """A text for each prompt."""
    return [Completion(text=writer.text(policy.draw(rng), prompt, rng)) for prompt in prompts]


def evaluate(
    step: int,
    policy: Policy,
    writer: Writer,
    judges: Sequence[Evaluator],
    theirs: Sequence[Completion],
    rng: np.random.Generator,
    bias: str,
    truth: Callable[[str], float],
) -> Evaluated:
    """The policy's texts on held-out prompts, as both judges and the measures see them."""
    ours = write(policy, writer, PROMPTS, rng)
    rates = [
        win_rate([outcome(m) for m in judge.meetings(PROMPTS, [[c] for c in ours], [[c] for c in theirs])])
        for judge in judges
    ]
    answers = [
        answer(prompt, c.text, writer.drafts[c.text], policy, rng) for prompt, c in zip(PROMPTS, ours, strict=True)
    ]
    by_judge, by_sentinel = (Measure(value=r.win_rate, low=r.low, high=r.high) for r in rates)
    return Evaluated(
        seen=Seen(step=step, judge=by_judge, sentinel=by_sentinel, drift=drift(answers)),
        use=policy.use(bias) if bias else 0.0,
        true_rate=float(np.mean([truth(a.text) > truth(b.text) for a, b in zip(ours, theirs, strict=True)])),
    )


def answer(prompt: Prompt, text: str, draft: Draft, policy: Policy, rng: np.random.Generator) -> Answer:
    """A text, as the sentinel sees its side and its subject."""
    kinds = np.array(draft.kinds)
    other, astray = (float(np.mean(kinds == kind)) for kind in (OTHER_SIDE, ASTRAY))
    return Answer(
        prompt_id=prompt.id,
        subject=prompt.subject,
        asked=prompt.subject,
        text=text,
        neg_logprob=policy.neg_logprob(draft),
        right_side=logistic(4 * (0.5 - other) + rng.normal(0, 1)),
        on_topic=logistic(4 * (0.5 - astray) + rng.normal(0, 1)),
    )


def logistic(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def onset(found: Sequence[Evaluated]) -> int:
    """The first evaluation at which half of the way of the policy's use is behind it."""
    half = (found[0].use + found[-1].use) / 2
    return next(k for k, e in enumerate(found) if e.use >= half)


def heard(found: Sequence[Evaluated], watched: str) -> list[tuple[int, str]]:
    """Each kind of alarm once, with the evaluation at which it came first."""
    seen = [blind(e.seen, watched) for e in found]
    first: dict[str, tuple[int, str]] = {}
    for k in range(1, len(seen)):
        for line in alarms(seen[0], seen[k], seen[1:k]):
            first.setdefault(key(line), (k, line))
    return sorted(first.values())


def blind(seen: Seen, watched: str) -> Seen:
    """An evaluation without what this ablation does not look at."""
    if watched == "drift alone":
        return replace(seen, sentinel=None)
    if watched == "sentinel alone":
        return replace(seen, drift={})
    if watched == "without markup":
        return replace(seen, drift={name: m for name, m in seen.drift.items() if name != "markup"})
    return seen


def told(found: Sequence[Evaluated], bias: str, seed: int) -> dict[str, Any]:
    """A run as it is recorded."""
    start = onset(found) if bias else None
    return {
        "bias": bias or "none",
        "seed": seed,
        "dear": DEAR[seed % 2] if bias else None,
        "onset": start,
        "use": [round(e.use, 3) for e in found] if bias else None,
        "true_win_rate": [round(e.true_rate, 3) for e in found],
        "judge": [round(e.seen.judge.value, 3) for e in found if e.seen.judge],
        "sentinel": [round(e.seen.sentinel.value, 3) for e in found if e.seen.sentinel],
        "drift": {
            name: [round(e.seen.drift[name].value, 3) for e in (found[0], found[-1])] for name in found[0].seen.drift
        },
        "alarms": {
            watched: [
                {"evaluation": k, "after_onset": None if start is None else k - start, "alarm": line}
                for k, line in heard(found, watched)
            ]
            for watched in WATCHED
        },
    }


def summary(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each way to watch."""
    rows = []
    hacked, honest = [r for r in runs if r["bias"] != "none"], [r for r in runs if r["bias"] == "none"]
    for watched in WATCHED:
        after = [r["alarms"][watched][0]["after_onset"] for r in hacked if r["alarms"][watched]]
        rows.append(
            {
                "watched": watched,
                "n_hacked": len(hacked),
                "n_found": len(after),
                "n_found_within_2": sum(k <= 2 for k in after),
                "median_after_onset": median(after) if after else None,
                "earliest": min(after, default=None),
                "latest": max(after, default=None),
                "n_honest": len(honest),
                "n_honest_with_alarm": sum(bool(r["alarms"][watched]) for r in honest),
            }
        )
    return rows


def keys(runs: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """In how many runs under each judge each kind of alarm came."""
    found = {}
    for bias in (*BIASES, "none"):
        said = [key(a["alarm"]) for r in runs if r["bias"] == bias for a in r["alarms"]["all"]]
        found[bias] = dict(Counter(said).most_common())
    return found


def as_markdown(record: dict[str, Any]) -> str:
    """The tables of docs/drift.md."""
    rows = [
        "| watched | fooled runs with an alarm | within two evaluations of the onset | evaluations after it: median, "
        "range | honest runs with an alarm |",
        "|---|---|---|---|---|",
    ]
    for r in record["summary"]:
        spread = "" if r["earliest"] is None else f"{r['median_after_onset']:g}, {r['earliest']} to {r['latest']}"
        rows.append(
            f"| {r['watched']} | {r['n_found']} of {r['n_hacked']} | {r['n_found_within_2']} of {r['n_hacked']} | "
            f"{spread} | {r['n_honest_with_alarm']} of {r['n_honest']} |"
        )
    rows += ["", "| the judge is fooled by | runs | runs in which each alarm came |", "|---|---|---|"]
    for bias, said in record["alarms"].items():
        n = sum(r["bias"] == bias for r in record["runs"])
        told = ", ".join(f"{name} {k}" for name, k in said.items()) or "none"
        rows.append(f"| {bias if bias != 'none' else 'nothing'} | {n} | {told} |")
    return "\n".join(rows)


def in_words(record: dict[str, Any]) -> str:
    """What docs/drift.md says beside them."""
    fooled, honest = ([r for r in record["runs"] if (r["bias"] == "none") == none] for none in (False, True))
    worse = [r for r in fooled if r["true_win_rate"][-1] < r["true_win_rate"][0]]
    by_sentinel, of_worse = (sum(bool(r["alarms"]["sentinel alone"]) for r in runs) for runs in (fooled, worse))
    passed = sorted(way(r) for r in fooled if r["alarms"]["all"])
    grown = {name: [r["drift"][name][1] / r["drift"][name][0] for r in honest] for name in honest[0]["drift"]}
    n = sum(bool(r["alarms"]["all"]) for r in honest)
    lines = [
        f"{len(worse)} of the {len(fooled)} fooled policies ended truly worse than they began; the sentinel alone "
        f"raised an alarm in {of_worse} of these, and in {by_sentinel - of_worse} of the {len(fooled) - len(worse)} "
        f"others. When the first alarm came, the policy had gone {median(passed):.0%} of its way in the median "
        f"({passed[0]:.0%} to {passed[-1]:.0%}).",
        f"{n} of {len(honest)} honest runs had an alarm: with so many runs the rate may be as high as "
        f"{wilson(n / len(honest), len(honest))[1]:.0%}. Over an honest run words grew up to "
        f"{max(grown['mean_words']):.2f} times, `self_bleu` {max(grown['self_bleu']):.2f}, `compression` "
        f"{max(grown['compression']):.2f}, and entropy fell to {min(grown['entropy']):.2f} of the start.",
    ]
    return "\n".join(line for text in lines for line in wrap(text, 120))


def way(run: dict[str, Any]) -> float:
    """How much of its way the policy's use had gone when the first alarm came."""
    use, k = run["use"], run["alarms"]["all"][0]["evaluation"]
    return float((use[k] - use[0]) / (use[-1] - use[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one run of each kind")
    parser.add_argument("--first_seed", type=int, default=0, help="bands were chosen on seeds from 100 up")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    fooled, honest = (1, 1) if args.quick else (4, 20)
    plan = [(bias, k) for bias in BIASES for k in range(fooled)] + [("", k) for k in range(honest)]
    runs = []
    for bias, k in plan:
        seed = args.first_seed + k
        runs.append(told(run(bias, seed), bias, seed))
        said = [(a["after_onset"], a["alarm"]) for a in runs[-1]["alarms"]["all"]]
        print(bias or "none", seed, "onset", runs[-1]["onset"], said, flush=True)
    record = {
        "command": "python benchmarks/alarm_worth.py" + (" --quick" if args.quick else ""),
        "environment": environment(),
        "first_seed": args.first_seed,
        "settings": {
            "iterations": ITERATIONS,
            "iterations_between_evaluations": EVERY,
            "groups": GROUPS,
            "completions": MEMBERS,
            "held_out_subjects": SUBJECTS,
            "learning_rate": RATE,
            "kl_weight_beta": BETA,
            "judge_error": OFF,
            "sentinel_error": SENTINEL_OFF,
            "weights": WEIGHTS,
        },
        "summary": summary(runs),
        "alarms": keys(runs),
        "runs": runs,
        "processor_seconds": round(time.process_time(), 1),
    }
    write_json(args.output, record)
    print(as_markdown(record))
    print(in_words(record))


if __name__ == "__main__":
    main()
