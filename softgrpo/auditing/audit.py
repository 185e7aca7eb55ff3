"""Is this judge fit to train against? Pairs with a known answer, and small tournaments, in both orders."""

from __future__ import annotations

import math
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

from softgrpo.auditing import examine
from softgrpo.auditing.examine import Figure, Seen
from softgrpo.auditing.gold import GoldPair
from softgrpo.records import Judge, Verdict
from softgrpo.tournament.run import Tournament, run_tournaments
from softgrpo.tournament.schedule import round_robin


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What is found about a judge. Figures have their 95% interval over subjects."""

    judge: str
    how: dict[str, int]
    """by which means the verdicts came"""
    n_pairs: int
    """gold pairs asked about"""
    n_subjects: int
    """what they are about"""
    agreement: Figure
    """share of gold pairs won by the better text"""
    agreement_by_kind: dict[str, Figure]
    n_by_kind: dict[str, int]
    """gold pairs asked about; a figure's `n` are those of them that were judged in both orders"""
    first_share: Figure
    position_bias: Figure
    noise: Figure
    consistency: Figure
    """of gold pairs: between texts of equal worth a sound judge, too, may go either way"""
    ties: Figure
    cycles: Figure
    length_preference: Figure
    n_verdicts: int
    failure_rate: float
    failures: dict[str, int]
    mean_mass: float
    """probability on the labels, where the judge tells; the rest went to no answer"""
    calls_per_1000: float
    tokens_per_1000: tuple[float, float]
    """read and written, per thousand matches"""
    seconds_per_1000: float

    def to_dict(self) -> dict[str, Any]:
        """One mapping, as it is written."""
        return asdict(self)


def audit(
    judge: Judge, gold: Sequence[GoldPair], *, pairs: int = 64, groups: int = 8, group_size: int = 6, seed: int = 0
) -> Audit:
    """Ask a judge about up to `pairs` gold pairs and `groups` round robins, each match in both orders.

    A group's texts answer one prompt: the sound one and the faulty ones that go with it.
    """
    chosen = _spread(gold, pairs, seed)
    tables = _tables(gold, groups, group_size, seed)
    tournaments = [Tournament(contest=p.contest) for p in chosen]
    tournaments += [Tournament(contest=replace(p.contest, texts=texts)) for p, texts in tables]
    started = time.monotonic()
    found = _both_ways(judge, tournaments)
    seconds = time.monotonic() - started
    of_gold = [
        _seen(p, (p.better, p.worse), (0, 1), verdicts, gold=1, kind=p.kind)
        for p, verdicts in zip(chosen, found, strict=False)
    ]
    of_tables = [
        [_seen(p, texts, (i, j), verdicts, gold=int(i == 0)) for i, j in combinations(range(len(texts)), 2)]
        for (p, texts), verdicts in zip(tables, found[len(chosen) :], strict=True)
    ]
    everything = of_gold + [seen for table in of_tables for seen in table]
    verdicts = [v for some in found for v in some]
    failure_rate, why = examine.failures(verdicts)
    kinds = sorted({p.kind for p in chosen})
    masses = [v.mass for v in verdicts if v.mass is not None]
    thousand = 1000 / max(len(verdicts), 1)
    return Audit(
        judge=judge.name,
        how={how: sum(v.how == how for v in verdicts) for how in sorted({v.how for v in verdicts})},
        n_pairs=len(chosen),
        n_subjects=len({p.unit for p in chosen}),
        agreement=examine.agreement(of_gold),
        agreement_by_kind={kind: examine.agreement([s for s in of_gold if s.kind == kind]) for kind in kinds},
        n_by_kind={kind: sum(p.kind == kind for p in chosen) for kind in kinds},
        first_share=examine.first_share(everything),
        position_bias=examine.position_bias(everything),
        noise=examine.noise(everything),
        consistency=examine.consistency(of_gold),
        ties=examine.ties(everything),
        cycles=examine.cyclic_share(of_tables, [list(combinations(range(len(texts)), 2)) for _, texts in tables]),
        length_preference=examine.length_preference(everything),
        n_verdicts=len(verdicts),
        failure_rate=failure_rate,
        failures=why,
        mean_mass=sum(masses) / len(masses) if masses else math.nan,
        calls_per_1000=sum(v.usage.requests for v in verdicts) * thousand,
        tokens_per_1000=(
            sum(v.usage.input_tokens for v in verdicts) * thousand,
            sum(v.usage.output_tokens for v in verdicts) * thousand,
        ),
        seconds_per_1000=seconds * thousand,
    )


def n_calls(gold: Sequence[GoldPair], *, pairs: int, groups: int, group_size: int, seed: int = 0) -> int:
    """How many matches an audit asks for."""
    tables = _tables(gold, groups, group_size, seed)
    return 2 * len(_spread(gold, pairs, seed)) + sum(len(texts) * (len(texts) - 1) for _, texts in tables)


def _both_ways(judge: Judge, tournaments: Sequence[Tournament]) -> list[tuple[Verdict, ...]]:
    """Both orders even of a judge that scores texts, so that every judge answers the same questions."""
    if not judge.scores_texts:
        return run_tournaments(judge, tournaments)
    contests = [b.contest for b in tournaments]
    return judge.judge(
        [replace(c, matches=round_robin(range(len(c.texts)), objective=c.objective.name)) for c in contests]
    )


def _seen(
    pair: GoldPair,
    texts: Sequence[str],
    ij: tuple[int, int],
    verdicts: Sequence[Verdict],
    *,
    gold: int,
    kind: str = "",
) -> Seen:
    by_order = {(v.match.first, v.match.second): v for v in verdicts}
    lengths = [max(len(texts[k]), 1) for k in ij]
    return Seen(
        unit=pair.unit,
        forward=by_order[ij],
        backward=by_order[ij[::-1]],
        gold=gold,
        kind=kind,
        length_ratio=math.log2(lengths[0] / lengths[1]),
    )


def _spread(gold: Sequence[GoldPair], most: int, seed: int) -> list[GoldPair]:
    """Up to `most` pairs, as many of each kind as possible."""
    by_kind: dict[str, list[GoldPair]] = defaultdict(list)
    for pair in random.Random(seed).sample(list(gold), len(gold)):
        by_kind[pair.kind].append(pair)
    rounds = [
        pair for depth in range(len(gold)) for kind in sorted(by_kind) for pair in by_kind[kind][depth : depth + 1]
    ]
    return rounds[:most]


def _tables(gold: Sequence[GoldPair], most: int, size: int, seed: int) -> list[tuple[GoldPair, tuple[str, ...]]]:
    """Up to `most` groups of up to `size` different texts that answer one prompt, the sound one first."""
    by_prompt: dict[tuple[str, str], list[GoldPair]] = defaultdict(list)
    for pair in gold:
        if pair.worse.strip():
            by_prompt[pair.prompt.id, pair.better].append(pair)
    tables = []
    for key in sorted(by_prompt):
        found = random.Random(f"{seed}/{key}").sample(by_prompt[key], len(by_prompt[key]))
        texts = tuple(dict.fromkeys([found[0].better, *(p.worse for p in found)]))[:size]
        if len(texts) >= 3:
            tables.append((found[0], texts))
    return random.Random(seed).sample(tables, min(most, len(tables)))
