"""The score of texts that are no arguments: jokes and recipes, of which no head knows anything. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from softgrpo.judges.embedded import guards
from softgrpo.judges.embedded.stems import content_stems
from softgrpo.judges.text_scores import Item

ABOUT_SLOPE = 1.5
ABOUT_BOUND = 3.0
"""they are told apart by their aboutness, up to a bound"""
USED_WEIGHT = 6.0
"""log-odds between a recipe that uses the whole basket and one that uses nothing of it"""


def parts_of_other(item: Item, *, about: float, fluency: float) -> dict[str, float]:
    """What each part adds to the score of a joke or a recipe."""
    found = guards.surface(item.text)
    parts = {name: -value for name, value in guards.penalties(found, is_argument=False).items()}
    parts["fluency"] = -guards.of_fluency(fluency, found.n_words)
    parts["about"] = ABOUT_SLOPE * min(about, ABOUT_BOUND)
    if isinstance(ingredients := item.prompt.meta.get("ingredients"), list):
        parts["used"] = USED_WEIGHT * (share_used(item.text, ingredients) - 1)
    return parts


def share_used(text: str, ingredients: Sequence[str]) -> float:
    """The share of the basket that a recipe names, each ingredient by the last of its content words.

    >>> share_used("Fry the tomatoes in oil.", ["ripe tomato", "dark chocolate"])
    0.5
    """
    named = set(content_stems(text))
    wanted = [stems[-1] for stems in map(content_stems, ingredients) if stems]
    return sum(w in named for w in wanted) / max(1, len(wanted))
