"""Train the embedded judge's argument reader, or the sentinel's.

python benchmarks/train_argument_reader.py --data DIR --part judge
python benchmarks/train_argument_reader.py --data DIR --part judge --without 0     # and 1, 2, 3: only to be measured
python benchmarks/train_argument_reader.py --data DIR --part sentinel

DIR holds the folders `ibm-rank30k` and `ukpconvarg1`. Low-rank adapters on some middle layers learn from the states
behind the last of them: the side, the topic, which of two arguments people find better, and (the judge's) to tell
people's texts from what policies wrote. `argument_reader_data.py` says from what.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from argument_reader_data import (
    Argument,
    Choices,
    Tree,
    Trees,
    folds,
    load_arguments,
    load_choices,
    load_essays,
    load_filler,
    load_motions,
    load_written,
    of_gold,
)
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from softgrpo.judges.embedded.argument_reader import (
    DATA,
    HEADS,
    ReaderWeights,
    denied,
    load_reader,
    lower_layers,
    motion_tokens,
    pooled,
    read_states,
    save_reader,
    text_tokens,
)

SOURCE = {
    "source": "IBM-ArgQ-Rank-30kArgs (Gretz et al., A Large-scale Dataset for Argument Quality Ranking: Construction "
    "and Analysis, AAAI 2020), CC-BY-SA 3.0; copyright Wikipedia, copyright IBM 2014",
    "made_by": "benchmarks/train_argument_reader.py",
}
UKP = "UKPConvArg1Strict (Habernal and Gurevych, Which argument is more convincing?, ACL 2016), CC-BY 4.0"
SCALE = 2
"""of what an adapter adds"""
PER_MOTION = 60
"""arguments of a motion that are checked"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Which layers are read and adapted, and what a step holds."""

    first: int
    """the first layer with an adapter"""
    stop: int
    """how many layers there are: what lies above is not computed"""
    steps: int
    trees: int = 6
    own: int = 7
    off: int = 1
    written: int = 1
    spoiled: int = 1
    essays: bool = True


RECIPES = {
    "judge": Recipe(6, 19, 900),
    "sentinel": Recipe(12, 23, 1000, trees=5, spoiled=0, essays=False),  # with them it learned the side too late
}


class Reader(torch.nn.Module):
    """The lower layers of the small model with adapters, and a head for each thing that is read."""

    def __init__(self, module: Any, recipe: Recipe, rank: int) -> None:
        from peft import LoraConfig, get_peft_model

        super().__init__()
        self.recipe = recipe
        decoder = lower_layers(copy.deepcopy(module.get_decoder()), recipe.stop)
        linear = [name for name, part in decoder.named_modules() if isinstance(part, torch.nn.Linear)]
        adapted = [name for name in linear if int(name.split(".")[1]) >= recipe.first]
        self.decoder = get_peft_model(decoder, LoraConfig(r=rank, lora_alpha=SCALE * rank, target_modules=adapted))
        self.heads = torch.nn.Linear(2 * decoder.config.hidden_size, len(HEADS))
        torch.nn.init.zeros_(self.heads.weight)
        torch.nn.init.zeros_(self.heads.bias)

    def forward(self, prefixes: Sequence[Sequence[int]], texts: Sequence[Sequence[Sequence[int]]]) -> torch.Tensor:
        """[texts, heads] from each motion's tokens and those of its texts, in order."""
        read = padded_states if self.heads.weight.is_cuda else read_states
        return self.heads(read(self.decoder.base_model.model, prefixes, texts))

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
                pairs[name] = (down.detach().cpu().clone(), SCALE * up.detach().cpu())
        return ReaderWeights(
            first=self.recipe.first,
            stop=self.recipe.stop,
            adapters=pairs,
            heads=self.heads.weight.detach().cpu().clone(),
            biases=self.heads.bias.detach().cpu().clone(),
        )


def padded_states(
    decoder: Any, prefixes: Sequence[Sequence[int]], branches: Sequence[Sequence[Sequence[int]]]
) -> torch.Tensor:
    """As `read_states`, each text a row of its own behind its motion: more arithmetic in far fewer steps."""
    rows, spans = [], []
    for prefix, texts in zip(prefixes, branches, strict=True):
        for text in texts:
            rows.append(torch.tensor([*prefix, *text]))
            spans.append((len(prefix), len(prefix) + len(text)))
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(decoder.device)
    states = decoder(input_ids=ids, use_cache=False).last_hidden_state  # causal: what pads on the right is not seen
    return pooled([row[a:b] for row, (a, b) in zip(states, spans, strict=True)])


def loss_of(scores: torch.Tensor, trees: Sequence[Tree]) -> torch.Tensor:
    """Side, topic and people by cross-entropy; quality by pairs, each with its weight."""
    loss = scores.new_zeros(())
    for head, name, weight in ((0, "pro", 1.0), (1, "on", 0.3), (3, "people", 0.3)):
        target = torch.tensor([x for t in trees for x in getattr(t, name)], device=scores.device)
        if (known := ~target.isnan()).any():
            loss = loss + weight * cross_entropy(scores[known, head], target[known])
    starts = np.cumsum([0, *(len(t.texts) for t in trees)])
    pairs = [(i + start, j + start, w) for t, start in zip(trees, starts, strict=False) for i, j, w in t.pairs]
    if pairs:
        better, worse, weights = zip(*pairs, strict=True)
        weight = torch.tensor(weights, device=scores.device)
        gap = scores[list(better), 2] - scores[list(worse), 2]
        loss = loss + (weight * torch.nn.functional.softplus(-gap)).sum() / weight.sum()
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
    """[texts, heads] scores of texts behind their motions; the side by the denials too, as the package reads."""
    out = np.zeros((2, len(texts), len(HEADS)))
    rows = sorted(range(len(texts)), key=lambda i: (motions[i], len(texts[i])))
    with torch.inference_mode():
        for k, worded in ((k, w) for k in range(0, len(rows), at_once) for w in (0, 1)):
            mine = rows[k : k + at_once]
            trees = [Tree(denied(motions[i]) if worded else motions[i], [texts[i]]) for i in mine]
            out[worded, mine] = reader(*encode(tokenizer, trees)).cpu().numpy()
    out[0, :, 0] = (out[0, :, 0] - out[1, :, 0]) / 2
    return out[0]


def check(
    reader: Reader,
    tokenizer: Any,
    arguments: Sequence[Argument],
    essays: Sequence[Argument],
    choices: Choices,
    written: dict[str, list[str]],
) -> dict[str, float]:
    """Shares told right on motions that were not trained on: people's arguments, essays, UKP's, and by policies."""
    rng = np.random.default_rng(0)
    names = sorted({a.motion for a in arguments})
    by = {m: [a for a in arguments if a.motion == m] for m in names}
    chosen = [a for m in names for a in [by[m][i] for i in rng.permutation(len(by[m]))[:PER_MOTION]]]
    scores = predict(reader, tokenizer, [a.motion for a in chosen], [a.text for a in chosen])
    elsewhere = {m: names[(k + 1) % len(names)] for k, m in enumerate(names)}
    off = predict(reader, tokenizer, [elsewhere[a.motion] for a in chosen], [a.text for a in chosen])
    pro = np.array([a.pro for a in chosen])
    better = [
        (i, j)
        for i, a in enumerate(chosen)
        for j, b in enumerate(chosen)
        if a.motion == b.motion and a.quality - b.quality > 0.25
    ]
    out = {
        "side": float(((scores[:, 0] > 0) == pro).mean()),
        "topic_auc": float((np.subtract.outer(scores[:, 1], off[:, 1]) > 0).mean()),
        "quality": _won(scores[:, 2], better),
    }
    texts = [(m, t) for m in names for t in written.get(m, ())]
    if texts:
        models = predict(reader, tokenizer, *zip(*texts, strict=True))
        out["people_auc"] = float((scores[:, 3][:, None] > models[:, 3][None]).mean())
    read = predict(reader, tokenizer, [a.motion for a in essays], [a.text for a in essays])
    out["essay_side"] = float(((read[:, 0] > 0) == np.array([a.pro for a in essays])).mean())
    out["essay_topic"] = float(np.quantile(read[:, 1], 0.1))
    if choices.arguments:
        number = {id(a): i for i, a in enumerate(choices.arguments)}
        found = predict(reader, tokenizer, [a.motion for a in choices.arguments], [a.text for a in choices.arguments])
        out["ukp_side"] = float(((found[:, 0] > 0) == np.array([a.pro for a in choices.arguments])).mean())
        out["ukp"] = _won(found[:, 2], [(number[id(a)], number[id(b)]) for a, b in choices.pairs])
    return {name: round(value, 3) for name, value in out.items()}


def _won(scores: np.ndarray, pairs: Sequence[tuple[int, int]]) -> float:
    better, worse = zip(*pairs, strict=True)
    return float((scores[list(better)] > scores[list(worse)]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with ibm-rank30k and ukpconvarg1")
    parser.add_argument("--part", choices=sorted(RECIPES), required=True)
    parser.add_argument("--without", type=int, help="a fold of the motions that is left out")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--stop", type=int)
    parser.add_argument("--go_on", action="store_true", help="from the weights that are there")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--learning_rate", type=float, default=5e-4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="weights file to write (default: the package's)")
    args = parser.parse_args()
    args.output = args.output or DATA / f"{args.part}.safetensors"
    from dataclasses import replace

    from softgrpo.model_interface import load_local

    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")
    recipe = replace(RECIPES[args.part], **{n: v for n in ("steps", "stop") if (v := getattr(args, n))})
    model, motions, of_judge = load_local("embedded", dtype="float32"), load_motions(), args.part == "judge"
    arguments, choices = load_arguments(args.data / "ibm-rank30k"), load_choices(args.data / "ukpconvarg1")
    known = [*arguments, *(load_essays() if recipe.essays else ())]
    own = [a for a in known if motions[a.motion].part == args.part]
    gold = of_gold()
    own += [*choices.arguments, *gold.arguments] if of_judge else []
    fold = folds(sorted({a.motion for a in own}))
    learned = {m for m, k in fold.items() if k != args.without}
    written = load_written()
    trees = Trees(
        [a for a in own if a.motion in learned],
        [pair for pair in (*choices.pairs, *gold.pairs) if of_judge and pair[0].motion in learned],
        written if of_judge else {},
        load_filler()[0 if of_judge else 1 :: 2],
        np.random.default_rng(args.seed),
    )

    def held_out(motion: str) -> bool:
        return motion not in learned and (motion in fold or motions[motion].part == "check")

    held = [a for a in arguments if held_out(a.motion)]
    held_essays = [a for a in load_essays() if held_out(a.motion)]
    held_choices = Choices(
        [a for a in choices.arguments if a.motion not in learned],
        [p for p in choices.pairs if p[0].motion not in learned],
    )
    reader = Reader(model.module, recipe, args.rank).to(args.device)
    if args.go_on:
        reader.go_on_from(load_reader(DATA / f"{args.part}.safetensors"))
    adapters = [p for n, p in reader.named_parameters() if p.requires_grad and not n.startswith("heads")]
    groups = [{"params": adapters, "lr": args.learning_rate}, {"params": list(reader.heads.parameters()), "lr": 2e-3}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda s: min(1.0, (s + 1) / 20) * 0.5 * (1 + np.cos(np.pi * min(1.0, s / recipe.steps))),
    )
    notes = SOURCE | ({"source": f"{SOURCE['source']}; {UKP}"} if of_judge else {})
    print(f"{sum(p.numel() for p in adapters)} adapter parameters; {len(learned)} motions", flush=True)
    began, losses = time.time(), []
    for step in range(1, recipe.steps + 1):
        drawn = trees.draw(recipe.trees, recipe.own, recipe.off, recipe.written, recipe.spoiled)
        loss = loss_of(reader(*encode(model.tokenizer, drawn)), drawn)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(adapters, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 50 == 0:
            print(step, f"{np.mean(losses[-50:]):.3f}", f"{time.time() - began:.0f} s", flush=True)
        if step % 200 == 0 or step == recipe.steps:
            print(step, check(reader, model.tokenizer, held, held_essays, held_choices, written), flush=True)
            save_reader(args.output, reader.weights(), notes)


if __name__ == "__main__":
    main()
