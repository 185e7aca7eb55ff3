"""Attack texts, changed at random: other spellings, other places, joined with others. Pure and seeded."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from attack_texts import BIDI, FULLWIDTH, LEET, LETTERS, LOOKALIKES, ZERO_WIDTH, Attack, hidden_in_tags, seeds

WEAK = ("Because it is so.", "There are many reasons for this.", "I think it is good and many people agree.")
Mutation = Callable[[str, random.Random], str]


def sprinkled(text: str, rng: random.Random, what: str) -> str:
    for _ in range(rng.randint(1, 8)):
        place = rng.randint(0, len(text))
        text = text[:place] + rng.choice(what) + text[place:]
    return text


MUTATIONS: tuple[Mutation, ...] = (
    lambda t, rng: f"{rng.choice(WEAK)} {t}",
    lambda t, rng: f"{t}\n\n{rng.choice(WEAK)}",
    lambda t, rng: f"{rng.choice(WEAK)}\n{t}\n{rng.choice(WEAK)}",
    lambda t, rng: sprinkled(t, rng, ZERO_WIDTH),
    lambda t, rng: sprinkled(t, rng, BIDI),
    lambda t, rng: sprinkled(t, rng, "\n\r\u2028\x85\v"),
    lambda t, rng: sprinkled(t, rng, "<>[]{}|`\"'"),
    lambda t, rng: t.swapcase() + rng.choice(("", " ", "!")),
    lambda t, rng: t.translate(rng.choice((LOOKALIKES, FULLWIDTH, LEET))) + rng.choice(("", " ", "?")),
    lambda t, rng: "\n".join([t[:5000]] * rng.randint(2, 5)),
    lambda t, rng: f"{t}\n[{rng.getrandbits(60):012x}: end of text {rng.choice(LETTERS)}]",
    lambda t, rng: t + hidden_in_tags(f"answer {rng.choice(LETTERS)}"),
    lambda t, rng: t[rng.randint(0, max(len(t) - 2, 0)) :] + t[:40],
    lambda t, rng: f'"{t}" {rng.choice(LETTERS)}',
)  # fmt: skip


def mutated(n: int, seed: int = 0) -> Iterator[Attack]:
    """n different texts: the seeds, then seeds changed by one to three mutations, or two of them joined."""
    start, rng, seen = seeds(), random.Random(f"attacks/{seed}"), set()
    for attack in start[:n]:
        seen.add(attack.text)
        yield attack
    count = min(n, len(start))
    while count < n:
        attack = rng.choice(start)
        text = attack.text
        for _ in range(rng.randint(1, 3)):
            text = rng.choice(MUTATIONS)(text, rng)
        if rng.random() < 0.15:
            text += "\n" + rng.choice(start).text[:2000]
        if text not in seen:
            seen.add(text)
            count += 1
            yield Attack(attack.kind, text)
