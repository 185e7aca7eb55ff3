"""The embedded judge: a score per text from the packaged small model, without a key or a network.

Of an argument two passes are made. One reads it behind its motion, with adapters that were trained on people's
arguments to tell its side, its topic and its quality. The other reads it alone, as the small model is: what people find
convincing (a head fitted to their choices), and whether people would write so. Guards against degenerate texts are
added; they only take away. Jokes and recipes have the guards and their aboutness.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from softgrpo.errors import UserError
from softgrpo.judges.embedded import PARTS
from softgrpo.judges.embedded.aboutness import Aboutness, is_argument
from softgrpo.judges.embedded.argument_reader import DATA, ArgumentReader, ReaderWeights, Readings, load_reader
from softgrpo.judges.embedded.argument_score import Scale, load_scale, parts_of_arguments
from softgrpo.judges.embedded.convincing import Head, load_head, read_for
from softgrpo.judges.embedded.first_edition import guards_of_argument, of_coherence
from softgrpo.judges.embedded.other_tasks import parts_of_other
from softgrpo.judges.embedded.total import total
from softgrpo.judges.text_scores import Item, ScoringJudge
from softgrpo.records import Ledger


class EmbeddedScorer:
    """All the parts together, in two forward passes per text."""

    def __init__(
        self, model: Any, head: Head | None = None, weights: ReaderWeights | None = None, scale: Scale | None = None
    ) -> None:
        self.model = model
        self.head = head or load_head()
        self.scale = scale or load_scale("judge")
        self.reader = ArgumentReader(model, weights or load_reader(DATA / "judge.safetensors"))
        self.temperature = self.scale.temperature
        self.aboutness = Aboutness(model, self.head)

    def score(self, items: Sequence[Item]) -> np.ndarray:
        return np.array([total(parts) for parts in self.parts(items)])

    def parts(self, items: Sequence[Item]) -> list[dict[str, float]]:
        """What each part adds to (or takes off) each text's score, by name, in log-odds before the temperature."""
        out: list[dict[str, float]] = [{} for _ in items]
        for rows, parts_of in zip(split(items), (self._of_arguments, self._of_others), strict=True):
            for i, parts in zip(rows, parts_of([items[i] for i in rows]) if rows else (), strict=True):
                out[i] = parts
        return out

    def facts(self, items: Sequence[Item]) -> dict[str, np.ndarray]:
        """Probabilities [items] that a text argues for its side, and is about its motion; NaN for other texts."""
        return facts(self.reader, items)

    def vectors(self, items: Sequence[Item]) -> np.ndarray | None:
        """[items, 2 H] states of arguments behind their motions; None where a text is no argument."""
        return read_arguments(self.reader, items).states if all(map(is_argument, items)) else None

    def _of_arguments(self, items: Sequence[Item]) -> list[dict[str, float]]:
        found = read_arguments(self.reader, items)
        alone = read_for(self.model, self.head, [item.text for item in items])
        convincing, coherent = self.head(alone.features), self.head.coherent(alone.features)
        own_side = own(found, items)
        of_argument = parts_of_arguments(
            self.scale,
            own_side=own_side,
            on_topic=found.topic,
            quality=found.quality,
            people=found.people,
            convincing=convincing,
        )
        return [
            {name: float(values[i]) for name, values in of_argument.items()}
            | {"coherent": self.scale.coherent * of_coherence(coherent[i])}
            | guards_of_argument(item, alone.fluency[i], alone.endings[i], self.scale.guards)
            for i, item in enumerate(items)
        ]

    def _of_others(self, items: Sequence[Item]) -> list[dict[str, float]]:
        alone, about = read_for(self.model, self.head, [item.text for item in items]), self.aboutness(items)
        return [parts_of_other(item, about=about[i], fluency=alone.fluency[i]) for i, item in enumerate(items)]


class SentinelScorer:
    """The second opinion, `embedded:sentinel`: adapters on other layers, trained on other motions, and nothing else.

    It shares the small model with the judge, and with the judge's adapters the kind of their data. It knows arguments
    only: other texts get no score.
    """

    def __init__(self, model: Any, weights: ReaderWeights | None = None, scale: Scale | None = None) -> None:
        self.scale = scale or load_scale("sentinel")
        self.reader = ArgumentReader(model, weights or load_reader(DATA / "sentinel.safetensors"))
        self.temperature = self.scale.temperature

    def score(self, items: Sequence[Item]) -> np.ndarray:
        out = np.full(len(items), np.nan)
        rows, _ = split(items)
        arguments = [items[i] for i in rows]
        found = read_arguments(self.reader, arguments)
        parts = parts_of_arguments(
            self.scale, own_side=own(found, arguments), on_topic=found.topic, quality=found.quality
        )
        out[rows] = [total(dict(zip(parts, map(float, row), strict=True))) for row in zip(*parts.values(), strict=True)]
        return out

    def facts(self, items: Sequence[Item]) -> dict[str, np.ndarray]:
        """As the judge's own, by the sentinel's adapters."""
        return facts(self.reader, items)


def split(items: Sequence[Item]) -> tuple[list[int], list[int]]:
    """The numbers of the arguments, and of the others."""
    kinds = [is_argument(item) for item in items]
    return [i for i, yes in enumerate(kinds) if yes], [i for i, yes in enumerate(kinds) if not yes]


def read_arguments(reader: ArgumentReader, items: Sequence[Item]) -> Readings:
    """Each text behind its motion."""
    return reader([item.prompt.meta["motion"] for item in items], [item.text for item in items])


def own(found: Readings, items: Sequence[Item]) -> np.ndarray:
    """[items] log-odds that each text speaks for its own side."""
    return found.side * np.array([1.0 if item.prompt.meta["side"] == "PRO" else -1.0 for item in items])


def facts(reader: ArgumentReader, items: Sequence[Item]) -> dict[str, np.ndarray]:
    """`right_side` and `on_topic`, probabilities [items]; nothing where no text is an argument."""
    rows, _ = split(items)
    if not rows:
        return {}
    arguments = [items[i] for i in rows]
    found = read_arguments(reader, arguments)
    out = {name: np.full(len(items), np.nan) for name in ("right_side", "on_topic")}
    for name, odds in (("right_side", own(found, arguments)), ("on_topic", found.topic)):
        out[name][rows] = 1 / (1 + np.exp(-np.clip(odds, -50, 50)))
    return out


class EmbeddedJudge(ScoringJudge):
    """The judge named `embedded` or `embedded:PART`; `model` is the embedded `HuggingFaceModel`.

    It scores each text once and without a call, so that votes, a ledger and a secret are of no use to it.
    """

    def __init__(
        self, name: str, model: Any, *, votes: int = 1, ledger: Ledger | None = None, secret: bytes = b""
    ) -> None:
        _, _, part = name.partition(":")
        if part not in PARTS:
            known = ", ".join(part for part in PARTS if part)
            raise UserError(f"unknown part {part!r} of the embedded judge; choose from {known}, or none for all")
        scorer = PARTS[part](model)
        super().__init__(f"embedded:{part}" if part else "embedded", scorer, temperature=scorer.temperature)
