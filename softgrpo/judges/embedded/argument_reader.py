"""What the small model makes of an argument behind its motion, with adapters trained for that.

The lower layers of the model that is there are used as they are; those with adapters are copied, and the adapters
merged into the copies, once. `benchmarks/train_argument_reader.py` trains them. `B` texts, `H` the hidden size.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from softgrpo.models.local.prefix_tree import PrefixTree
from softgrpo.models.local.tree_attention import tree_states

DATA = Path(__file__).parent / "data"
HEADS = ("side", "topic", "quality", "people")
LONGEST = 512
"""tokens of a text that are read"""
TOKENS_AT_ONCE = 4096
KEPT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderWeights:
    """Adapters and heads as they lie in a file."""

    first: int
    """the first layer with an adapter"""
    stop: int
    """how many layers are computed"""
    adapters: dict[str, tuple[torch.Tensor, torch.Tensor]]
    """by the name of a linear layer in the decoder: [rank, in] and [out, rank], whose product is added to its weight"""
    heads: torch.Tensor
    """[heads, 2 H] in the order of `HEADS`, from the normalised states"""
    biases: torch.Tensor
    """[heads]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Log-odds about texts behind their motions."""

    side: np.ndarray
    """[B] that the text speaks for the motion, against that it speaks against it; half the difference of what is read
    behind the motion and behind its denial, so that what a text says on either cancels"""
    topic: np.ndarray
    """[B] that it is about the motion"""
    quality: np.ndarray
    """[B] differences are log-odds that people find one text better than another on the same motion"""
    people: np.ndarray
    """[B] that people wrote the text, against that a small model did"""
    states: np.ndarray
    """[B, 2 H] what these are read from: the mean over the text, and its end; normalised"""


class ArgumentReader:
    """Reads texts behind their motions and behind the denials of these, each once for all its texts.

    The last `KEPT` readings are kept.
    """

    def __init__(self, model: Any, weights: ReaderWeights) -> None:
        self.model = model
        self.weights = weights
        self._known: dict[tuple[str, str], np.ndarray] = {}
        """by motion and text: scores by head, and the states"""

    @functools.cached_property
    def decoder(self) -> Any:
        """The layers that are read, made when they are needed first."""
        with self.model.turn:
            return adapted(self.model.module.get_decoder(), self.weights)

    def __call__(self, motions: Sequence[str], texts: Sequence[str]) -> Readings:
        """Readings of each text; `motions` names the motion of each."""
        whole = self._known_of([*motions, *map(denied, motions)], [*texts, *texts])
        found, other = whole[: len(texts)], whole[len(texts) :]
        by_head = {head: found[:, i].astype(np.float64) for i, head in enumerate(HEADS)}
        by_head["side"] = (by_head["side"] - other[:, 0]) / 2
        return Readings(**by_head, states=found[:, len(HEADS) :])

    def _known_of(self, motions: Sequence[str], texts: Sequence[str]) -> np.ndarray:
        """[B, heads + 2 H] what is known of each text, after reading what is not."""
        asked = list(zip(motions, texts, strict=True))
        with self.model.turn:
            new = [key for key in dict.fromkeys(asked) if key not in self._known]
            rows = self._known | dict(zip(new, self._read(new), strict=True))
            self._known = dict(list(rows.items())[-KEPT:])
        width = len(HEADS) + self.weights.heads.shape[1]
        return np.array([rows[key] for key in asked], dtype=np.float32).reshape(len(asked), width)

    def _read(self, asked: Sequence[tuple[str, str]]) -> np.ndarray:
        """[B, heads + 2 H]"""
        motions, texts = zip(*asked, strict=True) if asked else ((), ())
        states_BS = torch.zeros(len(texts), self.weights.heads.shape[1])
        with torch.inference_mode():
            for rows, prefixes, branches in self._batches(motions, texts):
                states_BS[rows] = read_states(self.decoder, prefixes, branches).float().cpu()
            scores_BK = states_BS @ self.weights.heads.T + self.weights.biases
        return torch.cat([scores_BK, states_BS], 1).numpy()

    def _batches(
        self, motions: Sequence[str], texts: Sequence[str]
    ) -> Iterator[tuple[list[int], list[list[int]], list[list[list[int]]]]]:
        """Rows of a batch, the tokens of its motions, and for each of them those of its texts."""
        tokenizer = self.model.tokenizer
        rows: list[int] = []
        prefixes: list[list[int]] = []
        branches: list[list[list[int]]] = []
        size, last = 0, None
        for i in sorted(range(len(texts)), key=lambda i: motions[i]):
            branch = text_tokens(tokenizer, texts[i])
            if rows and size + len(branch) > TOKENS_AT_ONCE:
                yield rows, prefixes, branches
                rows, prefixes, branches, size, last = [], [], [], 0, None
            if motions[i] != last:
                last = motions[i]
                prefixes.append(motion_tokens(tokenizer, last))
                branches.append([])
                size += len(prefixes[-1])
            rows.append(i)
            branches[-1].append(branch)
            size += len(branch)
        if rows:
            yield rows, prefixes, branches


def denied(motion: str) -> str:
    """The motion the other way round, whatever it says.

    >>> denied("We should ban whaling")
    'It is not true that we should ban whaling'
    """
    plain = motion.strip()
    return f"It is not true that {plain[:1].lower()}{plain[1:]}"


def motion_tokens(tokenizer: Any, motion: str) -> list[int]:
    """What stands before a text. A token in front takes the attention that first tokens draw."""
    return [
        tokenizer.eos_token_id,
        *tokenizer.encode(f"Motion: {' '.join(motion.split())}\nArgument:", add_special_tokens=False),
    ]


def text_tokens(tokenizer: Any, text: str) -> list[int]:
    """A text on one line, and the line's end; without capitals and a last full stop, by which careful writers and
    models would be told from people who write a comment."""
    encode = functools.partial(tokenizer.encode, add_special_tokens=False)
    plain = " ".join(text.lower().split()).rstrip(" .!")
    return [*encode(f" {plain}")[: LONGEST - 1], *encode("\n")]


def read_states(
    decoder: Any, prefixes: Sequence[Sequence[int]], branches: Sequence[Sequence[Sequence[int]]]
) -> torch.Tensor:
    """[B, 2 H] normalised: the mean state over each branch beside its last; branches in order, behind their prefix."""
    ids: list[int] = []
    spans, lengths = [], []
    for prefix, texts in zip(prefixes, branches, strict=True):
        ids += prefix
        for text in texts:
            spans.append((len(ids), len(ids) + len(text)))
            ids += text
        lengths.append([len(prefix), *map(len, texts)])
    states_TH = tree_states(decoder, torch.tensor(ids), PrefixTree.trees(*lengths), torch.arange(len(ids)))
    return pooled([states_TH[a:b] for a, b in spans])


def pooled(texts: Sequence[torch.Tensor]) -> torch.Tensor:
    """[B, 2 H] normalised, from each text's states [tokens, H]: their mean beside the last."""
    states_BS = torch.stack([torch.cat([states_TH.mean(0), states_TH[-1]]) for states_TH in texts])
    return torch.nn.functional.layer_norm(states_BS.float(), states_BS.shape[-1:])


def lower_layers(decoder: Any, stop: int) -> Any:
    """The decoder's first layers as a decoder that ends there; weights are shared."""
    lower = copy.copy(decoder)
    lower._modules = dict(decoder._modules)
    lower.layers = decoder.layers[:stop]
    lower.norm = torch.nn.Identity()
    return lower


def adapted(decoder: Any, weights: ReaderWeights) -> Any:
    """The layers that are read, those with adapters in memory of their own.

    All keep one configuration, by which attention is chosen.
    """
    lower = lower_layers(decoder, weights.stop)
    for k in range(weights.first, weights.stop):
        lower.layers[k] = copy.deepcopy(lower.layers[k], {id(decoder.config): decoder.config})
    with torch.no_grad():
        for name, (down, up) in weights.adapters.items():
            weight = lower.get_submodule(name).weight
            weight += (up.float() @ down.float()).to(weight)
    return lower


def save_reader(path: Path, weights: ReaderWeights, notes: dict[str, str]) -> None:
    """Write the file, adapters in half precision; `notes` say where they come from."""
    from safetensors.torch import save_file

    tensors = {"heads": weights.heads.float(), "biases": weights.biases.float()}
    for name, (down, up) in weights.adapters.items():
        tensors |= {f"{name}.down": down.half(), f"{name}.up": up.half()}
    layers = {"first": str(weights.first), "stop": str(weights.stop)}
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, metadata={**layers, **notes})
    path.chmod(0o644)


@functools.cache
def load_reader(path: Path) -> ReaderWeights:
    """The adapters of a file."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        found, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    heads, biases = tensors.pop("heads"), tensors.pop("biases")
    names = sorted({key.rpartition(".")[0] for key in tensors})
    return ReaderWeights(
        first=int(found["first"]),
        stop=int(found["stop"]),
        adapters={name: (tensors[f"{name}.down"], tensors[f"{name}.up"]) for name in names},
        heads=heads,
        biases=biases,
    )
