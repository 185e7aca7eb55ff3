"""A judge's hidden states on texts, where it has any."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from softgrpo.judges.text_scores import Item
from softgrpo.records import Contest, Judge


def vectors_of(judge: Judge, contests: Sequence[Contest]) -> list[np.ndarray | None]:
    """[G, D] float32 for each contest, NaN where a text forfeits; None where the judge cannot tell of all its texts.

    A judge that has vectors has `vectors(items)`, which gives [items, D], or None after all. It is asked once for all.
    """
    vectors = getattr(judge, "vectors", None)
    items = [
        Item(prompt=c.prompt, objective=c.objective, text=text)
        for c in contests
        for text in c.texts
        if text is not None
    ]
    found = vectors(items) if vectors and items else None
    if found is None:
        return [None] * len(contests)
    with np.errstate(over="ignore"):  # to infinity, which is not finite
        rows, out = iter(np.asarray(found, dtype=np.float32)), []
    for contest in contests:
        nowhere = np.full(np.shape(found)[1], np.nan, dtype=np.float32)
        mine = np.array([nowhere if text is None else next(rows) for text in contest.texts])
        shown = [text is not None for text in contest.texts]
        out.append(mine if np.isfinite(mine[shown]).all() else None)
    return out
