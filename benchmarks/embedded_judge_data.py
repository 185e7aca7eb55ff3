"""What the embedded judge is fitted to and measured on: people's arguments, and pairs of which the better is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
from argument_reader_data import family, load_arguments, load_motions
from train_embedded_judge import PAIR, item_for

from softgrpo.judges.text_scores import Item

CLEARLY_BETTER = 0.25
"""difference of people's quality from which one argument is better than another"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSet:
    """Texts, and pairs of them of which the first is better, by kind."""

    items: tuple[Item, ...]
    better: np.ndarray
    worse: np.ndarray
    kinds: np.ndarray
    units: np.ndarray
    """[pairs] the motion: pairs of one are drawn together when an interval is made"""

    def won(self, scores: np.ndarray) -> np.ndarray:
        """[pairs] 1 where the better text has the higher score."""
        gap = scores[self.better] - scores[self.worse]
        return (gap > 0) + 0.5 * (gap == 0)


class Gatherer:
    """Texts by number, each once, and pairs of them."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, str, str], int] = {}
        self.pairs: list[tuple[int, int, str, str]] = []

    def add(self, kind: str, motion: str, side: str, better: str, worse: str) -> None:
        numbers = (self.numbers.setdefault((text, motion, side), len(self.numbers)) for text in (better, worse))
        self.pairs.append((*numbers, kind, motion))

    def done(self) -> PairSet:
        better, worse, kinds, units = zip(*self.pairs, strict=True)
        return PairSet(
            items=tuple(item_for(*key) for key in self.numbers),
            better=np.array(better),
            worse=np.array(worse),
            kinds=np.array(kinds),
            units=np.array(units),
        )


def of_people(folder: Path, parts: Sequence[str], *, per_motion: int = 60, pairs: int = 60, seed: int = 0) -> PairSet:
    """Pairs on the motions of some parts of IBM's data, `pairs` of each kind and motion at most:

    side          an argument for the side asked for, against one for the other side
    weak_side     the same, where the one for the other side is clearly better by people's quality
    topic         an argument on the motion and side, against one on another motion
    quality       of two on the motion and side the clearly better one
    """
    rng = np.random.default_rng(seed)
    motions, arguments = load_motions(), load_arguments(folder)
    chosen = {name: _some(rng, [a for a in arguments if a.motion == name], per_motion) for name in sorted(motions)}
    names = [name for name in chosen if motions[name].part in parts]
    found = Gatherer()
    for name in names:
        mine = chosen[name]
        for pro in (True, False):
            side = "PRO" if pro else "CON"
            right, wrong = [a for a in mine if a.pro == pro], [a for a in mine if a.pro != pro]
            crossed = list(product(right, wrong))
            others = [a for other in names if family(other) != family(name) for a in chosen[other]]
            kinds = {
                "side": crossed,
                "weak_side": [(a, b) for a, b in crossed if b.quality - a.quality > CLEARLY_BETTER],
                "topic": list(zip(right, _some(rng, others, len(right)), strict=True)),
                "quality": [
                    (a, b) if a.quality > b.quality else (b, a)
                    for a, b in combinations(right, 2)
                    if abs(a.quality - b.quality) > CLEARLY_BETTER
                ],
            }
            for kind, known in kinds.items():
                for a, b in _some(rng, known, pairs // 2):
                    found.add(kind, name, side, a.text, b.text)
    return found.done()


def of_gold(lines: Sequence[dict[str, Any]]) -> PairSet:
    """The gold set's pairs."""
    found = Gatherer()
    for g in lines:
        found.add(g["kind"], g["prompt"]["motion"], g["prompt"]["side"], *(g[which] for which in PAIR))
    return found.done()


def _some(rng: np.random.Generator, known: list[Any], n: int) -> list[Any]:
    return [known[i] for i in rng.permutation(len(known))[:n]]
