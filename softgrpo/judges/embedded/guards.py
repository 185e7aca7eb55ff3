"""What a text's surface gives away: copying, repetition, lists of words, filler, markup, talk to the judge.

Pure functions of strings. English only: the lists of words below decide what counts as content.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from dataclasses import dataclass

from softgrpo.judges.embedded.lexicon import ADDRESS, STOCK_WORDS
from softgrpo.judges.embedded.stems import WORD, content_stems, is_function, stem, words

_SENTENCE = re.compile(r"[^.!?\n]+")
_ENDED = re.compile(r"([^.!?\n]+)([.!?\n]?)")
_STOCK_STEMS = frozenset(stem(w) for w in STOCK_WORDS)


def copied_spans(text: str, motion: str) -> list[tuple[int, int]]:
    """Where a text says the motion again: character spans made of the motion's words and grammar between them.

    A span needs three different content words of the motion, or all of them where it has fewer.

    >>> copied_spans("I say zoos should be closed. Animals suffer in zoos.", "Zoos should be closed")
    [(6, 27)]
    """
    own = set(content_stems(motion))
    need = min(3, len(own))
    if not need:
        return []
    spans: list[tuple[int, int]] = []
    run: list[tuple[str, int, int]] = []

    def close() -> None:
        if len({s for s, _, _ in run}) >= need:
            spans.append((run[0][1], run[-1][2]))
        run.clear()

    for match in WORD.finditer(text):
        word = match.group().replace("’", "'").lower()
        if stem(word) in own and not is_function(word):
            run.append((stem(word), match.start(), match.end()))
        elif not is_function(word):
            close()
    close()
    return spans


def without_copies(text: str, motion: str) -> str:
    """The text without its restatements of the motion, so that what is left must show what it is about.

    Sentences that have no content word but the motion's go as well.

    >>> without_copies("I say zoos should be closed. Zoos! Animals suffer in zoos.", "Zoos should be closed")
    'Animals suffer in zoos.'
    """
    own = set(content_stems(motion))
    if not own:
        return text
    spans = copied_spans(text, motion)
    for match in _SENTENCE.finditer(text):
        stems = content_stems(match.group())
        if stems and own.issuperset(stems):
            spans.append((match.start(), match.end() + 1))
    if not spans:
        return text
    covered = {i for start, end in spans for i in range(start, end)}
    return re.sub(r"\s+", " ", "".join(c for i, c in enumerate(text) if i not in covered)).strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """Counts of one text, from which the guards are computed."""

    n_words: int
    n_new: int
    """different content stems that are neither the motion's nor stock"""
    density: float
    """n_new per word, of at most 100 words"""
    distinct_2: float
    """share of different pairs of neighbouring words"""
    distinct_content: float
    """share of different stems among content words"""
    copied: float
    """share of the words that lie in restatements of the motion, beyond one"""
    motion_share: float
    """share of the content words that are the motion's"""
    function_share: float
    """share of words that carry grammar"""
    sentence_overlap: float
    """mean over the sentences after the first: greatest share of content stems shared with an earlier one"""
    fragments: float
    """share of sentences that are a clause without its main clause: `When a car stays outside.`"""
    same_openings: int
    """sentences that begin like two earlier ones"""
    markup: float
    """signs that plain prose does not have"""
    capitals: float
    """share of words of two letters or more written in capitals"""
    address: float
    """phrases that talk to the judge or about the contest"""


_MARKS = re.compile(
    r"[*#`~|<>{}\\^=@$→•■▪✓❤]|[\[\]]|(?<!\w)_|_(?!\w)|[\U0001F000-\U0001FAFF☀-➿]|https?:|www\.|[:;]-?[)(]"
)
_LIST = re.compile(r"^\s*(?:[-+]|\d+[.)])\s|\s-\s|\(\d+\)", re.MULTILINE)
_BANGS = re.compile(r"!|\?(?=\?)|\.(?=\.\.\.)")


def surface(text: str, motion: str = "") -> Surface:
    """Count what the guards need; `motion` is what the text must not merely repeat."""
    found = words(text)
    n = len(found)
    own = set(content_stems(motion))
    content = content_stems(text)
    new = {s for s in content if s not in own and s not in _STOCK_STEMS and not s.isdigit()}
    pairs = list(itertools.pairwise(found))
    in_copies = sum(len(words(text[a:b])) for a, b in copied_spans(text, motion))
    letters = [w for w in WORD.findall(text) if len(w) > 1 and w.upper() != w.lower()]
    capitals = sum(w == w.upper() for w in letters)
    return Surface(
        n_words=n,
        n_new=len(new),
        density=len(new) / max(1, min(n, 100)),
        distinct_2=len(set(pairs)) / max(1, len(pairs)),
        distinct_content=len(set(content)) / max(1, len(content)),
        copied=max(0, in_copies - len(words(motion))) / max(1, n),
        motion_share=sum(s in own for s in content) / max(1, len(content)),
        function_share=sum(map(is_function, found)) / max(1, n),
        sentence_overlap=_sentence_overlap(text),
        fragments=_fragments(text),
        same_openings=_same_openings(text),
        markup=len(_MARKS.findall(text)) + len(_LIST.findall(text)) + max(0, len(_BANGS.findall(text)) - 2) / 2,
        capitals=max(0, capitals - 2) / max(1, len(letters)),
        address=sum(weight * len(pattern.findall(text)) for pattern, weight in ADDRESS),
    )


def _sentence_overlap(text: str) -> float:
    """Mean over sentences after the first of the greatest share of content stems that an earlier sentence had."""
    sets = [s for s in (set(content_stems(part)) for part in _SENTENCE.findall(text)) if s]
    shares = [max(len(s & t) / len(s) for t in sets[:i]) for i, s in enumerate(sets) if i]
    return sum(shares) / len(shares) if shares else 0.0


SUBORDINATORS = frozenset(
    "although because if since though unless until when whenever whereas wherever whether which while whose".split()
)


CONTINUING = SUBORDINATORS | frozenset(
    """after and as at before but by for from in into like nor on or over that through to under who whom with
    without""".split()
)
"""words after a comma that do not open a main clause"""


def _fragments(text: str) -> float:
    """Share of sentences that open with a subordinator and set off no part that could be a main clause.

    >>> _fragments("When a ride is free. When it is free, people ride."), _fragments("If you go I go too, of course.")
    (0.5, 0.0)
    >>> _fragments("While someone pays, and others who ride. When did that help?")
    0.5
    """
    sentences = [(words(m[1]), m) for m in _ENDED.finditer(text) if words(m[1])]
    loose = [
        m
        for found, m in sentences
        if _opener(found) in SUBORDINATORS and m[2] != "?" and all(map(_goes_on, re.split("[,;:]", m[1])[1:]))
    ]
    return len(loose) / max(1, len(sentences))


def _opener(found: list[str]) -> str:
    return found[1] if found[0] == "even" and len(found) > 1 else found[0]


def _goes_on(part: str) -> bool:
    """Whether what follows a comma goes on with a clause instead of opening the main one."""
    found = words(part)
    return not found or found[0] in CONTINUING


def _same_openings(text: str) -> int:
    """How many sentences begin with a word that has opened two sentences before; pronouns and articles may.

    >>> _same_openings("When a. When b. When c. When d."), _same_openings("They a. They b. They c.")
    (2, 0)
    """
    found = [words(s)[0] for s in _SENTENCE.findall(text) if words(s)]
    counted = Counter(word for word in found if word not in PLAIN_OPENINGS)
    return sum(max(0, n - 2) for n in counted.values())


PLAIN_OPENINGS = frozenset("a an he i in it my our she that the their there these they this we you".split())

ENOUGH_NEW = 4
"""different content words of its own that a text needs"""
ENOUGH_DENSITY = 0.06
"""of those per word"""
FILLER_SLOPE = 40.0
FRAGMENTS_ENOUGH = 0.2
"""the share of fragments that people's comments have"""
FRAGMENTS_MANY = 8.0
"""per share of fragments beyond a half"""
UNFORESEEN = 6.0
"""per share of fragments beyond enough, and per nat that the sentences' ends are less to be foreseen than"""
ENDING_ENOUGH = -1.5
REFRAIN = 1.0
"""per sentence that opens like two earlier ones, in a text of fragments"""
FULL_DENSITY = 0.2
THIN_SLOPE = 6.0
"""a gentle pull towards texts that say more, below the density of ordinary comments"""


def penalties(found: Surface, *, is_argument: bool = True) -> dict[str, float]:
    """What each guard takes off the score, in log-odds; 0 for ordinary prose, and growing with the offence.

    `is_argument=False` is for jokes and recipes, which may be short, have a refrain, or come as a list.
    """
    over = lambda value, bound: max(0.0, value - bound)  # noqa: E731
    under = lambda value, bound: max(0.0, bound - value)  # noqa: E731
    markup = over(found.markup, 4) if is_argument else found.markup / 4
    return {
        "empty": 100.0 * (found.n_words == 0) + 6.0 * under(found.n_new / ENOUGH_NEW, 1),
        "filler": FILLER_SLOPE * under(found.density, ENOUGH_DENSITY) + THIN_SLOPE * under(found.density, FULL_DENSITY),
        "repeated": 15.0 * under(found.distinct_2, 0.85)
        + 10.0 * under(found.distinct_content, 0.65 if is_argument else 0.5)
        + 5.0 * over(found.sentence_overlap, 0.45),
        "copied": 6.0 * found.copied + 10.0 * over(found.motion_share, 0.45),
        "salad": 20.0 * under(found.function_share, 0.3 if is_argument else 0.2)
        + 15.0 * over(found.function_share, 0.8),
        "markup": 1.2 * math.log1p(markup) + 6.0 * over(found.capitals, 0.15),
        "address": 1.5 * min(over(found.address, 0.5), 4.0),
        "length": 0.04 * over(found.n_words, 110),
    }


def of_fluency(mean_logprob: float, n_words: int) -> float:
    """What is taken off for prose no one writes: too improbable (a salad) or too easy to foresee (a refrain)."""
    if n_words < 4:
        return 0.0
    return 2.5 * min(4.0, max(0.0, -6.6 - mean_logprob)) + 3.0 * max(0.0, mean_logprob + 2.6)


def of_fragments(found: Surface, ending: float) -> float:
    """What is taken off clauses without a main clause, and for opening with them again and again.

    People write such sentences now and then. Most is taken off where the model, too, would not have ended them there:
    `ending` is the mean log-probability of the sentences' ends.

    >>> when = surface("When a car stays outside. When the trees. When noise kills.")
    >>> of_fragments(when, -4.0) > of_fragments(when, -1.0) > of_fragments(surface("Noise kills."), -4.0)
    True
    """
    over = max(0.0, found.fragments - FRAGMENTS_ENOUGH)
    unforeseen = min(1.5, max(0.0, ENDING_ENOUGH - ending))
    many = FRAGMENTS_MANY * max(0.0, found.fragments - 0.5)
    return UNFORESEEN * over * unforeseen + many + REFRAIN * min(found.same_openings, 3) * (over > 0)
