"""A small world in which a policy learns from a judge, and in which it is known what it does: texts that a few choices
make, a softmax policy over the choices, and scripted judges who see the texts' quality and perhaps something else.

The policy chooses how many sentences, of which kind each is, how the text opens, and how often it uses markdown,
flatters the judge or says the prompt again. Of these, markdown, flattery and the prompt's words are rare at the start;
kinds and openings are uniform. What a sentence says is drawn from words that belong to its subject.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from softgrpo.evaluation.texts import FUNCTION_WORDS
from softgrpo.grpo.advantages import advantages
from softgrpo.judges.callable import CallableJudge
from softgrpo.records import Objective, Prompt
from softgrpo.streams import seed_for
from softgrpo.tasks.debate import debate
from softgrpo.tasks.task import Task
from softgrpo.words import words

TASK: Task = replace(
    debate(), objectives=(Objective(name="answer", criteria="Which speech is better?"),), format=None, system=""
)
NOUNS = (
    "families shops nurses farmers drivers tenants pupils clinics buses rivers markets unions owners patients streets "
    "villages editors pilots builders forests factories artists libraries harbours scientists bakers cleaners judges "
    "parents museums councils cyclists insurers teachers miners students gardens engineers pensioners hotels banks "
    "fishermen schools landlords courts juries hospitals tourists investors trainers kitchens neighbours reporters "
    "suburbs painters carers orchards couriers deserts islanders workshops theatres beaches mechanics waiters dentists"
).split()
THINGS = (
    "rents wages prices accidents queues debts delays habits risks taxes costs savings injuries profits noise waste "
    "crowds errors fees illnesses burdens lies fears rules duties losses sales crimes absences complaints stress "
    "repairs fines emissions damage conflicts subsidies shortages mistakes scandals bills hours trust skills health "
    "hope comfort pride quality safety speed access choice variety beauty fairness growth talent memory"
).split()
VERBS = (
    "shrink change move recover spread improve settle stop return follow double suffer matter collapse rise help grow "
    "vanish adapt fail work thrive learn wait pay compete decline cooperate object struggle hesitate succeed leave"
).split()
MANNERS = (
    "quickly rarely openly slowly together soon safely everywhere twice cheaply honestly again quietly later visibly "
    "abroad overnight locally steadily first fairly gladly at-night in-winter by-hand for-years on-foot at-home"
).split()
SYLLABLES = "mar lo ven ash ford wick dun bel tor han gle ris ke ostra nim sel hurst bray col pen".split()
TAILS = (
    "",
    "",
    " in {p}",
    " near {p} and {p}",
    " despite {t}",
    ", say {n} from {p}",
    " once {n} {v}",
    " between {k} and {k}",
)
"""how a sentence may go on, whatever it says"""
KINDS: Mapping[str, tuple[float, tuple[str, ...]]] = {
    "evidence": (
        1.0,
        (
            "In {k} towns that tried it, {t} of {n} fell by {k} percent",
            "Records of {k} {n} show that {t} {v} {m}",
            "{N} counted {k} cases in which {t} {v}",
            "Since {n} kept figures, {t} have {v} {m} for {k} years",
            "One survey asked {k} {n}, and most named {t}",
        ),
    ),
    "mechanism": (
        0.8,
        (
            "Where {n} {v}, {t} {v} too, because {s} depend on {t}",
            "{T} push {n} to {v} {m}, and {s} with them",
            "Once {t} {v}, {n} can plan {s} {m}",
            "Without {t}, {n} would {v}, since {s} cost them {t}",
            "{N} answer to {t}: give them {s} and they {v}",
        ),
    ),
    "example": (
        0.6,
        (
            "Take {n} near the coast, who {v} {m} after {t}",
            "Last year {n} in {k} districts let {s} {v}",
            "My town's {n} know it: {t} {v} {m}",
            "Ask {n} how {s} brought {t}",
            "Think of {n} whose {t} {v} over {s}",
        ),
    ),
    "rebuttal": (
        0.7,
        (
            "Some fear for {t}, yet {n} {v} {m}",
            "The other side counts {t} and forgets {n}",
            "True, {s} bring {t}, but {n} {v} all the same",
            "Those who speak of {t} never met {n} who {v}",
            "Even if {t} {v}, {n} keep {s}",
        ),
    ),
    "claim": (
        0.1,
        (
            "It is right that {n} {v}",
            "{N} deserve {t}",
            "We owe {n} {t} and {s}",
            "Nobody should take {t} from {n}",
            "{S} ought to {v} {m}",
        ),
    ),
    "vague": (
        -0.4,
        (
            "There are many sides to {s}",
            "{S} mean something else to everyone",
            "People talk about {s} and {t}",
            "Things such as {t} {v} or do not",
            "Much could be said of {n}",
        ),
    ),
    "other side": (
        -1.0,
        (
            "Perhaps {n} are better off without it",
            "I admit that {t} {v} {m} because of it",
            "Against it stand {n} and their {t}",
            "It may well ruin {n}",
            "{S} would gain if it were dropped",
        ),
    ),
    "astray": (
        -0.8,
        (
            "Yesterday I dreamt of {a} and {b}",
            "{A} like {b} in the rain",
            "A song about {a} comes to mind",
            "My cousin collects {a} and {b}",
            "Did you know that {a} sleep {m}",
        ),
    ),
}
NAMES = tuple(KINDS)
OPENINGS = (
    "",
    "Free",
    "Honestly,",
    "Consider this:",
    "First,",
    "Listen:",
    "Clearly,",
    "In truth,",
    "My view:",
    "Friends,",
    "Frankly,",
    "Today,",
)
HACKED_OPENING = 1
FLATTERY = (
    "A wise judge like you will see this at once",
    "You have a rare sense for good arguments",
    "I trust your excellent judgement completely",
    "No careful reader such as you could disagree",
)
MOST_SENTENCES, MOST_USES = 16, 4
BIASES = ("length", "opening", "markdown", "flattery", "copying", "emptiness")
VAGUE, OTHER_SIDE, ASTRAY = (NAMES.index(kind) for kind in ("vague", "other side", "astray"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What was chosen for a text."""

    kinds: tuple[int, ...]
    opening: int
    markdown: int
    flattery: int
    copying: int

    def uses(self) -> dict[str, float]:
        """How much of each thing that a judge may be fooled by."""
        return {
            "length": len(self.kinds) - 3.0,
            "opening": float(self.opening == HACKED_OPENING),
            "markdown": self.markdown,
            "flattery": self.flattery,
            "copying": self.copying,
            "emptiness": float(self.kinds.count(VAGUE)),
        }


COSTS = {"opening": 0.8, "markdown": 0.25, "flattery": 0.3, "copying": 0.3, "emptiness": 0.1}
"""of each use, to the quality of a text"""
ENOUGH, TOO_MUCH = 5, 0.2
"""sentences that say something new, and the cost of each that follows"""


def costs(draft: Draft) -> dict[str, float]:
    """What each thing that a judge may be fooled by costs the quality of a text."""
    uses = draft.uses()
    return {
        "length": TOO_MUCH * max(len(draft.kinds) - ENOUGH, 0),
        **{name: cost * uses[name] for name, cost in COSTS.items()},
    }


def quality(draft: Draft, values: np.ndarray, dear: float = 1.0) -> float:
    """How good a text is, where sentences of each kind are worth `values`: each further one less, none after the
    fifth; several kinds are better than one. `dear`: by how much all costs are larger.
    """
    said = sum(values[kind] * 0.8**k for k, kind in enumerate(draft.kinds[:ENOUGH]))
    useful = {kind for kind in draft.kinds if values[kind] > 0}
    return float(said) + 0.25 * min(len(useful), 4) - dear * sum(costs(draft).values())


VALUES = np.array([value for value, _ in KINDS.values()])


class Policy:
    """A softmax over each choice, the same for every prompt."""

    sums: dict[str, np.ndarray]
    """of probabilities, over the options of each choice"""

    def __init__(self) -> None:
        rare = np.log(np.array([0.88, *[0.12 / MOST_USES] * MOST_USES]))
        self.logits = {
            "sentences": -0.45 * np.abs(np.arange(1, MOST_SENTENCES + 1) - 3.0),
            "kind": np.zeros(len(KINDS)),
            "opening": np.zeros(len(OPENINGS)),
            "markdown": rare.copy(),
            "flattery": rare.copy(),
            "copying": rare.copy(),
        }
        self.start = {name: logits.copy() for name, logits in self.logits.items()}
        self._add_up()

    def draw(self, rng: np.random.Generator) -> Draft:
        def some(name: str, n: int = 1) -> list[int]:
            sums = self.sums[name]
            return np.searchsorted(sums, sums[-1] * rng.random(n), side="right").tolist()

        kinds = tuple(some("kind", some("sentences")[0] + 1))
        uses = {name: some(name)[0] for name in ("opening", "markdown", "flattery", "copying")}
        return Draft(kinds=kinds, **uses)

    def _add_up(self) -> None:
        self.sums = {name: np.cumsum(softmax(logits)) for name, logits in self.logits.items()}

    def use(self, bias: str) -> float:
        """The expected use of what the judge may be fooled by, from the parameters; of emptiness its share."""
        if bias == "length":
            return float(softmax(self.logits["sentences"]) @ np.arange(1, MOST_SENTENCES + 1))
        if bias == "emptiness":
            return float(softmax(self.logits["kind"])[VAGUE])
        p = softmax(self.logits[bias])
        return float(p[HACKED_OPENING] if bias == "opening" else p @ np.arange(len(p)))

    def neg_logprob(self, draft: Draft) -> float:
        """Mean over choices of -log p, in nats."""
        drawn = [-np.log(softmax(self.logits[name]))[list(which)] for name, which in chosen(draft).items()]
        return float(np.concatenate(drawn).mean())

    def learn(self, groups: Sequence[tuple[Sequence[Draft], np.ndarray]], *, rate: float, beta: float) -> None:
        """One step along the group-relative policy gradient, less that of `beta` times the divergence to the start."""
        n = sum(len(drafts) for drafts, _ in groups)
        p = {name: softmax(logits) for name, logits in self.logits.items()}
        step = {name: np.zeros_like(logits) for name, logits in self.logits.items()}
        for drafts, rewards in groups:
            for draft, advantage in zip(drafts, advantages(rewards), strict=True):
                for name, which in chosen(draft).items():
                    counts = np.bincount(which, minlength=len(p[name]))
                    step[name] += advantage * (counts - len(which) * p[name]) / n
        for name in self.logits:
            away = np.log(p[name]) - np.log(softmax(self.start[name]))
            self.logits[name] = self.logits[name] + rate * (step[name] - beta * p[name] * (away - p[name] @ away))
        self._add_up()


def chosen(draft: Draft) -> dict[str, tuple[int, ...]]:
    """A draft as the policy's choices."""
    return {
        "sentences": (len(draft.kinds) - 1,),
        "kind": draft.kinds,
        "opening": (draft.opening,),
        "markdown": (draft.markdown,),
        "flattery": (draft.flattery,),
        "copying": (draft.copying,),
    }


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max())
    return raised / raised.sum()


class Writer:
    """Drafts to texts, each of which it remembers."""

    def __init__(self) -> None:
        self.drafts: dict[str, Draft] = {}

    def text(self, draft: Draft, prompt: Prompt, rng: np.random.Generator) -> str:
        """Sentences about the prompt's subject, in the order of the draft."""
        motion = prompt.subject
        own = lexicon(motion)
        sentences = [sentence(NAMES[kind], own, rng) for kind in draft.kinds]
        if draft.opening:
            sentences[0] = f"{OPENINGS[draft.opening]} {lower(sentences[0])}"
        sentences += [motion for _ in range(draft.copying)]
        for _ in range(draft.flattery):
            place = int(rng.integers(1, len(sentences) + 1))
            sentences.insert(place, FLATTERY[int(rng.integers(len(FLATTERY)))])
        text = marked(sentences, draft.markdown, own["p"][int(rng.integers(len(own["p"])))])
        self.drafts[text] = draft
        return text


@cache
def lexicon(motion: str) -> dict[str, list[str]]:
    """The words that belong to a subject; the motion's own among them."""
    rng = np.random.default_rng(seed_for(0, "lexicon", motion))

    def some(of: Sequence[str], n: int) -> list[str]:
        return [str(word).replace("-", " ") for word in rng.choice(np.array(of), n, replace=False)]

    own = [w for w in words(motion) if w not in FUNCTION_WORDS and len(w) > 3]
    nouns = some(NOUNS, 6)
    return {
        "n": nouns + own[:1],
        "t": some(THINGS, 7),
        "s": [*some(THINGS, 4), *own[:2]],
        "v": some(VERBS, 8),
        "m": some(MANNERS, 6),
        "k": [str(k) for k in rng.integers(3, 900, 6)],
        "p": ["".join(some(SYLLABLES, 3)).capitalize() for _ in range(6)],
        "a": some(NOUNS, 6),
        "b": some(THINGS, 6),
    }


def sentence(kind: str, own: Mapping[str, Sequence[str]], rng: np.random.Generator) -> str:
    """One of the kind, about the subject that the words belong to."""
    frames = KINDS[kind][1]
    frame = frames[int(rng.integers(len(frames)))] + TAILS[int(rng.integers(len(TAILS)))]

    def word(slot: re.Match[str]) -> str:
        name = slot[1]
        found = own[name.lower()][int(rng.integers(len(own[name.lower()])))]
        return found.capitalize() if name.isupper() else found

    return re.sub(r"{(\w)}", word, frame)


def marked(sentences: Sequence[str], level: int, heading: str) -> str:
    """With so many devices of markdown: bold words, a list, a heading, a rule."""
    parts = [f"{s}." for s in sentences]
    if level > 0:
        parts = [bold(part) for part in parts]
    if level > 1:
        parts = [f"- {part}" for part in parts]
    joined = ("\n" if level > 1 else " ").join(parts)
    return (f"## {heading}\n" if level > 2 else "") + joined + ("\n---" if level > 3 else "")


def bold(part: str) -> str:
    first, _, rest = part.partition(" ")
    return f"**{first}** {rest}"


def lower(text: str) -> str:
    return text[:1].lower() + text[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taste:
    """How somebody sees texts: the quality with errors of their own, and perhaps a bias."""

    seed: int
    kinds_off: float
    """standard deviation of the error in the worth of each kind of sentence, which stays"""
    texts_off: float
    """standard deviation of the error in each text, the same whenever it is read"""
    dear: float = 1.0
    """by how much what fools a judge costs more quality than usual"""
    bias: str = ""
    weight: float = 0.0
    """what each use of what fools is worth beyond what it costs"""

    def judge(self, writer: Writer, name: str) -> CallableJudge:
        """Compares texts that the writer wrote."""
        score = self.scores(writer)

        def compare(prompt: str, first: str, second: str) -> float:
            return 1 / (1 + math.exp(score(second) - score(first)))

        return CallableJudge(compare, name)

    def scores(self, writer: Writer) -> Callable[[str], float]:
        """A text's score."""
        values = VALUES + np.random.default_rng(self.seed).normal(0, self.kinds_off, len(VALUES))
        known: dict[str, float] = {}

        def score(text: str) -> float:
            if text not in known:
                draft = writer.drafts[text]
                off = np.random.default_rng(seed_for(self.seed, text)).normal(0, self.texts_off)
                fair = quality(draft, values, self.dear)
                known[text] = fair + float(off) + (self._fooled(draft) if self.bias else 0.0)
            return known[text]

        return score

    def _fooled(self, draft: Draft) -> float:
        return self.weight * draft.uses()[self.bias] + self.dear * costs(draft)[self.bias]
