"""Train the embedded judge's argument reader, or the sentinel's.

python benchmarks/train_argument_reader.py --data DIR --part judge
python benchmarks/train_argument_reader.py --data DIR --part sentinel --steps 170

DIR holds `arguments.csv` of IBM-ArgQ-Rank-30kArgs. The motions are parted in `embedded_judge_motions.jsonl`: the judge
and the sentinel never train on the same one, and those marked `check` are for choosing, so that the parts test each
other. The same file words each motion in other ways, and the other way round, so that the side is read from the motion
instead of being known by heart.

Low-rank adapters on some middle layers learn from the states behind the last of them: the side, the topic, and from
pairs on one motion the quality. The judge's learn also to tell people's texts from what policies wrote
(`embedded_judge_answers.jsonl`: the untrained one, and those that found a hole in an earlier judge). A step holds some
motions; each is read once, and its texts branch from it.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from softgrpo.judges.embedded.argument_reader import (
    DATA,
    HEADS,
    ReaderWeights,
    load_reader,
    lower_layers,
    motion_tokens,
    read_states,
    save_reader,
    text_tokens,
)

MOTIONS = Path(__file__).with_name("embedded_judge_motions.jsonl")
SOURCE = {
    "source": "IBM-ArgQ-Rank-30kArgs (Gretz et al., A Large-scale Dataset for Argument Quality Ranking: Construction "
    "and Analysis, AAAI 2020)",
    "licence": "CC-BY-SA 3.0; copyright Wikipedia, copyright IBM 2014",
    "made_by": "benchmarks/train_argument_reader.py",
}
ANSWERS = Path(__file__).with_name("embedded_judge_answers.jsonl")
"""what policies wrote: motion, side, text, and which policy"""
TREES, OWN, OFF, WRITTEN = 5, 7, 1, 1
"""motions of a step; of each the people's arguments that are read, those on other motions, and what policies wrote"""
FEW = 0.3
"""how often a motion of the gold set is drawn, beside one of people's; it has two texts"""
LONGER = 0.4
"""share of texts made of several arguments: people's comments elsewhere, and what policies write, are longer"""
RELATED = (("cosmetic",), ("homeopathy", "naturopathy"), ("marriage", "polygamy"), ("stay-at-home", "homeschooling"))
"""motions on which one argument can serve both: none is off topic for the other"""
SCALE = 2
"""of what an adapter adds"""


@dataclass(frozen=True, slots=True)
class Layers:
    """Which layers are read and adapted."""

    first: int
    """the first with an adapter"""
    stop: int
    """how many there are: what lies above is not computed"""


PARTS = {"judge": Layers(6, 19), "sentinel": Layers(12, 23)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    motion: str
    text: str
    pro: bool
    quality: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    motion: str
    part: str
    same: tuple[str, ...]
    opposite: tuple[str, ...]


def load_motions() -> dict[str, Motion]:
    lines = [json.loads(line) for line in MOTIONS.read_text(encoding="utf8").splitlines()]
    return {m["motion"]: Motion(**{**m, "same": tuple(m["same"]), "opposite": tuple(m["opposite"])}) for m in lines}


def load_arguments(folder: Path) -> list[Argument]:
    with (folder / "arguments.csv").open(encoding="utf8", newline="") as file:
        return [
            Argument(
                motion=row["motion"],
                text=tidy(row["argument"]),
                pro=row["side"] == "PRO",
                quality=float(row["quality"]),
            )
            for row in csv.DictReader(file)
        ]


def of_gold() -> list[Argument]:
    """The sound texts of the gold set's tuning half: longer than people's comments, and better written."""
    lines = [json.loads(line) for line in (DATA / "gold.jsonl").read_text(encoding="utf8").splitlines()]
    found = {
        (g["prompt"]["motion"], tidy(g["better"])): g["prompt"]["side"] == "PRO"
        for g in lines
        if g["split"] == "tune" and g["kind"] == "wrong_side"
    }
    return [Argument(motion=m, text=t, pro=pro, quality=math.nan) for (m, t), pro in found.items()]


def load_answers() -> list[tuple[str, str]]:
    """Motion and text of what policies wrote."""
    lines = [json.loads(line) for line in ANSWERS.read_text(encoding="utf8").splitlines()]
    return [(line["motion"], line["text"]) for line in lines]


def tidy(text: str) -> str:
    return " ".join(text.split())


def family(motion: str) -> tuple[str, ...]:
    return next((words for words in RELATED if any(w in motion.lower() for w in words)), (motion,))


class Reader(torch.nn.Module):
    """The lower layers of the small model with adapters, and three heads."""

    def __init__(self, module: Any, layers: Layers, rank: int) -> None:
        from peft import LoraConfig, get_peft_model

        super().__init__()
        self.layers = layers
        decoder = lower_layers(copy.deepcopy(module.get_decoder()), layers.stop)
        linear = [name for name, part in decoder.named_modules() if isinstance(part, torch.nn.Linear)]
        adapted = [name for name in linear if int(name.split(".")[1]) >= layers.first]
        self.decoder = get_peft_model(decoder, LoraConfig(r=rank, lora_alpha=SCALE * rank, target_modules=adapted))
        self.heads = torch.nn.Linear(2 * decoder.config.hidden_size, len(HEADS))
        torch.nn.init.zeros_(self.heads.weight)
        torch.nn.init.zeros_(self.heads.bias)

    def forward(self, prefixes: Sequence[Sequence[int]], texts: Sequence[Sequence[Sequence[int]]]) -> torch.Tensor:
        """[texts, heads] from each motion's tokens and those of its texts, in order."""
        return self.heads(read_states(self.decoder.base_model.model, prefixes, texts))

    def go_on_from(self, weights: ReaderWeights) -> None:
        """Take over weights of the same shape."""
        modules = dict(self.decoder.base_model.model.named_modules())
        with torch.no_grad():
            for name, (down, up) in weights.adapters.items():
                modules[name].lora_A["default"].weight.copy_(down)
                modules[name].lora_B["default"].weight.copy_(up.float() / SCALE)
            self.heads.weight.copy_(weights.heads)
            self.heads.bias.copy_(weights.biases)

    def weights(self) -> ReaderWeights:
        """What was learned, as the package reads it."""
        pairs = {}
        for name, part in self.decoder.base_model.model.named_modules():
            if hasattr(part, "lora_A"):
                down, up = part.lora_A["default"].weight, part.lora_B["default"].weight
                pairs[name] = (down.detach().clone(), SCALE * up.detach())
        return ReaderWeights(
            first=self.layers.first,
            stop=self.layers.stop,
            adapters=pairs,
            heads=self.heads.weight.detach().clone(),
            biases=self.heads.bias.detach().clone(),
        )


@dataclass(frozen=True, slots=True)
class Tree:
    """A motion as it is worded in a step, and the texts read behind it."""

    motion: str
    texts: list[str]
    pro: list[float]
    """nan where nobody knows"""
    on: list[float]
    quality: list[float]
    people: list[float]


class Trees:
    """Draws the trees of a step."""

    def __init__(
        self,
        arguments: Sequence[Argument],
        motions: dict[str, Motion],
        rng: np.random.Generator,
        written: dict[str, list[str]],
    ) -> None:
        """`written`: by policies, on each motion."""
        self.motions, self.rng, self.written = motions, rng, written
        self.by_motion: dict[str, list[Argument]] = defaultdict(list)
        for a in arguments:
            self.by_motion[a.motion].append(a)
        self.names = sorted(self.by_motion)
        share = np.array([1.0 if motions[m].same else FEW for m in self.names])
        self.share = share / share.sum()
        self.waiting: dict[str, list[Argument]] = {m: [] for m in self.names}

    def draw(self, trees: int, own: int, off: int) -> list[Tree]:
        chosen = self.rng.choice(self.names, trees, replace=False, p=self.share)
        return [self.tree(str(m), own, off) for m in chosen]

    def _next(self, motion: str, n: int) -> list[Argument]:
        if len(self.waiting[motion]) < n:
            order = self.rng.permutation(len(self.by_motion[motion]))
            self.waiting[motion] += [self.by_motion[motion][i] for i in order]
        taken, self.waiting[motion] = self.waiting[motion][:n], self.waiting[motion][n:]
        return taken

    def tree(self, motion: str, own: int, off: int) -> Tree:
        rng, m = self.rng, self.motions[motion]
        kind = rng.choice(["plain", "same", "opposite"], p=[0.4, 0.27, 0.33]) if m.same else "plain"
        worded = motion if kind == "plain" else str(rng.choice(getattr(m, kind)))
        out = Tree(worded, [], [], [], [], [])
        for a in self._next(motion, own):
            text, quality = a.text, a.quality
            if rng.random() < LONGER:  # two to four arguments of one side
                alike = [b for b in self.by_motion[motion] if b.pro == a.pro and b is not a]
                more = rng.integers(0, len(alike), rng.integers(1, 4)) if alike else ()
                text, quality = " ".join([text, *(alike[i].text for i in more)]), np.nan
            out.texts.append(text)
            out.pro.append(float(a.pro != (kind == "opposite")))
            out.on.append(1.0)
            out.quality.append(quality)
            out.people.append(1.0)
        others = [n for n in self.names if family(n) != family(motion)]
        for name in rng.choice(others, off):
            out.texts.append(self.by_motion[str(name)][rng.integers(len(self.by_motion[str(name)]))].text)
            out.pro.append(np.nan)
            out.on.append(0.0)
            out.quality.append(np.nan)
            out.people.append(np.nan)
        for text in self._written(motion, WRITTEN):
            out.texts.append(text)
            out.pro.append(np.nan)
            out.on.append(np.nan)
            out.quality.append(np.nan)
            out.people.append(0.0)
        return out

    def _written(self, motion: str, n: int) -> list[str]:
        """Some of what policies wrote on a motion, by each policy alike."""
        known = self.written.get(motion, [])
        return [known[i] for i in self.rng.integers(0, len(known), n)] if known else []


def loss_of(scores: torch.Tensor, trees: Sequence[Tree]) -> torch.Tensor:
    """Side, topic and people by cross-entropy; quality by pairs on one motion, weighed by how far they lie apart."""
    pro, on, quality, people = (
        torch.tensor([x for t in trees for x in getattr(t, n)]) for n in ("pro", "on", "quality", "people")
    )
    loss = scores.new_zeros(())
    for head, target, weight in ((0, pro, 1.0), (1, on, 0.3), (3, people, 0.3)):
        if (known := ~target.isnan()).any():
            loss = loss + weight * cross_entropy(scores[known, head], target[known])
    where = torch.repeat_interleave(torch.arange(len(trees)), torch.tensor([len(t.texts) for t in trees]))
    gap = quality[:, None] - quality[None, :]
    pairs = (where[:, None] == where[None, :]) & (gap > 0.05)
    difference = (scores[:, 2][:, None] - scores[:, 2][None, :])[pairs]
    weight = gap[pairs]
    if weight.numel():
        loss = loss + (weight * torch.nn.functional.softplus(-difference)).sum() / weight.sum()
    return loss


def encode(tokenizer: Any, trees: Sequence[Tree]) -> tuple[list[list[int]], list[list[list[int]]]]:
    """The tokens of each tree's motion, and of its texts."""
    return (
        [motion_tokens(tokenizer, t.motion) for t in trees],
        [[text_tokens(tokenizer, text) for text in t.texts] for t in trees],
    )


def predict(
    reader: Reader, tokenizer: Any, motions: Sequence[str], texts: Sequence[str], at_once: int = 64
) -> np.ndarray:
    """[texts, heads] scores of texts behind their motions."""
    out = np.zeros((len(texts), len(HEADS)))
    rows = sorted(range(len(texts)), key=lambda i: motions[i])
    with torch.inference_mode():
        for k in range(0, len(rows), at_once):
            by: dict[str, list[int]] = defaultdict(list)
            for i in rows[k : k + at_once]:
                by[motions[i]].append(i)
            trees = [Tree(m, [texts[i] for i in w], [], [], [], []) for m, w in by.items()]
            found = reader(*encode(tokenizer, trees))
            out[[i for w in by.values() for i in w]] = found.numpy()
    return out


def check(
    reader: Reader,
    tokenizer: Any,
    arguments: Sequence[Argument],
    written: Sequence[tuple[str, str]],
    per_motion: int = 60,
) -> dict[str, float]:
    """Shares told right on motions that were not trained on."""
    rng = np.random.default_rng(0)
    by: dict[str, list[Argument]] = defaultdict(list)
    for a in arguments:
        by[a.motion].append(a)
    chosen = [a for m in sorted(by) for a in [by[m][i] for i in rng.permutation(len(by[m]))[:per_motion]]]
    names = [a.motion for a in chosen]
    scores = predict(reader, tokenizer, names, [a.text for a in chosen])
    shifted = names[per_motion:] + names[:per_motion]
    off = predict(reader, tokenizer, shifted, [a.text for a in chosen])
    right, n, topic = 0.0, 0, np.subtract.outer(scores[:, 1], off[:, 1])
    for i, a in enumerate(chosen):
        for j, b in enumerate(chosen):
            if a.motion == b.motion and a.quality - b.quality > 0.25:
                right, n = right + (scores[i, 2] > scores[j, 2]), n + 1
    pro = np.array([a.pro for a in chosen])
    models = predict(reader, tokenizer, *zip(*written, strict=True))
    return {
        "side": float(((scores[:, 0] > 0) == pro).mean()),
        "side_auc": float((scores[pro, 0][:, None] > scores[~pro, 0][None]).mean()),
        "topic_auc": float((topic > 0).mean()),
        "topic_pairs": float((scores[:, 1] > off[:, 1]).mean()),
        "quality": float(right / max(1, n)),
        "people_auc": float((scores[:, 3][:, None] > models[:, 3][None]).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with arguments.csv")
    parser.add_argument("--part", choices=sorted(PARTS), required=True)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--go_on", action="store_true", help="from the weights that are there")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--learning_rate", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="weights file to write (default: the package's)")
    args = parser.parse_args()
    args.output = args.output or DATA / f"{args.part}.safetensors"
    from softgrpo.model_interface import load_local

    torch.manual_seed(args.seed)
    model, motions, arguments = load_local("embedded", dtype="float32"), load_motions(), load_arguments(args.data)
    part = {m for m, v in motions.items() if v.part == args.part}
    held = [a for a in arguments if motions[a.motion].part == "check"]
    by_policies = load_answers()
    written = {m: [t for name, t in by_policies if name == m] for m in part} if args.part == "judge" else {}
    of_check = [(m, t) for m, t in by_policies if motions[m].part == "check"]
    own = [a for a in arguments if a.motion in part] + (of_gold() if args.part == "judge" else [])
    known = {a.motion: Motion(motion=a.motion, part=args.part, same=(), opposite=()) for a in own} | motions
    trees = Trees(own, known, np.random.default_rng(args.seed), written)
    reader = Reader(model.module, PARTS[args.part], args.rank)
    if args.go_on:
        reader.go_on_from(load_reader(DATA / f"{args.part}.safetensors"))
    adapters = [p for n, p in reader.named_parameters() if p.requires_grad and not n.startswith("heads")]
    groups = [{"params": adapters, "lr": args.learning_rate}, {"params": list(reader.heads.parameters()), "lr": 2e-3}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    warm = 20
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda s: min(1.0, (s + 1) / warm) * 0.5 * (1 + np.cos(np.pi * min(1.0, s / args.steps))),
    )
    print(f"{sum(p.numel() for p in adapters)} adapter parameters", flush=True)
    began, losses = time.time(), []
    for step in range(1, args.steps + 1):
        drawn = trees.draw(TREES, OWN, OFF)
        loss = loss_of(reader(*encode(model.tokenizer, drawn)), drawn)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(adapters, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 20 == 0:
            print(step, f"{np.mean(losses[-20:]):.3f}", f"{time.time() - began:.0f} s", flush=True)
        if step % 120 == 0 or step == args.steps:
            print(step, check(reader, model.tokenizer, held, of_check), flush=True)
            save_reader(args.output, reader.weights(), SOURCE)


if __name__ == "__main__":
    main()
