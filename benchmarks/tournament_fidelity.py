"""How much of the truth does a tournament recover, and for how many calls? `python benchmarks/tournament_fidelity.py`.

Writes `tournament_fidelity.json` beside itself and prints the table; `--quick` takes 50 groups a cell. One thread.

The world: G texts of skill N(0, 1); the judge's log-odds that the first text of a match wins are

    skill_first - skill_second + cycle of this pair + bias + noise of this match

with normal cycles (antisymmetric, the same each time a pair meets) and normal noise. A soft verdict tells their
sigmoid, a hard one only who is ahead. The truth is each text's mean noiseless and unbiased probability over the others.
The figure is the correlation of scores with it inside a group, as a mean over groups with its 95% normal interval;
scores that are all equal count as 0. Groups come one after another, and what the first ones teach of the bias and the
noise serves the later ones, as in a run. Every way to hold a tournament sees the same groups, and the same noise in
the same match, so that differences between ways are paired.

The bound is the correlation of the matched Bayes estimate on the same matches: see `tournament_bound.py`.
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
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
from tournament_bound import Told, expected_scores

from softgrpo.files import write_json
from softgrpo.records import Match, Verdict
from softgrpo.reporting.recorder import environment
from softgrpo.tournament.bias import Bias, learned
from softgrpo.tournament.log_odds import log_odds
from softgrpo.tournament.rating import rate
from softgrpo.tournament.schedule import Plan, next_round

OUTPUT = Path(__file__).with_suffix(".json")
SIZES, NOISES, BIASES, CYCLES = (8, 16, 32, 64), (0.5, 1.0, 2.0), (0.0, 1.5, 4.0), (0.0, 0.5)
CHECKED = 1
"""groups of a cell in which the arithmetic over whole arrays is compared with the package's"""
PROMISED = ("fixed_order", "chunks", "anchor", "elimination")
"""ways that ours should beat with as many calls"""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A judge, and groups of texts for it."""

    players: int = 16
    noise: float = 1.0
    bias: float = 1.5
    cycles: float = 0.0
    hard: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A way to hold a tournament and to read it."""

    schedule: str
    """a plan's kind, or `fixed_order`: every pair once, the earlier text first, as the seed does it"""
    calls: int | None = None
    rating: str = "bradley_terry"
    shared: bool = True
    """the bias estimate goes from group to group"""
    cross_entropy: bool = False
    """soft verdicts are read as shares of games won, which the likelihood of winners fits"""

    @property
    def label(self) -> str:
        undone = ("" if self.shared else ", each group alone") + (", cross-entropy" if self.cross_entropy else "")
        return f"{self.schedule}, {self.rating}{undone}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a way recovered in `N` groups."""

    correlations: np.ndarray
    """[N]"""
    calls: float
    """mean over groups"""
    ms: float
    """processor time of a group"""
    told: Told | None = None


@lru_cache(maxsize=1)
def drawn(players: int, groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[N, G] skills, [N, G, G] unit cycles and unit noise of every ordered match; the same for every world and way."""
    rng = np.random.default_rng(players)
    skills = rng.normal(size=(groups, players))
    cycles = rng.normal(size=(groups, players, players))
    noise = rng.normal(size=(groups, players, players))
    return skills, (cycles - cycles.transpose(0, 2, 1)) / math.sqrt(2), noise


@lru_cache(maxsize=1)
def judged(world: World, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """[N, G, G] the judge's log-odds of every ordered match, and the [N, G] truth."""
    skills, cycles, noise = drawn(world.players, groups)
    quality = skills[:, :, None] - skills[:, None, :] + world.cycles * cycles
    return quality + world.noise * noise + world.bias, row_means(1 / (1 + np.exp(-quality)))


def row_means(p_NGG: np.ndarray) -> np.ndarray:
    """[N, G] mean over the others."""
    return (p_NGG.sum(2) - np.diagonal(p_NGG, axis1=1, axis2=2)) / (p_NGG.shape[2] - 1)


@lru_cache(maxsize=20_000)
def first_round(plan: Plan, players: int, seed: int) -> tuple[tuple[Match, ...], list[int], list[int]]:
    """The matches that are asked for before anything is known, and their sides."""
    matches = next_round(plan, range(players), (), seed=seed)
    return matches, [m.first for m in matches], [m.second for m in matches]


def hold(way: Method, world: World, told_GG: np.ndarray, seed: int, bias: Bias) -> tuple[Verdict, ...]:
    """The verdicts of one tournament."""
    p_GG = (told_GG > 0).astype(float) if world.hard else 1 / (1 + np.exp(-told_GG))
    how = "text" if world.hard or way.cross_entropy else "log_odds"
    if way.schedule == "fixed_order":
        places = combinations(range(world.players), 2)
        return tuple(Verdict(match=Match(first=i, second=j), p_first=float(p_GG[i, j]), how=how) for i, j in places)
    plan = Plan(kind=way.schedule, calls=way.calls)
    matches, first, second = first_round(plan, world.players, seed)
    verdicts: tuple[Verdict, ...] = ()
    while matches:
        answers = p_GG[first, second].tolist()
        verdicts += tuple(Verdict(match=m, p_first=p, how=how) for m, p in zip(matches, answers, strict=True))
        if plan.kind not in ("adaptive", "swiss", "elimination"):
            break
        matches = next_round(plan, range(world.players), verdicts, seed=seed, bias=bias)
        first, second = [m.first for m in matches], [m.second for m in matches]
    return verdicts


def found_by(way: Method, world: World, groups: int) -> Found:
    """One cell, through the package."""
    told_NGG, truth = judged(world, groups)
    bias, scores, sides = Bias(), np.zeros_like(truth), []
    began = time.process_time()
    for k in range(groups):
        verdicts = hold(way, world, told_NGG[k], k, bias)
        scores[k] = rate(world.players, verdicts, rating=way.rating, bias=bias).scores
        if way.shared and way.rating == "bradley_terry":
            bias = learned(bias, [(world.players, verdicts)])
        sides += [(k, v.match.first, v.match.second) for v in verdicts]
    ms = 1000 * (time.process_time() - began) / groups
    at = tuple(np.array(sides).T)
    told = Told(group=at[0], first=at[1], second=at[2], log_odds=told_NGG[at])
    return Found(correlations=correlations(scores, truth), calls=len(sides) / groups, ms=ms, told=told)


def found_by_all(world: World, groups: int) -> Found:
    """Win shares of the round robin in both orders, over whole arrays; the package agrees in the first groups."""
    told_NGG, truth = judged(world, groups)
    began = time.process_time()
    most = log_odds(1.0)
    if world.hard:
        ahead = (told_NGG > 0).astype(float)
        p_NGG = (ahead + 1 - ahead.transpose(0, 2, 1)) / 2
    else:
        told = np.clip(told_NGG, -most, most)
        p_NGG = 1 / (1 + np.exp((told.transpose(0, 2, 1) - told) / 2))
    scores = 1.5 * (2 * row_means(p_NGG) - 1)
    ms = 1000 * (time.process_time() - began) / groups
    way = Method(schedule="round_robin", rating="win_share")
    for k in range(min(CHECKED, groups)):
        verdicts = hold(way, world, told_NGG[k], k, Bias())
        np.testing.assert_allclose(rate(world.players, verdicts).scores, scores[k], atol=1e-9)
    calls = world.players * (world.players - 1)
    return Found(correlations=correlations(scores, truth), calls=calls, ms=ms)


def correlations(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """[N] Pearson's; 0 where the estimate does not tell the texts apart."""
    a, b = scores - scores.mean(1, keepdims=True), truth - truth.mean(1, keepdims=True)
    lengths = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    flat = np.ptp(scores, axis=1) < 1e-9
    return np.where(flat, 0.0, (a * b).sum(1) / np.where(flat, 1.0, lengths))


def bound(found: Found, world: World, groups: int) -> dict[str, float]:
    """The matched Bayes estimate on the same matches."""
    assert found.told is not None
    parts = {"noise": world.noise, "bias": world.bias, "cycles": world.cycles, "hard": world.hard}
    best = expected_scores(found.told, groups, world.players, **parts)
    return interval(correlations(best, judged(world, groups)[1]))


def interval(values: np.ndarray) -> dict[str, float]:
    """A mean and its 95% normal interval."""
    mean, half = float(values.mean()), 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return {"mean": round(mean, 4), "low": round(mean - half, 4), "high": round(mean + half, 4)}


def row(way: Method, world: World, found: Found, **more: Any) -> dict[str, Any]:
    calls = {"calls": round(found.calls, 1), "asked": way.calls or round(found.calls)}
    cell = {**asdict(world), "way": way.label, **calls, **interval(found.correlations)}
    return {**cell, "ms": round(found.ms, 2), **more}


def ours(world: World) -> list[Method]:
    """At the prices of the targets and of what others do; away from noise 1, where time is spent elsewhere, fewer."""
    prices = (30, 48, 60, 64, 120)
    some = prices if world.noise == 1 else (48,)
    return [
        *(Method(schedule="random_regular", calls=calls) for calls in prices),
        *(Method(schedule="adaptive", calls=calls) for calls in some),
    ]


def others(world: World) -> list[Method]:
    """What comparable systems do, and two of our choices undone."""
    undone = [
        Method(schedule="random_regular", calls=48, shared=False),
        Method(schedule="random_regular", calls=48, cross_entropy=True),
    ]
    return [
        Method(schedule="fixed_order", rating="win_share"),
        Method(schedule="chunks", rating="win_share"),
        *(
            Method(schedule=kind, rating=r)
            for kind in ("anchor", "elimination", "swiss")
            for r in ("win_share", "bradley_terry")
        ),
        *(undone if world.noise == 1 and not world.hard else []),
    ]


def compared(groups: int) -> Iterator[dict[str, Any]]:
    """Sixteen texts: every way in every world without cycles; others beside ours with as many calls."""
    for noise, hard, bias in product((1.0, 0.5, 2.0), (False, True), BIASES):
        world = World(hard=hard, noise=noise, bias=bias)
        with_calls: dict[tuple[str, float], np.ndarray] = {}
        yield row(Method(schedule="round_robin", rating="win_share"), world, found_by_all(world, groups))
        for way in ours(world):
            found = found_by(way, world, groups)
            with_calls[way.schedule, float(way.calls or 0)] = found.correlations
            yield row(way, world, found, bound=bound(found, world, groups))
        for way in others(world):
            found = found_by(way, world, groups)
            better = {
                kind: interval(mine - found.correlations)
                for (kind, calls), mine in with_calls.items()
                if calls == found.calls
            }
            yield row(way, world, found, bound=bound(found, world, groups), better_by=better)


def grid(groups: int) -> Iterator[dict[str, Any]]:
    """Random regular tournaments of three and four calls a text in every world, both orders of every pair beside."""
    for players, hard, noise, cycles, bias in product(SIZES, (False, True), NOISES, CYCLES, BIASES):
        world = World(players=players, noise=noise, cycles=cycles, hard=hard, bias=bias)
        yield row(Method(schedule="round_robin", rating="win_share"), world, found_by_all(world, groups))
        for per_text in (3, 4):
            way = Method(schedule="random_regular", calls=per_text * players)
            found = found_by(way, world, groups)
            yield row(way, world, found, bound=bound(found, world, groups))


def line(r: dict[str, Any]) -> str:
    """One row of the printed table."""
    text = f"{'hard' if r['hard'] else 'soft'} G {r['players']:2} noise {r['noise']:.1f} bias {r['bias']:.1f} "
    text += f"cycles {r['cycles']:.1f} {r['calls']:6.1f} calls  {r['mean']:.3f} [{r['low']:.3f}, {r['high']:.3f}] "
    text += f"{r['ms']:5.1f} ms  {r['way']}"
    if "bound" in r:
        text += f"  (bound {r['bound']['mean']:.3f})"
    for kind, d in r.get("better_by", {}).items():
        text += f"  ({kind} {d['mean']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}])"
    return text


def targets(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was promised for sixteen texts, noise 1, soft verdicts: figure, bar, and whether it is met."""
    here = [r for r in rows if not r["hard"] and r["noise"] == 1]
    told = {(r["way"], r["asked"], r["bias"]): r for r in here}
    mean = lambda *key: float(told[key]["mean"])  # noqa: E731
    found = []

    def promise(name: str, value: float, bar: float, met: bool) -> None:
        found.append({"target": name, "value": round(value, 4), "bar": bar, "met": met})

    for kind in ("random_regular", "adaptive"):
        name = f"{kind}, bradley_terry"
        for calls, bar in ((48, 0.90), (64, 0.93)):
            value = mean(name, calls, 1.5)
            promise(f"{kind}: {calls} calls at bias 1.5 reach at least", value, bar, value >= bar)
            lost = mean(name, calls, 0.0) - mean(name, calls, 4.0)
            promise(f"{kind}: {calls} calls lose by a bias of 4 at most", lost, 0.02, lost <= 0.02)
        share = mean(name, 120, 1.5) / mean("round_robin, win_share", 240, 1.5)
        promise(f"{kind}: share of both orders' figure with half the calls, at least", share, 0.97, share >= 0.97)
    for r in here:
        if r["bias"] == 1.5 and r["way"].startswith(PROMISED):
            for kind, d in r.get("better_by", {}).items():
                name = f"{kind}: better than {r['way']} with {r['calls']:.0f} calls at bias 1.5, low end above"
                promise(name, d["low"], 0.0, d["low"] > 0)
    return found


def as_markdown(record: dict[str, Any]) -> str:
    """The table of docs/tournaments.md: G = 16, noise 1, no cycles."""
    cells = {
        (r["way"], r["calls"], r["bias"], r["hard"]): r
        for r in record["compared"]
        if r["players"] == 16 and r["noise"] == 1.0 and r["cycles"] == 0.0
    }
    rows = ["| way | calls | soft, bias 0 | bias 1.5 | bias 4 | bound at 1.5 | hard, bias 1.5 |", "|" + "---|" * 7]
    for way, calls in sorted({key[:2] for key in cells}, key=lambda key: (key[1], key[0])):
        found = [cells.get((way, calls, *which)) for which in ((0.0, False), (1.5, False), (4.0, False), (1.5, True))]
        if any(r is None for r in found):
            continue
        told = [f"{r['mean']:.3f} [{r['low']:.3f}, {r['high']:.3f}]" for r in found if r]
        bound = (found[1] or {}).get("bound")
        told.insert(3, f"{bound['mean'] if isinstance(bound, dict) else bound:.3f}" if bound is not None else "")
        rows.append(f"| {way.replace('_', ' ')} | {calls:g} | " + " | ".join(told) + " |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=1000, help="of every cell")
    parser.add_argument("--quick", action="store_true", help="50 groups of every cell")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    groups = 50 if args.quick else args.groups
    tables: dict[str, list[dict[str, Any]]] = {"compared": [], "grid": []}
    for name, rows in (("compared", compared(groups)), ("grid", grid(groups))):
        for r in rows:
            print(line(r), flush=True)
            tables[name].append(r)
    promised = targets(tables["compared"])
    for p in promised:
        print(f"{'met    ' if p['met'] else 'NOT MET'} {p['target']} {p['bar']}: {p['value']}")
    found = {
        "command": f"python benchmarks/tournament_fidelity.py --groups {groups}",
        "environment": environment(),
        "processor_seconds": round(time.process_time(), 1),
        "groups": groups,
        "targets": promised,
        **tables,
    }
    write_json(args.output, found)


if __name__ == "__main__":
    main()
