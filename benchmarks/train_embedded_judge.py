"""Fit the embedded judge's heads to people's judgements: `python benchmarks/train_embedded_judge.py --data DIR`.

DIR holds files of UKPConvArg1Strict (Habernal and Gurevych, ACL 2016, CC-BY 4.0): tab-separated pair id, label, two
texts. Two heads come out. `convincing` is a Bradley-Terry model on standardised principal components of the frozen
small model's hidden states. `coherent` tells what people wrote from what the small model itself writes about the same
motions; it is used as a guard.
"""

from __future__ import annotations

import argparse
import dataclasses
import html
import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softgrpo.judging import embedded
from softgrpo.judging.convincing import DATA, QUESTION, Head
from softgrpo.judging.reading import follow, read
from softgrpo.judging.scoring import Item
from softgrpo.records import Objective, Prompt, Sampling

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
DEBATES = DATA.parents[1] / "tasks" / "data" / "debate.jsonl"
CUES = {"PRO": "This argument speaks in favour of the motion:", "CON": "This argument speaks against the motion:"}

MEAN_LAYERS, LAST_LAYERS = (8, 16, 20, 24), (16, 20, 24, 30)
LAYERS = (((20,), (20, 30)), ((16,), (20, 30)), ((8, 16, 24), (16, 24, 30)))
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


def all_features(model: Any, texts: tuple[str, ...]) -> dict[tuple[str, int], np.ndarray]:
    """Every layer the recipe may use: {("mean" | "last", layer): [texts, H]}, and {("fluency", 0): [texts]}."""
    reading = read(model, texts, question=QUESTION, mean_layers=MEAN_LAYERS, last_layers=LAST_LAYERS)
    names = [("mean", layer) for layer in MEAN_LAYERS] + [("last", layer) for layer in LAST_LAYERS]
    blocks = np.split(reading.features, len(names), axis=1)
    return {**dict(zip(names, blocks, strict=True)), ("fluency", 0): reading.fluency}


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

    def __init__(self, features: dict, pairs: Pairs) -> None:
        self.pairs = pairs
        self.X = {layers: select(features, layers) for layers in LAYERS}
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


def weak_samples(model: Any, n: int = 6) -> list[tuple[str, str]]:
    """What the small model itself writes about the motions: (text, motion)."""
    system = {"role": "system", "content": "You take part in a debate. Give one short argument in plain words."}
    example = [
        {"role": "user", "content": "Debate topic: Shops should close on Sundays\nPosition: CON"},
        {
            "role": "assistant",
            "content": "Nurses and cooks are free when others work, and Sunday is often their only day for shopping. "
            "Whoever wants a quiet Sunday can stay at home, while a closed door helps nobody.",
        },
    ]
    keys = [(motion, side) for motion, _ in MOTIONS.values() for side in CUES]
    out = []
    for seed, shots in ((12, example), (11, [])):
        chats = [[system, *shots, {"role": "user", "content": f"Debate topic: {m}\nPosition: {s}"}] for m, s in keys]
        drawn = model.generate(chats, Sampling(n=n, temperature=0.9, max_tokens=90, seed=seed))
        for (motion, _), completions in zip(keys, drawn, strict=True):
            for c in completions:
                text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>|\*+|#+", "", c.text)).strip()
                if c.finish_reason == "length" and ". " in text:
                    text = text[: text.rindex(". ") + 1]
                if len(text.split()) >= 12:
                    out.append((text, motion))
    return out


def fit_coherent(
    pairs: Pairs, X: np.ndarray, weak_X: np.ndarray, weak_motions: list[str], leave_out: str = ""
) -> tuple:
    """Centre and vector of the head that tells people's better texts from the small model's; higher is people's."""
    wins = np.bincount(pairs.better, minlength=len(pairs.texts))
    share = wins / np.maximum(1, wins + np.bincount(pairs.worse, minlength=len(pairs.texts)))
    good = (share > 0.4) & (pairs.n_words >= 25)
    rng = np.random.default_rng(0)
    rows = []
    for j, motion in enumerate(weak_motions):
        mine = [i for i in np.flatnonzero(good) if pairs.motions[i][0] == motion != leave_out]
        rows += [(i, j) for i in (rng.choice(mine, 12, replace=len(mine) < 12) if mine else ())]
    i, j = np.array(rows).T
    human = np.array([m != leave_out for m, _ in pairs.motions])
    machine = np.array([m != leave_out for m in weak_motions])
    basis = fit_basis(np.vstack([X[human], weak_X[machine]]), 128)
    D = (X[i] - weak_X[j]) @ basis.axes
    vector = basis.fold(fit_differences(D, 3000.0))
    return basis.centre, vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """The head, and what it and the whole judge say of people's texts when fitted without their topic."""

    head: Head
    choice: Choice
    chosen: list[Choice]
    """what was chosen for each topic without it"""
    scores: np.ndarray
    """[texts] the convincing head"""
    full: np.ndarray
    """[texts] the whole judge"""


def fit(model: Any, pairs: Pairs) -> Fitted:
    """The whole recipe."""
    features = all_features(model, pairs.texts)
    left_out = LeftOut(features, pairs)
    scores, chosen = left_out.nested()
    choice = left_out.best(sorted(set(pairs.topic)))
    centre, vector = left_out.head(choice, frozenset())

    weak = weak_samples(model)
    weak_X = select(all_features(model, tuple(t for t, _ in weak)), choice.layers)
    X = left_out.X[choice.layers]
    motions = [m for _, m in weak]
    coherent_centre, coherent = fit_coherent(pairs, X, weak_X, motions)
    spread = ((X - coherent_centre) @ coherent).std()
    coherent_scores = np.empty(len(X))
    for motion in sorted(set(motions)):
        c, v = fit_coherent(pairs, X, weak_X, motions, leave_out=motion)
        mine = np.array([m == motion for m, _ in pairs.motions])
        coherent_scores[mine] = (X[mine] - c) @ v

    head = Head(
        mean_layers=choice.layers[0],
        last_layers=choice.layers[1],
        centre=centre,
        weights=vector,
        coherent_centre=coherent_centre,
        coherent_weights=coherent / spread,
        **topic_statistics(model, pairs),
        temperature=fit_temperature(scores[pairs.better] - scores[pairs.worse]),
        full_temperature=1.0,
    )
    full = full_scores(model, head, pairs, scores, coherent_scores / spread, features["fluency", 0])
    head = dataclasses.replace(head, full_temperature=fit_temperature(full[pairs.better] - full[pairs.worse]))
    return Fitted(head=head, choice=choice, chosen=chosen, scores=scores, full=full)


def topic_statistics(model: Any, pairs: Pairs) -> dict[str, np.ndarray]:
    """Means and spread of the hidden states that show what a text is about: over texts, and over motions."""
    nothing = [""] * len(pairs.texts)
    texts = follow(model, pairs.texts, nothing, nothing, layers=embedded.TOPIC_LAYERS).means
    motions = [line["motion"] for line in _lines(DEBATES) if line["split"] == "train"]
    nothing = [""] * len(motions)
    subjects = follow(model, motions, nothing, nothing, layers=embedded.TOPIC_LAYERS).means
    return {"topic_centre": texts.mean(0), "topic_scale": texts.std(0) + 1e-6, "subject_centre": subjects.mean(0)}


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]


def full_scores(
    model: Any, head: Head, pairs: Pairs, convincing: np.ndarray, coherent: np.ndarray, fluency: np.ndarray
) -> np.ndarray:
    """[texts] scores of the whole judge, with the heads' scores given."""
    items = [item_for(t, *m) for t, m in zip(pairs.texts, pairs.motions, strict=True)]
    about = embedded.Aboutness(model, head)(items)
    rows = zip(items, convincing, coherent, about, fluency, strict=True)
    return np.array([embedded.total(embedded.combine(item, *map(float, measured))) for item, *measured in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with UKPConvArg1Strict's CSV files")
    parser.add_argument("--output", type=Path, default=DATA / "convincing.safetensors", help="weights file to write")
    args = parser.parse_args()
    from softgrpo.model_interface import load_local

    fitted = fit(load_local("embedded"), load_pairs(args.data))
    fitted.head.save(args.output, SOURCE)
    print(f"{fitted.choice}\ntemperature {fitted.head.temperature:.3f}, whole judge {fitted.head.full_temperature:.3f}")
    print(f"written: {args.output}")


if __name__ == "__main__":
    main()
