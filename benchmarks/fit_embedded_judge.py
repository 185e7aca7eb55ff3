"""Fit what each part of the embedded judge counts: `python benchmarks/fit_embedded_judge.py --data DIR --readers DIR`.

The first holds the folders `ibm-rank30k` and `ukpconvarg1`, the second `f0.safetensors` and so on, readers that were
trained without one fold of the motions (`train_argument_reader.py --without 0`). What is fitted are the few numbers of
`Scale`, by all pairs of which the better is known: people's arguments, UKP's choices, and the tuning half of the gold
set, every text measured by a reader and by heads that never saw its motion. One sum cannot have all kinds at their
best, since not every side can be read: `WANTED` says of each what share is enough, and what it counts to miss it.
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
from softgrpo.judges.embedded.argument_score import Scale, parts_of_arguments
from softgrpo.judges.embedded.convincing import Head, load_head
from softgrpo.judges.embedded.first_edition import guards_of_argument, of_coherence
from softgrpo.judges.embedded.judge import own, read_arguments
from softgrpo.judges.embedded.total import TAIL

WANTED = {
    "choices": (0.815, 8.0),
    "choices_alike": (0.745, 2.0),
    "side": (0.845, 2.0),
    "weak_side": (0.72, 1.0),
    "topic": (0.968, 4.0),
    "quality": (0.785, 3.0),
}
"""the share that is enough, and the weight of what is missing; `choices` are UKP's, `choices_alike` those between texts
of like length"""
GOLD = (0.975, 1.0)
"""the same for each kind of the gold set"""
OF_SENTINEL = {"side": (0.95, 2.0), "weak_side": (0.9, 1.0), "topic": (0.98, 3.0), "quality": (0.76, 1.0)}
START = Scale(
    convincing=1.0,
    quality=0.4,
    centre=2.0,
    side=8.0,
    side_from=-1.0,
    side_width=2.5,
    topic=6.0,
    topic_from=-1.0,
    topic_width=1.5,
    people=2.0,
    people_from=-3.5,
    people_width=0.5,
    guards=0.15,
)
SENTINEL = Scale(side=8.0, side_from=-1.0, topic=8.0, topic_from=-0.5)
FACTORS, WIDTHS, BENDS = (0.02, 12.0), (0.4, 3.0), (-6.0, 4.0)
"""bounds of what parts count, of how gentle a bend is, and of where it lies: a step would be fitted to single texts"""
BY_HAND = ("guards", "temperature")
"""not tried; the guards are for what no pair here shows, so that no share would tell what they are worth"""
TRIES = 2500
MOVED = (0.35, 0.7)
"""standard deviations of a change: of the logarithm of what is positive, of the rest"""


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


def only_read(reader: OneReader, items: Sequence[Any]) -> Measures:
    """What a reader alone makes of texts, as the sentinel does."""
    side, topic, quality, people = reader(items)
    nothing = np.zeros(len(items))
    return Measures(
        own_side=side,
        on_topic=topic,
        quality=quality,
        people=people,
        convincing=nothing,
        coherent=nothing,
        guards=nothing,
    )


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
    """Pairs of one kind with their measures, the share that is enough, and the weight of what is missing."""

    measures: Measures
    better: np.ndarray
    worse: np.ndarray
    wanted: float
    weight: float

    def gaps(self, scores: np.ndarray) -> np.ndarray:
        return scores[self.better] - scores[self.worse]


def of_kinds(found: Measures, pairs: PairSet, wanted: dict[str, tuple[float, float]]) -> list[Known]:
    return [
        Known(measures=found, better=pairs.better[mine], worse=pairs.worse[mine], wanted=enough, weight=weight)
        for kind, (enough, weight) in wanted.items()
        if (mine := pairs.kinds == kind).any()
    ]


def fit_scale(known: Sequence[Known], start: Scale = START) -> Scale:
    """The scale that misses least of what is wanted, by trying small changes, with the likeliest temperature."""
    rng, best = np.random.default_rng(0), (missed(known, start), start)
    names = [name for name, value in asdict(start).items() if value and name not in BY_HAND]
    for _ in range(TRIES):
        changed = rng.choice(names, rng.integers(1, 4), replace=False)
        tried = replace(best[1], **{name: moved(name, getattr(best[1], name), rng.normal()) for name in changed})
        if (loss := missed(known, tried)) < best[0]:
            best = (loss, tried)
    final = [(k.weight, gap) for k, gap in zip(known, gaps(known, best[1]), strict=True)]

    def surprise(temperature: float) -> float:
        return sum(weight * float(np.logaddexp(0, -gap / temperature).mean()) for weight, gap in final)

    return replace(best[1], temperature=min(np.exp(np.linspace(-2, 2.5, 300)), key=surprise).item())


def moved(name: str, value: float, by: float) -> float:
    if name.endswith("_from") or name == "centre":
        return float(np.clip(value + MOVED[1] * by, *BENDS))
    return float(np.clip(value * np.exp(MOVED[0] * by), *(WIDTHS if name.endswith("_width") else FACTORS)))


def gaps(known: Sequence[Known], scale: Scale) -> list[np.ndarray]:
    scores = {id(k.measures): k.measures.scores(scale) for k in known}
    return [k.gaps(scores[id(k.measures)]) for k in known]


def missed(known: Sequence[Known], scale: Scale) -> float:
    shares = [float((gap > 0).mean()) for gap in gaps(known, scale)]
    return sum(k.weight * max(0.0, k.wanted - share) for k, share in zip(known, shares, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sets:
    """Everything that a scale is fitted to, but people's choices."""

    check: PairSet
    check_measures: Measures
    gold: PairSet
    gold_measures: Measures

    def known(self) -> list[Known]:
        gold = {kind: GOLD for kind in sorted(set(self.gold.kinds)) if kind not in ONLY_MEASURED}
        return of_kinds(self.check_measures, self.check, WANTED) + of_kinds(self.gold_measures, self.gold, gold)


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


def known_choices(found: Measures, pairs: Pairs, beside: frozenset[int]) -> list[Known]:
    """All choices on the other topics, and those between texts of like length."""
    seen = ~np.isin(pairs.pair_topic, list(beside))
    alike = within_a_third(pairs.n_words.astype(float), pairs)
    return [
        Known(measures=found, better=pairs.better[rows], worse=pairs.worse[rows], wanted=wanted, weight=weight)
        for name, rows in (("choices", seen), ("choices_alike", seen & alike))
        for wanted, weight in (WANTED[name],)
    ]


def within_a_third(lengths: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Pairs in which the shorter text has more than two thirds of the longer one's length."""
    a, b = lengths[pairs.better], lengths[pairs.worse]
    return np.minimum(a, b) / np.maximum(a, b) > 2 / 3


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
    judge = fit_scale([*sets.known(), *known_choices(found, pairs, frozenset())])

    second, check = OneReader(ArgumentReader(model, load_reader(DATA / "sentinel.safetensors"))), sets.check
    sentinel = fit_scale(of_kinds(only_read(second, check.items), check, OF_SENTINEL), SENTINEL)
    scales = {"judge": asdict(judge), "sentinel": asdict(sentinel)}
    args.output.write_text(json.dumps(scales, indent=1) + "\n", encoding="utf8")
    print(json.dumps(scales, indent=1))


if __name__ == "__main__":
    main()
