"""Texts as words. Pure."""

from __future__ import annotations

import re

ALONE = "\u3040-\u30ff\u3400-\u9fff"
"""kana and Han: scripts without spaces, of which each character counts as a word"""
WORD = re.compile(rf"[{ALONE}]|[^\W_{ALONE}]+(?:['’][^\W_{ALONE}]+)*")


def words(text: str) -> tuple[str, ...]:
    """Lower-case words without punctuation; where there are none, what stands between spaces.

    >>> words("**Free buses** don't pay!"), words("?! ...")
    (('free', 'buses', "don't", 'pay'), ('?!', '...'))
    """
    return tuple(WORD.findall(text.casefold()) or text.split())
