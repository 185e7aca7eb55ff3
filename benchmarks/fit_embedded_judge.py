"""Fit what each part of the embedded judge counts: `python benchmarks/fit_embedded_judge.py --data DIR --readers DIR`.

The first holds the folders `ibm-rank30k` and `ukpconvarg1`, the second `f0.safetensors` and so on, readers that were
trained without one fold of the motions (`train_argument_reader.py --without 0`). What is fitted are the few numbers of
`Scale`, by all pairs of which the better is known: people's arguments, UKP's choices, and the tuning half of the gold
set, every text measured by a reader and by heads that never saw its motion. Every kind of pair counts as stated in
`KINDS`, however many pairs it has.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from argument_reader_data import FOLDS, folds, load_motions
from argument_reader_data import of_gold as trained_gold
from embedded_judge_data import PairSet, of_gold, of_people
from scipy.optimize import minimize
from train_embedded_judge import (
    ONLY_MEASURED,
    LeftOut,
    Pairs,
    _lines,
    all_features,
    item_for,
    kept,
    load_pairs,
    select,
    weak_samples,
)

from softgrpo.judges.embedded.argument_reader import DATA, ArgumentReader, load_reader
from softgrpo.judges.embedded.argument_score import Scale, parts_of_arguments, sigmoid
from softgrpo.judges.embedded.convincing import Head, load_head
from softgrpo.judges.embedded.first_edition import guards_of_argument, of_coherence
from softgrpo.judges.embedded.judge import own, read_arguments
from softgrpo.judges.embedded.total import TAIL

KINDS = {"convincing": 6.0, "quality": 2.0, "side": 2.0, "weak_side": 1.0, "topic": 2.0}
GOLD = 0.4
"""each kind of the gold set"""
START = Scale(
    convincing=1.0,
    side_from=-3.0,
    side_width=0.5,
    topic_from=-2.0,
    people=1.0,
    people_from=-2.0,
    coherent=0.3,
    guards=0.3,
)
SENTINEL = Scale(side_from=-1.0, topic_from=-1.0)
EDGE = 0.7
"""log-odds: how soft the edge between won and lost is"""
WEIGHTS = ("convincing", "quality", "side", "topic", "people", "coherent", "guards")
POSITIVE = (*WEIGHTS, "side_width", "topic_width", "people_width")
FACTORS, WIDTHS = (np.log(0.02), np.log(10.0)), (np.log(0.4), np.log(3.0))
BENDS = (-4.0, 3.0)
"""where a bend may lie, and how sharp it may be: a step would be fitted to single texts"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What was read of texts, [texts] each."""

    own_side: np.ndarray
    on_topic: np.ndarray
    quality: np.ndarray
    people: np.ndarray
    convincing: np.ndarray
    coherent: np.ndarray
    """what is taken off for incoherence"""
    guards: np.ndarray
    """and by the guards"""

    def scores(self, scale: Scale) -> np.ndarray:
        parts = parts_of_arguments(
            scale,
            own_side=self.own_side,
            on_topic=self.on_topic,
            quality=self.quality,
            people=self.people,
            convincing=self.convincing,
        )
        value = sum(parts.values()) + scale.coherent * self.coherent + scale.guards * self.guards
        return np.where(value > 0, value, -TAIL * np.log1p(-np.minimum(value, 0) / TAIL))


class Readers:
    """The reader of the package, and for the motions that it was trained on those that were not."""

    def __init__(self, model: Any, folder: Path) -> None:
        whole = ArgumentReader(model, load_reader(DATA / "judge.safetensors"))
        parts = [ArgumentReader(model, load_reader(folder / f"f{k}.safetensors")) for k in range(FOLDS)]
        trained = {m.motion for m in load_motions().values() if m.part in ("judge", "choices")}
        self.readers = [*parts, whole]
        self.fold = folds(sorted(trained | {a.motion for a in trained_gold().arguments}))

    def __call__(self, items: Sequence[Any]) -> np.ndarray:
        """[4, items] own side, topic, quality and people."""
        out = np.zeros((4, len(items)))
        which = np.array([self.fold.get(item.prompt.meta["motion"], FOLDS) for item in items])
        for k in np.unique(which):
            rows = np.flatnonzero(which == k)
            out[:, rows] = read(self.readers[k], [items[i] for i in rows])
        return out

    @property
    def name(self) -> str:
        return str([reader.weights.heads.sum().item() for reader in self.readers])


class OneReader:
    """One reader for all texts."""

    def __init__(self, reader: ArgumentReader) -> None:
        self.reader, self.name = reader, str(reader.weights.heads.sum().item())

    def __call__(self, items: Sequence[Any]) -> np.ndarray:
        return read(self.reader, items)


def read(reader: ArgumentReader, items: Sequence[Any]) -> np.ndarray:
    """[4, items] own side, topic, quality and people."""
    found = read_arguments(reader, items)
    return np.stack([own(found, items), found.topic, found.quality, found.people])


def measures(
    reader: Readers | OneReader,
    items: Sequence[Any],
    features: dict,
    convincing: np.ndarray,
    coherent: np.ndarray,
) -> Measures:
    """Of texts whose frozen features and heads' scores are known."""
    what = ("reader", reader.name, *(f"{i.prompt.id}\n{i.text}" for i in items))
    side, topic, quality, people = kept(what, lambda: reader(items))
    endings = zip(features["fluency", 0], features["endings", 0], strict=True)
    guards = [sum(guards_of_argument(i, *row, 1.0).values()) for i, row in zip(items, endings, strict=True)]
    return Measures(
        own_side=side,
        on_topic=topic,
        quality=quality,
        people=people,
        convincing=convincing,
        coherent=np.array([of_coherence(c) for c in coherent]),
        guards=np.array(guards),
    )


def of_set(
    model: Any, reader: Readers | OneReader, head: Head, pairs: PairSet, whole: PairSet | None = None
) -> Measures:
    """Measures of a set on which no head was fitted; `whole` is one of which it is a part, read at once."""
    texts = sorted({i.text for i in (whole or pairs).items})
    numbers = {text: k for k, text in enumerate(texts)}
    rows = np.array([numbers[i.text] for i in pairs.items])
    features = {name: values[rows] for name, values in all_features(model, tuple(texts)).items()}
    X = select(features, (head.mean_layers, head.last_layers))
    return measures(reader, pairs.items, features, head(X), head.coherent(X))


class Choices:
    """People's choices between arguments, each topic measured by heads that were fitted without it."""

    def __init__(self, model: Any, reader: Readers, pairs: Pairs) -> None:
        weak = weak_samples(model)
        self.features = all_features(model, pairs.texts)
        self.left_out = LeftOut(self.features, pairs, weak, all_features(model, tuple(t for t, _ in weak)))
        self.items = [item_for(t, *m) for t, m in zip(pairs.texts, pairs.motions, strict=True)]
        self.reader, self.pairs = reader, pairs
        self.topics = sorted(set(pairs.topic))

    def without(self, beside: frozenset[int]) -> tuple[Measures, Any]:
        """Each topic by heads without it and without those beside; the recipe chosen without those beside."""
        choice = self.left_out.best([t for t in self.topics if t not in beside], beside)
        convincing, coherent = np.zeros(len(self.items)), np.zeros(len(self.items))
        for t in self.topics:
            mine = self.pairs.topic == t
            convincing[mine] = self.left_out.scores(choice, beside | {t})[mine]
            of_topic = self.left_out.coherent(choice.layers, beside | {t})
            coherent[mine] = of_topic.of(self.left_out.X[choice.layers][mine])
        return measures(self.reader, self.items, self.features, convincing, coherent), choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Pairs of one kind with their measures, and what the kind counts."""

    measures: Measures
    better: np.ndarray
    worse: np.ndarray
    weight: float


def of_kinds(found: Measures, pairs: PairSet, weights: dict[str, float]) -> list[Known]:
    return [
        Known(measures=found, better=pairs.better[mine], worse=pairs.worse[mine], weight=weight)
        for kind, weight in weights.items()
        if (mine := pairs.kinds == kind).any()
    ]


def fit_scale(known: Sequence[Known], start: Scale = START) -> Scale:
    """The scale by which most of the better texts win, with the temperature that makes the outcomes likeliest."""
    unused = [n for n in WEIGHTS if not getattr(start, n)]
    left = {*unused, *(f"{n}_{what}" for n in unused for what in ("from", "width"))}
    names = [name for name in asdict(start) if name not in {*left, "temperature"}]

    def scale_of(theta: np.ndarray) -> Scale:
        values = dict(zip(names, map(float, theta), strict=True))
        return replace(start, **{n: float(np.exp(v)) if n in POSITIVE else v for n, v in values.items()})

    def gaps(scale: Scale) -> list[tuple[float, np.ndarray]]:
        scores = {id(k.measures): k.measures.scores(scale) for k in known}
        return [(k.weight, scores[id(k.measures)][k.better] - scores[id(k.measures)][k.worse]) for k in known]

    def lost(theta: np.ndarray) -> float:
        """The share of pairs that go wrong, with a soft edge: what is far off already counts no more than it does."""
        return sum(weight * float(sigmoid(-gap / EDGE).mean()) for weight, gap in gaps(scale_of(theta)))

    bounds = [WIDTHS if n.endswith("_width") else FACTORS if n in POSITIVE else BENDS for n in names]
    theta = np.array([np.log(v) if n in POSITIVE else v for n, v in asdict(start).items() if n in names])
    theta = minimize(lost, theta, method="L-BFGS-B", bounds=bounds).x
    scale = scale_of(theta)
    final = gaps(scale)

    def surprise(temperature: float) -> float:
        return sum(weight * float(np.logaddexp(0, -gap / temperature).mean()) for weight, gap in final)

    return replace(scale, temperature=min(np.exp(np.linspace(-2, 2.5, 300)), key=surprise).item())


@dataclass(frozen=True, slots=True, kw_only=True)
class Sets:
    """Everything that a scale is fitted to, but people's choices."""

    check: PairSet
    check_measures: Measures
    gold: PairSet
    gold_measures: Measures

    def known(self) -> list[Known]:
        gold = dict.fromkeys(sorted(set(self.gold.kinds)), GOLD)
        return of_kinds(self.check_measures, self.check, KINDS) + of_kinds(self.gold_measures, self.gold, gold)


def gold_lines(*splits: str) -> list[dict[str, Any]]:
    return [g for g in _lines(DATA / "gold.jsonl") if g["split"] in splits]


def load_sets(model: Any, reader: Readers, head: Head, data: Path) -> Sets:
    check = of_people(data / "ibm-rank30k", ("check", "judge"), per_motion=30, pairs=30)
    gold = of_gold([g for g in gold_lines("tune") if g["kind"] not in ONLY_MEASURED or g["kind"] == "wrong_side"])
    return Sets(
        check=check,
        check_measures=of_set(model, reader, head, check),
        gold=gold,
        gold_measures=of_set(model, reader, head, gold, of_gold(gold_lines("tune", "held_out"))),
    )


def known_choices(found: Measures, pairs: Pairs, beside: frozenset[int]) -> Known:
    seen = ~np.isin(pairs.pair_topic, list(beside))
    return Known(measures=found, better=pairs.better[seen], worse=pairs.worse[seen], weight=KINDS["convincing"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with ibm-rank30k and ukpconvarg1")
    parser.add_argument("--readers", type=Path, required=True, help="folder with f0.safetensors and so on")
    parser.add_argument("--output", type=Path, default=DATA / "scales.json", help="file to write")
    args = parser.parse_args()
    from softgrpo.model_interface import load_local

    model, head = load_local("embedded"), load_head()
    reader = Readers(model, args.readers)
    sets, pairs = load_sets(model, reader, head, args.data), load_pairs(args.data / "ukpconvarg1")
    choices = Choices(model, reader, pairs)
    found, _ = choices.without(frozenset())
    judge = fit_scale([*sets.known(), known_choices(found, pairs, frozenset())])

    second, check = OneReader(ArgumentReader(model, load_reader(DATA / "sentinel.safetensors"))), sets.check
    sentinel = fit_scale(of_kinds(of_set(model, second, head, check), check, KINDS), SENTINEL)
    scales = {"judge": asdict(judge), "sentinel": asdict(sentinel)}
    args.output.write_text(json.dumps(scales, indent=1) + "\n", encoding="utf8")
    print(json.dumps(scales, indent=1))


if __name__ == "__main__":
    main()
