"""Does a win rate's 95% interval hold the truth 95 times in 100? `python benchmarks/interval_coverage.py`.

Writes `interval_coverage.json` beside itself and prints the table; `--quick` takes a twentieth. One thread.

A world is a population of subjects. An evaluation draws some of them, and pairs of texts on each; the truth is the
population's win rate (hard: a pair counts 1, 1/2 or 0) or its mean probability (soft). In most worlds a subject has a
rate of its own, beta-distributed around the truth, so that two of its hard pairs correlate by `alike`; a soft pair is
beta-distributed around its subject's rate, with a `spread`. Beside them: log-odds with normal parts of subject and
pair, tied pairs, pairs left unjudged, subjects with many pairs and few, and sides of unlike difficulty.

Two intervals see the same evaluations: `ours` is `softgrpo.evaluation.win_rate.share_interval`; `resampled` is what it
replaced, the percentile bootstrap over subjects (Efron, 1979) with Wilson's interval where all agree. A figure's spread
is its Monte Carlo standard error.

With one hard pair a subject the interval depends on the number of wins alone, and coverage is a sum over binomial
probabilities: `lattice` tells it exactly, over all true rates from 0.5 to 0.97.
"""

from __future__ import annotations

import os

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import groupby, product
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from softgrpo.evaluation.win_rate import share_interval, wilson
from softgrpo.files import write_json
from softgrpo.reporting.recorder import environment
from softgrpo.streams import seed_for

OUTPUT = Path(__file__).with_suffix(".json")
REPETITIONS = {20: 10_000, 32: 4_000, 50: 4_000, 100: 4_000, 200: 10_000}
"""by number of subjects; most where a bar is"""
RESAMPLED, RESAMPLES = 4_000, 4_000
"""evaluations that the old interval sees, and its resamples of each"""
LEAST, BAND = 93.5, (94.0, 96.0)
"""what is asked, in percent: of 20 subjects up, and of 200"""
RATES, ALIKE = (0.5, 0.7, 0.9, 0.97), (0.0, 0.2, 0.5, 0.9)
ROUNDING = 1e-9
SHOWN = (20, 32, 200)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A population of subjects, and what is asked of each."""

    family: str
    rate: float = 0.5
    """mean over subjects; of the pairs that are not tied"""
    alike: float = 0.0
    """correlation between a subject's hard pairs"""
    pairs: int = 2
    spread: float | None = None
    """of soft pairs around their subject's rate, as a share of the variance of hard ones; None: hard pairs"""
    mean: float = 0.0
    """of the log-odds; subjects have standard deviation 2, pairs on one 1"""
    tied: float = 0.0
    """share of pairs"""
    judged: tuple[float, float] = (1.0, 1.0)
    """share of lost and of won pairs that are judged; a subject's first pair always is"""
    uneven: bool = False
    """one subject in four has `pairs` pairs, the others two"""
    sides: tuple[float, float] | None = None
    """the same two rates on every subject"""


def worlds() -> Iterator[World]:
    for rate in RATES:
        yield World(family=f"hard, rate {rate}", rate=rate, pairs=1)
        for alike, pairs in product(ALIKE, (2, 4)):
            yield World(family=f"hard, rate {rate}", rate=rate, alike=alike, pairs=pairs)
    for rate, alike in product(RATES, ALIKE):
        for pairs, spread in ((1, 1 / 3), (2, 1 / 3), (2, 0.05)):
            yield World(family=f"soft, rate {rate}", rate=rate, alike=alike, pairs=pairs, spread=spread)
    for spread, mean in product((None, 0.0), (0.0, 1.0, 2.0, 4.0)):
        yield World(family="normal log-odds, hard and soft", mean=mean, spread=spread)
    for tied, rate in product((0.5, 0.9), (0.5, 0.9)):
        yield World(family="half or nine tenths tied", rate=rate, tied=tied)
    for rate, alike, judged in product((0.5, 0.9), (0.2, 0.5), ((0.7, 0.7), (0.6, 1.0))):
        yield World(family="some pairs unjudged", rate=rate, alike=alike, pairs=4, judged=judged)
    for rate, alike in product((0.5, 0.9), (0.2, 0.5)):
        yield World(family="eight pairs or two", rate=rate, alike=alike, pairs=8, uneven=True)
    for sides in ((0.9, 0.1), (0.97, 0.5), (1.0, 0.1)):
        yield World(family="sides of unlike difficulty", sides=sides)


def truth(world: World) -> float:
    """What the mean outcome over pairs comes to in the whole population."""
    if world.sides:
        return sum(world.sides) / 2
    if world.family.startswith("normal"):
        nodes, weights = np.polynomial.hermite_e.hermegauss(201)
        odds = world.mean + math.sqrt(5) * nodes
        if world.spread is None:
            return math.erfc(-world.mean / math.sqrt(10)) / 2
        return float(weights @ (1 / (1 + np.exp(-odds))) / weights.sum())
    lost, won = world.judged
    kept_won, kept_lost = (1 + (world.pairs - 1) * kept for kept in (won, lost))
    known = world.rate * kept_won / (world.rate * kept_won + (1 - world.rate) * kept_lost)
    return world.tied / 2 + (1 - world.tied) * known


def evaluations(world: World, subjects: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """[N, S] sums of outcomes, and numbers of pairs."""
    rng = np.random.default_rng(seed_for(0, "coverage", repr(world), subjects))
    outcomes = drawn(world, rng, (n, subjects, world.pairs))
    kept = np.ones(outcomes.shape, bool)
    if world.uneven:
        kept[..., 2:] = rng.random((n, subjects, 1)) < 0.25
    lost, won = world.judged
    if lost < 1 or won < 1:
        kept &= rng.random(outcomes.shape) < np.where(outcomes > 0.5, won, lost)
        kept[..., 0] = True
    return (outcomes * kept).sum(2), kept.sum(2)


def drawn(world: World, rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """[N, S, pairs] outcomes."""
    if world.sides:
        return (rng.random(shape) < np.array(world.sides)).astype(float)
    if world.family.startswith("normal"):
        odds = world.mean + 2 * rng.standard_normal((*shape[:2], 1)) + rng.standard_normal(shape)
        return (odds > 0).astype(float) if world.spread is None else 1 / (1 + np.exp(-odds))
    own = around(np.full((*shape[:2], 1), world.rate), world.alike, rng)
    if world.spread is not None:
        return around(np.broadcast_to(own, shape), world.spread, rng)
    outcomes = (rng.random(shape) < own).astype(float)
    return np.where(rng.random(shape) < world.tied, 0.5, outcomes) if world.tied else outcomes


def around(rate: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Beta-distributed with that mean, and that share of the variance of something won or lost."""
    if not share:
        return rate
    weight = 1 / share - 1
    tiny = 1e-12
    return rng.beta(np.maximum(rate * weight, tiny), np.maximum((1 - rate) * weight, tiny))


@lru_cache(maxsize=len(REPETITIONS))
def resamples(subjects: int) -> np.ndarray:
    """[R, S] how often each resample holds each subject: always the same ones."""
    draws = np.random.default_rng(0).integers(0, subjects, (RESAMPLES, subjects))
    return np.stack([np.bincount(row, minlength=subjects) for row in draws]).astype(float)


def resampled(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """[2, N] ends of the percentile bootstrap over subjects, of Wilson's interval where all of them agree."""
    weights = resamples(sums.shape[1])
    means = (sums @ weights.T) / (counts @ weights.T)
    ends = np.quantile(means, [0.025, 0.975], axis=1)
    for k in np.flatnonzero(np.ptp(sums / counts, axis=1) < 1e-12):
        ends[:, k] = wilson(sums[k].sum() / counts[k].sum(), sums.shape[1])
    return ends


def ours(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """[2, N]."""
    return np.array([share_interval(s, c)[1:] for s, c in zip(sums, counts, strict=True)]).T


def figures(ends: np.ndarray, true: float) -> dict[str, float]:
    """Percent that hold the truth, with its standard error, percent above and below, and mean width."""
    low, high = ends
    above, below = float((low > true + ROUNDING).mean()), float((high < true - ROUNDING).mean())
    covered = 1 - above - below
    stderr = math.sqrt(covered * (1 - covered) / len(low))
    shares = {"covered": covered, "stderr": stderr, "above": above, "below": below}
    return {**{k: round(100 * v, 2) for k, v in shares.items()}, "width": round(float((high - low).mean()), 4)}


def cell(world: World, subjects: int, n: int) -> dict[str, Any]:
    sums, counts = evaluations(world, subjects, n)
    true, few = truth(world), slice(min(n, RESAMPLED))
    return {
        "family": world.family,
        "world": told(world),
        "subjects": subjects,
        "truth": round(true, 4),
        "repetitions": n,
        "ours": figures(ours(sums, counts), true),
        "resampled": figures(resampled(sums[few], counts[few]), true),
    }


def lattice(subjects: int) -> dict[str, Any]:
    """Exact coverage with one hard pair a subject, in percent over true rates."""
    wins = np.arange(subjects + 1)
    ends = np.array([share_interval(np.arange(subjects) < k, np.ones(subjects))[1:] for k in wins])
    ways = np.array([math.lgamma(subjects + 1) - math.lgamma(k + 1) - math.lgamma(subjects - k + 1) for k in wins])
    rates = np.linspace(0.5, 0.97, 471)[:, None]
    chances = np.exp(ways + wins * np.log(rates) + (subjects - wins) * np.log(1 - rates))
    covered = 100 * (chances * ((ends[:, 0] <= rates) & (rates <= ends[:, 1]))).sum(1)
    inside = (covered >= BAND[0]) & (covered <= BAND[1])
    return {
        "subjects": subjects,
        "lowest": round(float(covered.min()), 2),
        "at_rate": round(float(rates[covered.argmin(), 0]), 3),
        "mean": round(float(covered.mean()), 2),
        "highest": round(float(covered.max()), 2),
        "share_in_band": round(float(inside.mean()), 3),
        "share_below_least": round(float((covered < LEAST).mean()), 3),
    }


def against_itself(n: int) -> list[dict[str, Any]]:
    """A model against itself, 32 subjects of two pairs: how often 50% is held, how often the rate is as far as 69%."""
    found = []
    for alike in (0.0, 0.2, 0.5):
        sums, counts = evaluations(World(family="itself", alike=alike), 32, n)
        few = slice(min(n, RESAMPLED))
        far = abs(sums.sum(1) / counts.sum(1) - 0.5) >= 44 / 64 - 0.5
        found.append(
            {
                "alike": alike,
                "repetitions": n,
                "ours": figures(ours(sums, counts), 0.5),
                "resampled": figures(resampled(sums[few], counts[few]), 0.5),
                "as_far_as_69": round(100 * float(far.mean()), 2),
            }
        )
    return found


def of_44_in_64(n: int = 1000) -> dict[str, list[float]]:
    """Mean ends of both intervals over ways to spread 44 wins over 32 subjects of two pairs."""
    rng = np.random.default_rng(0)
    sums = rng.permuted(np.tile(np.arange(64) < 44, (n, 1)), axis=1).reshape(n, 32, 2).sum(2)
    counts = np.full(sums.shape, 2)
    return {f.__name__: [round(float(x), 3) for x in f(sums, counts).mean(1)] for f in (ours, resampled)}


def missed(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cells of ours outside of what is asked."""
    return [
        c
        for c in cells
        if c["ours"]["covered"] < LEAST or (c["subjects"] == 200 and not BAND[0] <= c["ours"]["covered"] <= BAND[1])
    ]


def told(world: World) -> dict[str, Any]:
    """What sets it apart within its family."""
    usual = asdict(World(family=world.family))
    return {k: v for k, v in asdict(world).items() if v != usual[k] or k == "rate"}


def line(c: dict[str, Any]) -> str:
    """One printed cell."""
    text = f"{c['subjects']:3} subjects "
    for name in ("ours", "resampled"):
        text += f" {name} {c[name]['covered']:5.1f} ({c[name]['width']:.3f}) "
    return f"{text} {c['family']} {c['world']}"


def as_markdown(record: dict[str, Any]) -> str:
    """The table of docs/tournaments.md: lowest and highest coverage of a family's worlds."""
    heads = [f"{name}, {n}" for n in SHOWN for name in ("before", "now")]
    rows = [f"| population | worlds | {' | '.join(heads)} |", "|---" * (2 + len(heads)) + "|"]
    for family, group in groupby(record["cells"], key=lambda c: c["family"]):
        cells = list(group)
        columns = [
            [c[name]["covered"] for c in cells if c["subjects"] == n] for n in SHOWN for name in ("resampled", "ours")
        ]
        told = " | ".join(f"{min(column):.1f}–{max(column):.1f}" for column in columns)
        rows.append(f"| {family} | {len(columns[0])} | {told} |")
    return "\n".join(rows)


def in_words(record: dict[str, Any]) -> str:
    """What docs/tournaments.md says of the rest."""
    steps = ", ".join(
        f"between {row['lowest']:.1f} and {row['highest']:.1f} with {row['subjects']}"
        for row in record["lattice"]
        if row["subjects"] in SHOWN
    )
    itself, span = record["against_itself"][0], record["of_44_in_64"]
    excluded = {name: 100 - itself[name]["covered"] for name in ("ours", "resampled")}
    ends = {name: f"[{100 * low:.0f}, {100 * high:.0f}]" for name, (low, high) in span.items()}
    lines = [
        f"With one hard pair a subject, coverage jumps with the true rate: over rates from 0.5 to 0.97 it lies {steps} "
        "subjects (exact).",
        "A model against itself on 32 subjects of two pairs: the interval leaves 50% out in "
        f"{excluded['ours']:.1f}% of evaluations (before: {excluded['resampled']:.1f}%). A rate as far off as 69% "
        f"comes in {itself['as_far_as_69']:.1f}% of them; its interval is {ends['ours']} on average (before: "
        f"{ends['resampled']}).",
    ]
    outside = [
        f"{c['ours']['covered']:.2f} with {c['subjects']} subjects of “{c['family']}” "
        f"({', '.join(f'{k} {v}' for k, v in c['world'].items())})"
        for c in record["missed"]
    ]
    lines.append(f"Outside of what is asked: {'; '.join(outside) or 'none'}.")
    return "\n".join(line for text in lines for line in wrap(text, 120))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the repetitions")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    part = 20 if args.quick else 1
    cells = []
    for world in worlds():
        for subjects, n in REPETITIONS.items():
            cells.append(cell(world, subjects, n // part))
            print(line(cells[-1]), flush=True)
    found = {
        "command": "python benchmarks/interval_coverage.py" + (" --quick" if args.quick else ""),
        "environment": environment(),
        "asked": {"least": LEAST, "of_200": list(BAND)},
        "missed": missed(cells),
        "lattice": [lattice(subjects) for subjects in REPETITIONS],
        "against_itself": against_itself(20_000 // part),
        "of_44_in_64": of_44_in_64(),
        "cells": cells,
        "processor_seconds": round(time.process_time(), 1),
    }
    write_json(args.output, found)
    print(as_markdown(found))
    print(in_words(found))


if __name__ == "__main__":
    main()
