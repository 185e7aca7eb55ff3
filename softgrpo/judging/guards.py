"""What a text's surface gives away: copying, repetition, lists of words, filler, markup, talk to the judge.

Pure functions of strings. English only: the lists of words below decide what counts as content.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

FUNCTION_WORDS = frozenset(
    """a about above across after again against ago all almost alone along already also although always am among an and
    another any anybody anyone anything are aren't around as at away back be became because become been before behind
    being below beneath beside besides between beyond both but by can can't cannot come could couldn't did didn't do
    does doesn't doing don't done down during each either else enough even ever every everybody everyone everything
    except far few for from further get gets getting give given gives go goes going gone got had has have haven't
    having he he's her here hers herself him himself his how however i i'd i'll i'm i've if in indeed inside instead
    into is isn't it it's its itself just keep kept last least less let let's like likely made make makes making many
    may me might mine more moreover most much must my myself near nearly neither never next no nobody none nor not
    nothing now of off often on once one one's ones only onto or other others ought our ours ourselves out outside over
    own per perhaps put quite rather really same say says seem seems shall she should shouldn't since so some somebody
    someone something sometimes somewhere soon still such take taken takes than that that's the their theirs them
    themselves then there there's therefore these they they're this those though through throughout thus till to
    together too took toward towards under unless until up upon us use used very want was wasn't we we're well went
    were weren't what what's whatever when whenever where whereas whether which whichever while who whoever whole whom
    whose why will with within without won't would wouldn't yes yet you you're your yours yourself two three first
    second third it'd they'd we'd he'd she'd they've we've you've im dont cant doesnt isnt wont didnt thats""".split()
)
"""words that carry grammar, not matter"""

STOCK_WORDS = frozenset(
    """accord accordance account actual actually add agree agreement answer answers argue argument arguments aspect
    aspects assure attention aware basic basically bad begin believe belief best better bring carefully case cases
    certain certainly choice clear clearly come common conclude conclusion consider consideration considered convinced
    could course day debate decision deep deserve deserves detail details differ difference different discuss
    discussion end entire especially essential essentially eventually example examples expand explain extremely fact
    factor facts feel final finally find fine follow forth forward fundamental furthermore future general generally
    glad good great greatly group happen happened happens hard help helps honest honestly hope humble idea ideas image
    impact importance important importantly include including increase increasingly individual individuals interest
    interesting issue issues keep key kind kinds know known large lead leads lesson life line list long look main mainly
    manner matter matters mean means mention mind moment moreover motion move necessary need needed needs new nice note
    number obvious obviously opinion opinions opposite order overall part particular past people perfect person
    personal personally place play point points position positive possible potential present prefer problem problems
    pro proposal prove provide quality question questions read ready realise realize reason reasonable reasons regard
    relevant remember repeat respect rest result right sake same saying sense serious set share show shows side sides
    significant similar simple simply situation situations society sort speak start state statement stay step steps
    stop strong strongly subject sum support sure talk tell term terms thank thing things think thinks thought thoughts
    time times today tomorrow topic topics total totally true truth try turn understand understood various view views
    way ways weigh word words world worth wrong year years yesterday pros cons con lot lots big small able
    text texts winner judge judges reader opponent opponents vote choose select""".split()
)
"""words that fit any topic: they fill a text without saying anything of the matter"""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_SENTENCE = re.compile(r"[^.!?\n]+")


def words(text: str) -> list[str]:
    """The words of a text, in lower case.

    >>> words("Don't PANIC, it's 7 o’clock!")
    ["don't", 'panic', "it's", '7', "o'clock"]
    """
    return [w.replace("’", "'").lower() for w in _WORD.findall(text)]


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


_FUNCTION_STEMS = FUNCTION_WORDS
_STOCK_STEMS = frozenset(stem(w) for w in STOCK_WORDS)


def is_function(word: str) -> bool:
    """Whether a word carries grammar alone."""
    return word in _FUNCTION_STEMS


def content_stems(text: str) -> list[str]:
    """The stems of the words that carry matter, in order, repeats included."""
    return [stem(w) for w in words(text) if not is_function(w)]


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
    spans, run = [], []

    def close() -> None:
        if len({s for s, _, _ in run}) >= need:
            spans.append((run[0][1], run[-1][2]))
        run.clear()

    for match in _WORD.finditer(text):
        word = match.group().replace("’", "'").lower()
        if stem(word) in own and not is_function(word):
            run.append((stem(word), match.start(), match.end()))
        elif not is_function(word):
            close()
    close()
    return spans


def without_copies(text: str, motion: str) -> str:
    """The text with its restatements of the motion cut out, so that what is left must show what it is about."""
    spans = copied_spans(text, motion)
    for start, end in reversed(spans):
        text = text[:start] + text[end:]
    return re.sub(r"\s+", " ", text).strip(" .,;:!?") + "." if spans else text


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
    markup: float
    """signs that plain prose does not have"""
    capitals: float
    """share of words of two letters or more written in capitals"""
    address: float
    """phrases that talk to the judge or about the contest"""


_MARKUP = re.compile(r"[*#`~|<>\[\]{}\\^=@$→•■▪✓❤]|(?<!\w)_|_(?!\w)|[\U0001F000-\U0001FAFF☀-➿]|https?:|www\.|(?m:^\s*(?:[-+]|\d+[.)])\s)|:[-)(]|\s-\s|\(\d+\)|[:;]-?\)")  # fmt: skip  # noqa: E501
_BANG = re.compile(r"[!]|\?\?|\.\.\.\.")
