"""Fit the embedded judge's heads to people's judgements: `python benchmarks/train_embedded_judge.py --data DIR`.

DIR holds files of UKPConvArg1Strict (Habernal and Gurevych, ACL 2016, CC-BY 4.0): tab-separated pair id, label, two
texts. Two heads come out. `convincing` is a Bradley-Terry model on standardised principal components of the frozen
small model's hidden states. `coherent` tells what people wrote from what the small model itself writes about the same
motions; it is used as a guard. The strengths are the first edition's; `fit_embedded_judge.py` fits the second's.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import itertools
import json
import os
import pickle
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softgrpo.judges.embedded.aboutness import TOPIC_LAYERS, Aboutness
from softgrpo.judges.embedded.convincing import DATA, QUESTION, Head, Strengths
from softgrpo.judges.embedded.first_edition import Measured, combine
from softgrpo.judges.embedded.hidden_states import follow, read
from softgrpo.judges.embedded.total import total
from softgrpo.judges.text_scores import Item
from softgrpo.records import Objective, Prompt, Sampling
from softgrpo.rewards.format import section
from softgrpo.tasks import debate

SOURCE = {
    "source": "UKPConvArg1Strict (Habernal and Gurevych, Which argument is more convincing?, ACL 2016); "
    "github.com/UKPLab/acl2016-convincing-arguments",
    "licence": "CC-BY 4.0",
    "made_by": "benchmarks/train_embedded_judge.py",
}
MOTIONS = {
    "christianity-or-atheism": ("Atheism is better than Christianity", ("atheism", "christianity")),
    "evolution-vs-creation": ("Evolution explains life better than creation", ("evolution", "creation")),
    "firefox-vs-internet": ("Firefox is a better browser than Internet Explorer", ("it-has-a-cute", "there-s-more")),
    "gay-marriage": ("Gay marriage should be allowed", ("allowing-gay-marriage-is-r", "allowing-gay-marriage-is-w")),
    "human-growth": ("Parents should use spanking to discipline their children", ("yes", "no")),
    "if-your-spouse": ("A spouse who committed murder should be turned in", ("yes", "no")),
    "india-has": ("India has the potential to lead the world", ("yes", "no")),
    "is-it-better-to-have-a-lousy": ("It is better to have a lousy father than to be fatherless", ("lousy", "father")),
    "is-porn-wrong": ("Pornography is wrong", ("yes", "no")),
    "should-physical-education": ("Physical education should be mandatory in schools", ("yes", "no")),
    "william-farquhar": ("William Farquhar should be honoured as the rightful founder of Singapore", ("yes", "no")),
}
"""for the files known here: the motion, and how the names of the PRO and the CON file go on after the underscore"""
CACHE = Path(os.environ["EMBEDDED_JUDGE_CACHE"]) if "EMBEDDED_JUDGE_CACHE" in os.environ else None
"""a folder for what was read, while the recipe is worked on; empty it when `hidden_states` changes"""
SAMPLES = Path(__file__).with_name("embedded_judge_samples.jsonl")
"""what the small model wrote; delete the file to draw again"""
DEBATES = DATA.parents[1] / "tasks" / "data" / "debate.jsonl"
CUES = {"PRO": "This argument speaks in favour of the motion:", "CON": "This argument speaks against the motion:"}

MEAN_LAYERS, LAST_LAYERS = (8, 16, 20, 24), (16, 20, 24, 30)
LAYERS = (((20,), (20, 30)), ((16,), (20, 30)), ((8, 16, 24), (16, 24, 30)))
GOLD_FLOOR = 0.88
STRENGTHS = tuple(itertools.product((0.7, 1.0, 1.4), (0.5, 1.0, 1.5), (0.7, 1.0, 1.4)))
"""factors on about, coherent and the guards"""
PAIR = ("better", "worse")
ONLY_MEASURED = ("wrong_side", "short_sound")
"""kinds of gold pairs that no choice looks at"""
COMPONENTS = (64, 128)
RIDGES = (300.0, 3000.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """People's judgements."""

    texts: tuple[str, ...]
    topic: np.ndarray
    """[texts] number of the topic"""
    motions: tuple[tuple[str, str], ...]
    """[texts] motion and side"""
    better: np.ndarray
    """[pairs] index of the text that convinced"""
    worse: np.ndarray
    """[pairs] index of the other"""

    @property
    def pair_topic(self) -> np.ndarray:
        return self.topic[self.better]

    @property
    def n_words(self) -> np.ndarray:
        return np.array([len(t.split()) for t in self.texts])


@dataclass(frozen=True, slots=True)
class Choice:
    """One setting of the recipe."""

    layers: tuple[tuple[int, ...], tuple[int, ...]]
    components: int
    ridge: float


CHOICES = tuple(Choice(*c) for c in itertools.product(LAYERS, COMPONENTS, RIDGES))


def load_pairs(folder: Path) -> Pairs:
    """Read every CSV file of the folder."""
    index: dict[tuple[str, str], int] = {}
    texts, topics, motions, better, worse = [], [], [], [], []
    for file in sorted(folder.glob("*.csv")):
        topic, motion, side = motion_of(file.stem)
        for line in file.read_text(encoding="utf8").splitlines():
            if line.startswith("#") or not line.strip():
                continue
            ids, label, *pair = line.split("\t")
            where = []
            for name, text in zip(ids.split("_"), pair, strict=True):
                if (file.stem, name) not in index:
                    index[file.stem, name] = len(texts)
                    texts.append(clean(text))
                    topics.append(topic)
                    motions.append((motion, side))
                where.append(index[file.stem, name])
            first_won = label == "a1"
            better.append(where[0] if first_won else where[1])
            worse.append(where[1] if first_won else where[0])
    if not texts:
        raise SystemExit(f"--data {folder} holds no .csv file of UKPConvArg1Strict")
    numbers = {t: i for i, t in enumerate(sorted(set(topics)))}
    return Pairs(
        texts=tuple(texts),
        topic=np.array([numbers[t] for t in topics]),
        motions=tuple(motions),
        better=np.array(better),
        worse=np.array(worse),
    )


def motion_of(stem: str) -> tuple[str, str, str]:
    """Topic, motion and side of a file, by its name."""
    for topic, (motion, (pro, con)) in MOTIONS.items():
        if stem.startswith(topic):
            rest = stem[len(topic) :].split("_", 1)[1]
            if rest.startswith(pro):
                return topic, motion, "PRO"
            if rest.startswith(con):
                return topic, motion, "CON"
    raise SystemExit(f"file {stem!r} is of a topic that MOTIONS does not know; add its motion")


def clean(text: str) -> str:
    """Plain prose: no HTML, single spaces."""
    return re.sub(r"\s+", " ", re.sub(r"<br\s*/?>", " ", html.unescape(text))).strip()


def prompt_for(motion: str, side: str) -> Prompt:
    """A prompt as the debate task gives it."""
    question = f"Debate Topic: {motion}\nPosition: {side}"
    return Prompt(
        id=f"{motion}/{side}",
        messages=({"role": "user", "content": question},),
        subject=motion,
        question=question,
        cue=CUES[side],
        meta={"motion": motion, "side": side},
    )


def item_for(text: str, motion: str, side: str) -> Item:
    """A text as the judge gets it."""
    return Item(prompt=prompt_for(motion, side), objective=Objective(name="answer", criteria=""), text=text)


def kept(what: Sequence[str], make: Callable[[], Any]) -> Any:
    """What the frozen model makes of texts, from the folder CACHE where it is there; minutes become seconds."""
    if CACHE is None:
        return make()
    file = CACHE / f"{hashlib.sha256(json.dumps(what).encode()).hexdigest()}.pickle"
    if not file.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(make()))
    return pickle.loads(file.read_bytes())


def all_features(model: Any, texts: tuple[str, ...]) -> dict[tuple[str, int], np.ndarray]:
    """Every layer the recipe may use: {("mean" | "last", layer): [texts, H]}, fluency and endings [texts]."""
    reading = kept(
        ("read", *texts),
        lambda: read(model, texts, question=QUESTION, mean_layers=MEAN_LAYERS, last_layers=LAST_LAYERS),
    )
    names = [("mean", layer) for layer in MEAN_LAYERS] + [("last", layer) for layer in LAST_LAYERS]
    blocks = np.split(reading.features, len(names), axis=1)
    return {
        **dict(zip(names, blocks, strict=True)),
        ("fluency", 0): reading.fluency,
        ("endings", 0): reading.endings,
    }


def select(features: dict[tuple[str, int], np.ndarray], layers: tuple[tuple[int, ...], tuple[int, ...]]) -> np.ndarray:
    """[texts, D] the columns of one choice of layers."""
    mean, last = layers
    return np.hstack([features["mean", i] for i in mean] + [features["last", i] for i in last])


@dataclass(frozen=True, slots=True)
class Basis:
    """Standardisation and principal components, fitted to some texts."""

    centre: np.ndarray
    axes: np.ndarray
    """[D, components], largest variance first"""

    def fold(self, w: np.ndarray) -> np.ndarray:
        """[D] the vector that does all of it at once."""
        return self.axes[:, : len(w)] @ w


def fit_basis(X: np.ndarray, components: int) -> Basis:
    centre, scale = X.mean(0), X.std(0) + 1e-6
    Z = (X - centre) / scale
    values, vectors = np.linalg.eigh(Z @ Z.T)  # fewer texts than features
    values, vectors = values[::-1][:components], vectors[:, ::-1][:, :components]
    return Basis(centre, Z.T @ vectors / np.sqrt(values) / scale[:, None])


def fit_differences(D: np.ndarray, ridge: float) -> np.ndarray:
    """Logistic regression without intercept on rows that all won, by Newton's method."""
    w = np.zeros(D.shape[1])
    for _ in range(15):
        p = 1 / (1 + np.exp(-D @ w))
        gradient = D.T @ (1 - p) - ridge * w
        hessian = (D * (p * (1 - p))[:, None]).T @ D + ridge * np.eye(len(w))
        step = np.linalg.solve(hessian, gradient)
        w += step
        if np.abs(step).max() < 1e-5:
            break
    return w


class LeftOut:
    """Scores of every text by heads that never saw the topics left out; each fit is kept."""

    def __init__(self, features: dict, pairs: Pairs, weak: Sequence[tuple[str, str]], weak_features: dict) -> None:
        self.pairs = pairs
        self.X = {layers: select(features, layers) for layers in LAYERS}
        self.weak_X = {layers: select(weak_features, layers) for layers in LAYERS}
        self.weak_motions = [motion for _, motion in weak]
        self.coherents: dict[tuple[Any, frozenset[int]], Coherent] = {}
        self.kept: dict[tuple[Choice, frozenset[int]], tuple[np.ndarray, np.ndarray]] = {}

    def head(self, choice: Choice, left_out: frozenset[int]) -> tuple[np.ndarray, np.ndarray]:
        """Centre and vector of the head fitted without some topics."""
        if (choice, left_out) not in self.kept:
            seen = ~np.isin(self.pairs.topic, list(left_out))
            basis = fit_basis(self.X[choice.layers][seen], max(COMPONENTS))
            Z = (self.X[choice.layers] - basis.centre) @ basis.axes
            D = (Z[self.pairs.better] - Z[self.pairs.worse])[seen[self.pairs.better]]
            for k, ridge in itertools.product(COMPONENTS, RIDGES):
                w = fit_differences(D[:, :k], ridge)
                self.kept[Choice(choice.layers, k, ridge), left_out] = (basis.centre, basis.fold(w))
        return self.kept[choice, left_out]

    def coherent(self, layers: tuple[tuple[int, ...], tuple[int, ...]], left_out: frozenset[int]) -> Coherent:
        """The head that tells people's texts from the small model's, fitted without some topics."""
        if (layers, left_out) not in self.coherents:
            of_topic = dict(zip(self.pairs.topic, self.pairs.motions, strict=True))
            motions = frozenset(of_topic[t][0] for t in left_out)
            self.coherents[layers, left_out] = fit_coherent(
                self.pairs, self.X[layers], self.weak_X[layers], self.weak_motions, motions
            )
        return self.coherents[layers, left_out]

    def scores(self, choice: Choice, left_out: frozenset[int]) -> np.ndarray:
        """[texts] scores by the head fitted without some topics."""
        centre, vector = self.head(choice, left_out)
        return (self.X[choice.layers] - centre) @ vector

    def wins(self, choice: Choice, topic: int, beside: frozenset[int] = frozenset()) -> np.ndarray:
        """Whether each pair of a topic is decided as people did, by a head that saw neither it nor those beside."""
        s = self.scores(choice, beside | {topic})
        mine = self.pairs.pair_topic == topic
        return s[self.pairs.better[mine]] > s[self.pairs.worse[mine]]

    def best(self, topics: list[int], beside: frozenset[int] = frozenset()) -> Choice:
        """The choice with the best agreement by leave-one-topic-out over some topics."""
        return max(CHOICES, key=lambda c: np.concatenate([self.wins(c, t, beside) for t in topics]).mean())

    def nested(self) -> tuple[np.ndarray, list[Choice]]:
        """[texts] scores of each topic by a head chosen and fitted without it, and what was chosen for each."""
        topics = sorted(set(self.pairs.topic))
        out, chosen = np.zeros(len(self.pairs.texts)), []
        for t in topics:
            chosen.append(self.best([u for u in topics if u != t], frozenset({t})))
            mine = self.pairs.topic == t
            out[mine] = self.scores(chosen[-1], frozenset({t}))[mine]
        return out, chosen


def fit_temperature(gaps: np.ndarray) -> float:
    """The temperature under which sigmoid(gap / temperature) fits pairs that were all won (maximum likelihood)."""
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 400))
    return float(grid[np.argmin([np.logaddexp(0, -gaps / t).mean() for t in grid])])


def weak_samples(model: Any) -> list[tuple[str, str]]:
    """What the small model itself writes about the motions: (text, motion). Drawn once, and kept in `SAMPLES`."""
    if not SAMPLES.exists():
        keys = [(motion, side) for motion, _ in MOTIONS.values() for side in CUES]
        drawn = [s for example in (True, False) for s in plain_samples(model, keys, example=example)]
        drawn += [(text, motion) for motion, _, text in answers(model, keys, n=6) if len(text.split()) >= 8]
        SAMPLES.write_text("".join(json.dumps(row) + "\n" for row in drawn), encoding="utf8")
    return [(text, motion) for text, motion in _lines(SAMPLES)]


def plain_samples(model: Any, keys: Sequence[tuple[str, str]], *, example: bool, n: int = 3) -> list[tuple[str, str]]:
    """What it writes when asked for one short argument, with one worked example or none."""
    system = {"role": "system", "content": "You take part in a debate. Give one short argument in plain words."}
    shot = [
        {"role": "user", "content": "Debate topic: Shops should close on Sundays\nPosition: CON"},
        {
            "role": "assistant",
            "content": "Nurses and cooks are free when others work, and Sunday is often their only day for shopping. "
            "Whoever wants a quiet Sunday can stay at home, while a closed door helps nobody.",
        },
    ]
    shots = shot if example else []
    chats = [[system, *shots, {"role": "user", "content": f"Debate topic: {m}\nPosition: {s}"}] for m, s in keys]
    out = []
    drawn = model.generate(chats, Sampling(n=n, temperature=0.9, max_tokens=90, seed=12 if example else 11))
    for (motion, _), completions in zip(keys, drawn, strict=True):
        for c in completions:
            text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>|\*+|#+", "", c.text)).strip()
            if c.finish_reason == "length" and ". " in text:
                text = text[: text.rindex(". ") + 1]
            if len(text.split()) >= 12:
                out.append((text, motion))
    return out


def answers(
    model: Any, keys: Sequence[tuple[str, str]], *, n: int, temperature: float = 0.85, seed: int = 13
) -> list[tuple[str, str, str]]:
    """What a run's policy answers before its first update, in the order drawn, less the replies without an answer.

    `keys` are motions and sides; so are the first two of each triple, and the third is the text.
    """
    prompts = [debate.debate().prompt(debate.question(*key, "weak"), num_shots=1) for key in keys]
    sampling = Sampling(n=n, temperature=temperature, max_tokens=96, seed=seed, prefill="<reasoning>\n")
    drawn = model.generate([p.messages for p in prompts], sampling)
    found = [(*key, section(c.text, "answer")) for key, row in zip(keys, drawn, strict=True) for c in row]
    return [(motion, side, text) for motion, side, text in found if text]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coherent:
    """A head that tells people's texts from the small model's; higher is people's."""

    centre: np.ndarray
    weights: np.ndarray
    """in standard deviations over people's texts"""

    def of(self, X: np.ndarray) -> np.ndarray:
        return (X - self.centre) @ self.weights


def fit_coherent(
    pairs: Pairs, X: np.ndarray, weak_X: np.ndarray, weak_motions: Sequence[str], leave_out: frozenset[str]
) -> Coherent:
    """People's better texts against the small model's on the same motions, without some of these."""
    wins = np.bincount(pairs.better, minlength=len(pairs.texts))
    share = wins / np.maximum(1, wins + np.bincount(pairs.worse, minlength=len(pairs.texts)))
    good = (share > 0.4) & (pairs.n_words >= 25)
    rng = np.random.default_rng(0)
    rows = []
    for j, motion in enumerate(weak_motions):
        mine = [i for i in np.flatnonzero(good) if pairs.motions[i][0] == motion and motion not in leave_out]
        rows += [(i, j) for i in (rng.choice(mine, 12, replace=len(mine) < 12) if mine else ())]
    i, j = np.array(rows).T
    human = np.array([m not in leave_out for m, _ in pairs.motions])
    machine = np.array([m not in leave_out for m in weak_motions])
    basis = fit_basis(np.vstack([X[human], weak_X[machine]]), 128)
    vector = basis.fold(fit_differences((X[i] - weak_X[j]) @ basis.axes, 3000.0))
    return Coherent(centre=basis.centre, weights=vector / ((X[human] - basis.centre) @ vector).std())


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Texts as the judge gets them, with what the heads read and what does not depend on them."""

    items: Sequence[Item]
    features: dict[tuple[str, int], np.ndarray]
    about: np.ndarray

    def parts(self, convincing: np.ndarray, coherent: np.ndarray) -> np.ndarray:
        """[texts, 4] what convincing, about, coherent and the guards add at strengths of 1."""
        columns = (convincing, coherent, self.about, self.features["fluency", 0], self.features["endings", 0])
        rows = [
            combine(item, Measured(*map(float, row)), Strengths())
            for item, *row in zip(self.items, *columns, strict=True)
        ]
        named = np.array([[row.pop(name) for name in ("convincing", "about", "coherent")] for row in rows])
        return np.column_stack([named, [sum(row.values()) for row in rows]])


def read_texts(model: Any, items: Sequence[Item], features: dict, topics: dict[str, np.ndarray]) -> Texts:
    """The texts with their aboutness, of which the heads know nothing."""
    about = Aboutness(model, _head_for_topics(topics))
    what = ("about", *(f"{i.prompt.cue}\n{i.prompt.subject}\n{i.text}" for i in items))
    return Texts(items=items, features=features, about=kept(what, lambda: about(items)))


def sums(parts: np.ndarray, strengths: Strengths) -> np.ndarray:
    """[texts] the sum of the parts."""
    return parts @ np.array([1.0, strengths.about, strengths.coherent, strengths.guards])


@dataclass(frozen=True, slots=True, kw_only=True)
class Gold:
    """The half of the gold set that choices may look at."""

    texts: Texts
    index: np.ndarray
    """[pairs, 2] the better and the worse text of each"""
    kinds: np.ndarray
    """[pairs]"""

    def worst(self, scores: np.ndarray) -> float:
        """The lowest share of won pairs over the kinds."""
        won = scores[self.index[:, 0]] > scores[self.index[:, 1]]
        return min(float(won[self.kinds == kind].mean()) for kind in sorted(set(self.kinds)))


def choose_strengths(parts: np.ndarray, better: np.ndarray, worse: np.ndarray, gold: Gold, gold_parts: np.ndarray):
    """The strengths with the best agreement among those that win `GOLD_FLOOR` of every kind of gold pair.

    Where none does, those whose worst kind is best.
    """

    def merit(strengths: Strengths) -> tuple[float, float]:
        scores = sums(parts, strengths)
        agreement = float((scores[better] > scores[worse]).mean())
        return min(GOLD_FLOOR, gold.worst(sums(gold_parts, strengths))), agreement

    return max((Strengths(about=a, coherent=c, guards=g) for a, c, g in STRENGTHS), key=merit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """The head, and what it and the whole judge say of people's texts when chosen and fitted without their topic."""

    head: Head
    choice: Choice
    chosen: list[Choice]
    """what was chosen for each topic without it"""
    strengths: list[Strengths]
    """the same of the other parts' strengths"""
    scores: np.ndarray
    """[texts] the convincing head"""
    full: np.ndarray
    """[texts] the whole judge"""


def fit(model: Any, pairs: Pairs) -> Fitted:
    """The whole recipe."""
    weak = weak_samples(model)
    features = all_features(model, pairs.texts)
    left_out = LeftOut(features, pairs, weak, all_features(model, tuple(t for t, _ in weak)))
    topics = topic_statistics(model, pairs)
    people = [item_for(t, *m) for t, m in zip(pairs.texts, pairs.motions, strict=True)]
    return fit_strengths(left_out, read_texts(model, people, features, topics), read_gold(model, topics), topics)


def fit_strengths(left_out: LeftOut, people: Texts, gold: Gold, topics: dict[str, np.ndarray]) -> Fitted:
    """All choices nested: for each topic from the others alone, then once more from all for the file."""
    pairs, numbers = left_out.pairs, sorted(set(left_out.pairs.topic))
    scores, chosen = left_out.nested()

    def strengths_without(choice: Choice, beside: frozenset[int]) -> Strengths:
        parts = np.zeros((len(pairs.texts), 4))
        convincing, coherent = np.zeros(len(parts)), np.zeros(len(parts))
        for u in set(numbers) - beside:
            mine = pairs.topic == u
            convincing[mine] = left_out.scores(choice, beside | {u})[mine]
            coherent[mine] = left_out.coherent(choice.layers, beside | {u}).of(left_out.X[choice.layers][mine])
        parts = people.parts(convincing, coherent)
        X = select(gold.texts.features, choice.layers)
        centre, vector = left_out.head(choice, beside)
        gold_parts = gold.texts.parts((X - centre) @ vector, left_out.coherent(choice.layers, beside).of(X))
        seen = ~np.isin(pairs.pair_topic, list(beside))
        return choose_strengths(parts, pairs.better[seen], pairs.worse[seen], gold, gold_parts)

    strengths, full = [], np.zeros(len(pairs.texts))
    for t, choice in zip(numbers, chosen, strict=True):
        strengths.append(strengths_without(choice, frozenset({t})))
        coherent = left_out.coherent(choice.layers, frozenset({t})).of(left_out.X[choice.layers])
        mine = pairs.topic == t
        full[mine] = sums(people.parts(scores, coherent), strengths[-1])[mine]
    full = np.array([total({"sum": value}) for value in full])

    choice = left_out.best(numbers)
    centre, vector = left_out.head(choice, frozenset())
    coherent_head = left_out.coherent(choice.layers, frozenset())
    head = Head(
        mean_layers=choice.layers[0],
        last_layers=choice.layers[1],
        centre=centre,
        weights=vector,
        coherent_centre=coherent_head.centre,
        coherent_weights=coherent_head.weights,
        **topics,
        temperature=fit_temperature(scores[pairs.better] - scores[pairs.worse]),
        full_temperature=fit_temperature(full[pairs.better] - full[pairs.worse]),
        strengths=strengths_without(choice, frozenset()),
    )
    return Fitted(head=head, choice=choice, chosen=chosen, strengths=strengths, scores=scores, full=full)


def read_gold(model: Any, topics: dict[str, np.ndarray]) -> Gold:
    """The tuning half of the gold set, without the kinds that are only measured."""
    lines = [g for g in _lines(DATA / "gold.jsonl") if g["split"] == "tune" and g["kind"] not in ONLY_MEASURED]
    items, index = gold_items(lines)
    features = all_features(model, tuple(i.text for i in items))
    texts = read_texts(model, items, features, topics)
    return Gold(texts=texts, index=index, kinds=np.array([g["kind"] for g in lines]))


def gold_items(lines: Sequence[dict[str, Any]]) -> tuple[list[Item], np.ndarray]:
    """The different texts of gold pairs, and [pairs, 2] which are the better and the worse one of each pair."""
    number: dict[tuple[str, str, str], int] = {}
    index = [
        [number.setdefault((g[which], g["prompt"]["motion"], g["prompt"]["side"]), len(number)) for which in PAIR]
        for g in lines
    ]
    return [item_for(*key) for key in number], np.array(index)


def _head_for_topics(topics: dict[str, np.ndarray]) -> Head:
    """A head that knows what texts are about, and nothing else."""
    nothing = dict.fromkeys(("centre", "weights", "coherent_centre", "coherent_weights"), np.zeros(0))
    return Head(mean_layers=(), last_layers=(), temperature=1.0, full_temperature=1.0, **nothing, **topics)


def topic_statistics(model: Any, pairs: Pairs) -> dict[str, np.ndarray]:
    """Means and spread of the hidden states that show what a text is about: over texts, and over motions."""
    nothing = [""] * len(pairs.texts)
    layers = TOPIC_LAYERS
    texts = kept(("topics", *pairs.texts), lambda: follow(model, pairs.texts, nothing, nothing, layers=layers).means)
    motions = [line["motion"] for line in _lines(DEBATES) if line["split"] == "train"]
    subjects = follow(model, motions, [""] * len(motions), [""] * len(motions), layers=layers).means
    return {"topic_centre": texts.mean(0), "topic_scale": texts.std(0) + 1e-6, "subject_centre": subjects.mean(0)}


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with UKPConvArg1Strict's CSV files")
    parser.add_argument("--output", type=Path, default=DATA / "convincing.safetensors", help="weights file to write")
    args = parser.parse_args()
    from softgrpo.model_interface import load_local

    fitted = fit(load_local("embedded"), load_pairs(args.data))
    fitted.head.save(args.output, SOURCE)
    print(f"{fitted.choice}\n{fitted.head.strengths}")
    print(f"temperature {fitted.head.temperature:.3f}, whole judge {fitted.head.full_temperature:.3f}")
    print(f"written: {args.output}")


if __name__ == "__main__":
    main()
