"""What identifies a judgement, and what is drawn from it that nobody can foresee. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SECRET = b"softgrpo"
"""stands in for a run's own secret where there is no run"""
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""one token each in every vocabulary, and no words"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nonce:
    """The mark of a call's fences, and the labels by which its verdict is read."""

    fence: str
    labels: tuple[str, ...]
    """of the first text, of the second, and of a tie where one is allowed"""


def judgement_key(
    *,
    judge: str,
    template: str,
    criteria: str,
    question: str,
    first: str,
    second: str,
    method: str,
    parameters: Mapping[str, object] | None = None,
    sample: int = 0,
) -> str:
    """Names one judgement: the same question to the same judge about the same texts in the same order, drawn again.

    `judge` is provider:name@address, or a local model's name with a hash of its weights; `sample` numbers votes.

    >>> same = dict(judge="j", template="1", criteria="c", question="q", method="chat")
    >>> len(judgement_key(first="a", second="b", **same))
    64
    >>> judgement_key(first="a", second="b", **same) == judgement_key(first="b", second="a", **same)
    False
    """
    return content_hash(
        judge, template, criteria, question, first, second, method, sorted((parameters or {}).items()), sample
    )


def content_hash(*parts: object) -> str:
    """SHA-256 over parts that cannot run into each other.

    >>> content_hash("a", "bc") == content_hash("ab", "c")
    False
    """
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def draw_nonce(secret: bytes, key: str, texts: Sequence[str], *, n_labels: int = 2, letters: str = LETTERS) -> Nonce:
    """Drawn by HMAC-SHA256 (Bellare, Canetti and Krawczyk, 1996) of the key, when the texts are there.

    60 bits of fence, in none of the texts, and different letters. Repeatable for who knows the secret.

    >>> one, other = draw_nonce(b"s", "key", ["x"]), draw_nonce(b"t", "key", ["x"])
    >>> one == draw_nonce(b"s", "key", ["x"]), one.fence == other.fence, len(one.fence)
    (True, False, 12)
    """
    for attempt in range(1 << 16):
        drawn = hmac.digest(secret, f"{key}/{attempt}".encode(), "sha256")
        fence = base64.b32encode(drawn[:8])[:12].decode().lower()
        if not any(fence in text for text in texts):
            break
    number, left, labels = int.from_bytes(drawn[8:], "big"), list(letters), []
    for _ in range(n_labels):
        number, which = divmod(number, len(left))
        labels.append(left.pop(which))
    return Nonce(fence=fence, labels=tuple(labels))
