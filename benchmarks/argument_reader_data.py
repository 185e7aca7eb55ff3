"""What the argument reader learns from: motions and how else they can be worded, arguments, policies' texts.

`embedded_judge_motions.jsonl` parts the motions of people's arguments: the judge and the sentinel never train on the
same one; those marked `check` are for choosing; those marked `choices` are UKP's, for the judge. It words each in other
ways, and the other way round, so that the side is read from the motion instead of being known by heart.
`embedded_judge_essays.jsonl` has more motions, parted alike, each with two arguments for either side that were written
for this: longer than people's comments, and seldom naming the side they take.
"""

from __future__ import annotations

import csv
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from train_embedded_judge import MOTIONS as OF_UKP
from train_embedded_judge import SAMPLES, load_pairs

from softgrpo.judges.embedded.argument_reader import DATA, denied

MOTIONS = Path(__file__).with_name("embedded_judge_motions.jsonl")
ESSAYS = Path(__file__).with_name("embedded_judge_essays.jsonl")
FILLER = Path(__file__).with_name("embedded_judge_filler.jsonl")
"""texts that say nothing about anything"""
ANSWERS = Path(__file__).with_name("embedded_judge_answers.jsonl")
"""what policies wrote: motion, side, text, and which policy"""
FOLDS = 4
"""readers that are trained without some of the motions, to be measured on those"""
RELATED = (
    ("cosmetic",),
    ("homeopathy", "naturopathy"),
    ("marriage", "polygamy"),
    ("stay-at-home", "homeschooling", "fatherless"),
    ("pornography", "prostitution"),
    ("capital punishment", "death penalty"),
    ("zoo",),
    ("compulsory",),
    ("space exploration",),
    ("minimum wage",),
)
"""motions on which one argument can serve both: none is off topic for the other, and one fold holds all"""
FEW = 0.1
"""how often a motion with few texts is drawn, beside one of people's"""
MANY = 40
"""with more texts, a motion is one of people's"""
DENIED = 0.4
"""share of motions that are read in denial"""
LONGER = 0.4
"""share of texts made of several arguments: people's comments elsewhere, and what policies write, are longer"""
CHOSEN = 0.5
"""weight of one of people's choices, beside a pair of arguments whose qualities lie so far apart"""
SPOILED = 0.3
"""weight of a pair of a text and what was made of it by spoiling it, or of a text and a policy's"""
NOT_QUALITY = ("wrong_side", "off_topic", "short_sound")
"""kinds of gold pairs that say nothing about the quality of a text in itself"""
APART = 0.05
"""qualities that lie nearer say nothing"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    motion: str
    text: str
    pro: bool | None
    """None where nobody knows"""
    quality: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    motion: str
    part: str
    same: tuple[str, ...] = ()
    opposite: tuple[str, ...] = ()


def load_motions() -> dict[str, Motion]:
    """Motions by name, those of the essays among them."""
    return {
        m["motion"]: Motion(motion=m["motion"], part=m["part"], same=tuple(m["same"]), opposite=tuple(m["opposite"]))
        for m in (*_lines(MOTIONS), *_lines(ESSAYS))
    }


def load_essays() -> list[Argument]:
    return [
        Argument(motion=m["motion"], text=text, pro=side == "pro")
        for m in _lines(ESSAYS)
        for side in ("pro", "con")
        for text in m[side]
    ]


def load_filler() -> list[str]:
    return _lines(FILLER)


def load_arguments(folder: Path) -> list[Argument]:
    """IBM's arguments."""
    with (folder / "arguments.csv").open(encoding="utf8", newline="") as file:
        return [
            Argument(
                motion=row["motion"],
                text=tidy(row["argument"]),
                pro=row["side"] == "PRO",
                quality=float(row["quality"]),
            )
            for row in csv.DictReader(file)
        ]


@dataclass(frozen=True, slots=True)
class Choices:
    """UKP's arguments, and which of two people found more convincing."""

    arguments: list[Argument]
    pairs: list[tuple[Argument, Argument]]


def load_choices(folder: Path) -> Choices:
    found = load_pairs(folder)
    arguments = [
        Argument(motion=motion, text=text, pro=side == "PRO")
        for text, (motion, side) in zip(found.texts, found.motions, strict=True)
    ]
    return Choices(arguments, [(arguments[a], arguments[b]) for a, b in zip(found.better, found.worse, strict=True)])


def of_gold() -> Choices:
    """Pairs of the gold set's tuning half, on motions that its other half and the sentinel do not have."""
    lines = _lines(DATA / "gold.jsonl")
    held_out = {g["prompt"]["motion"] for g in lines if g["split"] == "held_out"}
    elsewhere = {family(m.motion) for m in load_motions().values() if m.part in ("sentinel", "check")}
    pairs = [
        (
            Argument(motion=motion, text=tidy(g["better"]), pro=g["prompt"]["side"] == "PRO"),
            Argument(motion=motion, text=tidy(g["worse"]), pro=None),
        )
        for g in lines
        if g["split"] == "tune"
        and g["kind"] not in NOT_QUALITY
        and (motion := g["prompt"]["motion"]) not in held_out
        and family(motion) not in elsewhere
    ]
    return Choices([argument for pair in pairs for argument in pair], pairs)


def load_written() -> dict[str, list[str]]:
    """What policies wrote, by motion."""
    out: dict[str, list[str]] = defaultdict(list)
    for line in _lines(ANSWERS):
        out[line["motion"]].append(line["text"])
    for text, motion in _lines(SAMPLES):
        out[motion].append(tidy(text))
    return dict(out)


def _lines(path: Path) -> list:
    return [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]


def tidy(text: str) -> str:
    return " ".join(text.split())


def family(motion: str) -> tuple[str, ...]:
    return next((words for words in RELATED if any(w in motion.lower() for w in words)), (motion,))


def folds(motions: Iterable[str]) -> dict[str, int]:
    """The fold of each motion; those of one origin are spread over all."""
    ukp = {motion for motion, _ in OF_UKP.values()}
    known = load_motions()
    where: dict[tuple[str, ...], int] = {}
    for group in (lambda m: m in ukp, lambda m: m in known, lambda m: m not in known):
        for motion in sorted(m for m in motions if group(m)):
            where.setdefault(family(motion), len(where) % FOLDS)
    return {motion: where[family(motion)] for motion in motions}


@dataclass(frozen=True, slots=True)
class Tree:
    """A motion as it is worded in a step, and the texts read behind it."""

    motion: str
    texts: list[str]
    pro: list[float] = field(default_factory=list)
    """nan where nobody knows"""
    on: list[float] = field(default_factory=list)
    people: list[float] = field(default_factory=list)
    pairs: list[tuple[int, int, float]] = field(default_factory=list)
    """texts of which the first is better, and the weight of that"""

    def add(self, text: str, *, pro: float = math.nan, on: float = math.nan, people: float = math.nan) -> None:
        self.texts.append(text)
        self.pro.append(pro)
        self.on.append(on)
        self.people.append(people)


class Trees:
    """Draws the trees of a step."""

    def __init__(
        self,
        arguments: Sequence[Argument],
        pairs: Sequence[tuple[Argument, Argument]],
        written: dict[str, list[str]],
        filler: Sequence[str],
        rng: np.random.Generator,
    ) -> None:
        """`pairs` of which the first is better; `written` by policies, on each motion."""
        self.rng, self.written, self.filler = rng, written, filler
        self.by_motion: dict[str, list[Argument]] = defaultdict(list)
        for a in arguments:
            self.by_motion[a.motion].append(a)
        self.pairs: dict[str, list[tuple[Argument, Argument]]] = defaultdict(list)
        for pair in pairs:
            self.pairs[pair[0].motion].append(pair)
        self.names = sorted(self.by_motion)
        known = load_motions()
        self.motions = {m: known.get(m, Motion(motion=m, part="gold")) for m in self.names}
        share = np.array([1.0 if len(self.by_motion[m]) > MANY else FEW for m in self.names])
        self.share = share / share.sum()
        self.waiting: dict[str, list[Argument]] = {m: [] for m in self.names}

    def draw(self, trees: int, own: int, off: int, written: int, spoiled: int) -> list[Tree]:
        """`trees` motions; of each `own` arguments on it, `off` on other motions, `written` by policies, and
        `spoiled` ones."""
        chosen = self.rng.choice(self.names, trees, replace=False, p=self.share)
        return [self.tree(str(m), own, off, written, spoiled) for m in chosen]

    def tree(self, motion: str, own: int, off: int, written: int, spoiled: int) -> Tree:
        rng = self.rng
        worded, turned = self._worded(motion)
        out = Tree(worded, [])
        for text, pro in self._chosen(out, motion, own) if motion in self.pairs else self._rated(out, motion, own):
            if pro is None:
                out.add(text)
            else:
                out.add(text, pro=float(pro != turned), on=1.0, people=1.0)
        good = [i for i, pro in enumerate(out.pro) if not math.isnan(pro)]
        for _ in range(spoiled):
            better = self._any(good)
            out.pairs.append((better, len(out.texts), SPOILED))
            out.add(self._spoil(out.texts[better], motion))
        if motion in self.written:
            for _ in range(written):
                if len(self.by_motion[motion]) <= MANY:  # people's comments are not always better
                    out.pairs.append((self._any(good), len(out.texts), SPOILED))
                out.add(self._any(self.written[motion]), people=0.0)
        others = [n for n in self.names if family(n) != family(motion)]
        for name in rng.choice(others, off):
            out.add(self._any(self.by_motion[str(name)]).text, on=0.0)
        return out

    def _spoil(self, text: str, motion: str) -> str:
        """A text that is worse than this one, whatever it is."""
        words = text.split()
        if (kind := self.rng.integers(6)) == 0:
            return self._any((motion, *self.motions[motion].same))
        if kind == 1:
            return ". ".join([text.split(". ")[0]] * int(self.rng.integers(3, 6)))
        if kind == 2:
            return " ".join(words[i] for i in self.rng.permutation(len(words)))
        if kind == 3:
            return " ".join(words[: self.rng.integers(1, 6)])
        start = " ".join(words[: self.rng.integers(6, 12)]) + ". " if kind == 4 else ""
        return start + self._any(self.filler)

    def _worded(self, motion: str) -> tuple[str, bool]:
        """The motion in some wording, and whether that says the opposite."""
        m = self.motions[motion]
        kind = self.rng.choice(["plain", "same", "opposite"], p=[0.5, 0.25, 0.25]) if m.same else "plain"
        worded, turned = motion if kind == "plain" else str(self._any(getattr(m, kind))), kind == "opposite"
        return (denied(worded), not turned) if self.rng.random() < DENIED else (worded, turned)

    def _rated(self, out: Tree, motion: str, n: int) -> list[tuple[str, bool | None]]:
        """Arguments whose quality is known, some made longer by others of their side."""
        found: list[tuple[str, bool | None]] = []
        quality = []
        for a in self._next(motion, min(n, len(self.by_motion[motion]))):
            text, q = a.text, a.quality
            if self.rng.random() < LONGER:
                alike = [b for b in self.by_motion[motion] if b.pro == a.pro and b is not a]
                more = self.rng.integers(0, len(alike), self.rng.integers(1, 4)) if alike else ()
                text, q = " ".join([text, *(alike[i].text for i in more)]), math.nan
            found.append((text, a.pro))
            quality.append(q)
        gaps = np.subtract.outer(quality, quality)
        out.pairs.extend((int(i), int(j), float(gaps[i, j])) for i, j in np.argwhere(gaps > APART))
        return found

    def _chosen(self, out: Tree, motion: str, n: int) -> list[tuple[str, bool | None]]:
        """Pairs that people chose between."""
        found: list[tuple[str, bool | None]] = []
        for _ in range(n // 2):
            out.pairs.append((len(found), len(found) + 1, CHOSEN))
            found.extend((a.text, a.pro) for a in self._any(self.pairs[motion]))
        return found

    def _next(self, motion: str, n: int) -> list[Argument]:
        if len(self.waiting[motion]) < n:
            order = self.rng.permutation(len(self.by_motion[motion]))
            self.waiting[motion] += [self.by_motion[motion][i] for i in order]
        taken, self.waiting[motion] = self.waiting[motion][:n], self.waiting[motion][n:]
        return taken

    def _any(self, known: Sequence):
        return known[self.rng.integers(len(known))]
