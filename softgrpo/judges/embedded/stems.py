"""Words and their stems: what of a text carries matter. Pure functions of strings; English only."""

from __future__ import annotations

import re

from softgrpo.judges.embedded.lexicon import FUNCTION_WORDS

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def words(text: str) -> list[str]:
    """The words of a text, in lower case.

    >>> words("Don't PANIC, it's 7 o’clock!")
    ["don't", 'panic', "it's", '7', "o'clock"]
    """
    return [w.replace("’", "'").lower() for w in WORD.findall(text)]


def stem(word: str) -> str:
    """A word without its usual English endings, crudely.

    >>> [stem(w) for w in ("cities", "banned", "banning", "cars", "closed", "school's", "genetically")]
    ['citi', 'ban', 'ban', 'car', 'clos', 'school', 'genetic']
    """
    word = word.removesuffix("'s")
    for ending in ("ically", "ation", "ition", "ingly", "ings", "ing", "edly", "ies", "ied", "ers", "ed", "er", "es",
                   "ly", "s", "e", "y"):  # fmt: skip
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)] + {"ically": "ic", "ies": "i", "ied": "i", "y": "i"}.get(ending, "")
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiouls":
        word = word[:-1]
    return word


def is_function(word: str) -> bool:
    """Whether a word carries grammar alone."""
    return word in FUNCTION_WORDS


def content_stems(text: str) -> list[str]:
    """The stems of the words that carry matter, in order, repeats included."""
    return [stem(w) for w in words(text) if not is_function(w)]
