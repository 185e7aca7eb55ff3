"""The form a completion must have, and how well it keeps it. Pure.

<reasoning>
...
</reasoning>
<answer>
...
</answer>

This is the form called `reasoning_answer`. A task may ask for none: then the whole reply is what is judged.
"""

from __future__ import annotations

import re

TAGS = ("<reasoning>", "</reasoning>", "<answer>", "</answer>")
_STRICT = re.compile(r"\s*<reasoning>(.*?)</reasoning>\s*<answer>(.*?)</answer>\s*", re.DOTALL)


def section(text: str, tag: str) -> str | None:
    """What stands between one pair of tags; None when there is not exactly one pair, or nothing in it.

    >>> section("<answer>\\nYes.\\n</answer>", "answer")
    'Yes.'
    >>> section("<answer>a</answer><answer>b</answer>", "answer") is None
    True
    """
    start, end = f"<{tag}>", f"</{tag}>"
    if text.count(start) != 1 or text.count(end) != 1:
        return None
    inside = text[text.index(start) + len(start) :]
    if end not in inside:
        return None
    return inside[: inside.index(end)].strip() or None


def judged_text(text: str, form: str | None, tag: str) -> str | None:
    """What a judge is shown of a reply: its section, or the whole where no form is asked for; None where that is
    nothing, which forfeits.

    >>> judged_text("<answer>Yes.</answer> So.", "reasoning_answer", "answer"), judged_text(" Yes. ", None, "answer")
    ('Yes.', 'Yes.')
    """
    return text.strip() or None if form is None else section(text, tag)


def strict_format(text: str) -> float:
    """1 when the text is the two sections and nothing else, each tag once, each section filled; else 0.

    >>> strict_format("<reasoning>\\na\\nb\\n</reasoning>\\n<answer>\\nc\\n</answer>\\n")
    1.0
    >>> strict_format("<reasoning>a</reasoning><answer>c</answer> Thanks!")
    0.0
    """
    if any(text.count(tag) != 1 for tag in TAGS):  # before the pattern, which over repeated tags would take for ever
        return 0.0
    match = _STRICT.fullmatch(text)
    return float(bool(match and match[1].strip() and match[2].strip()))


def soft_format(text: str) -> float:
    """1 when the sections come in their order somewhere in the text; else 0."""
    for tag in TAGS:  # no pattern: over repeated tags it would try every combination
        _, found, text = text.partition(tag)
        if not found:
            return 0.0
    return 1.0


def tag_count(text: str) -> float:
    """The seed's count: 0.125 for each tag that occurs exactly once, less 0.001 per character after the last tag.

    >>> tag_count("<reasoning>a</reasoning><answer>b</answer>"), tag_count("<reasoning>a")
    (0.5, 0.125)
    """
    count = 0.125 * sum(text.count(tag) == 1 for tag in TAGS)
    if text.count("</answer>") == 1:
        count -= 0.001 * len(text.split("</answer>")[1].rstrip())
    return count
