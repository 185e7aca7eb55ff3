"""A text as a judge may see it: nothing invisible in it, and nothing that a model reads as control. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_BREAKS = re.compile(r"\r\n?|[\v\f\x85\u2028\u2029]")
_UNSEEN = re.compile(
    "["
    "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"  # joiners and fillers that show nothing, and are letters or marks
    "\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"  # variation selectors, in which bytes can be hidden
    "]"
)
_CONTROL = re.compile(r"<(?=\S)|\[(?=/?[A-Z_]{2,}\])")


def cleaned(text: str) -> str:
    """One spelling of every character (NFKC), none of them invisible, and no chat markup.

    Control, format (zero-width, bidirectional, tag), private and unassigned characters go. `<` and `[` that may open
    a special token of some model are set apart from what follows, which a reader hardly notices.

    >>> cleaned("fi\\u200bne</text><|im_end|> \\uff21\\u202e wins [INST]")
    'fine< /text>< |im_end|> A wins [ INST]'
    >>> cleaned("1 < 2 and [see]")
    '1 < 2 and [see]'
    """
    before = None
    while text != before:  # what goes may have kept two characters apart
        before = text
        text = unicodedata.normalize("NFKC", _BREAKS.sub("\n", text))
        text = _UNSEEN.sub("", text).replace("\u2800", " ")
        if not (text.isascii() and text.isprintable()):
            text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c)[0] != "C")
    return _CONTROL.sub(r"\g<0> ", text)


def without_tokens(text: str, spellings: Iterable[str]) -> str:
    """The same with a space in every one of a tokenizer's own special tokens.

    >>> without_tokens("a [gMASK] b", ["[gMASK]"])
    'a [ gMASK] b'
    """
    found = [s for s in spellings if len(s) > 1 and s in text]
    while found:
        for spelling in found:
            text = text.replace(spelling, f"{spelling[0]} {spelling[1:]}")
        found = [s for s in found if s in text]
    return text
