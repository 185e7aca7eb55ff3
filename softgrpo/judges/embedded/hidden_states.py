"""What the frozen small model makes of a text: hidden states, fluency, and how well a subject follows from it.

`B` texts, `T` tokens, `H` the hidden size, `V` the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

TEXT_TOKENS_AT_ONCE = 4096
ENDS = frozenset(".!?")
EXPECTED_ENDING = -1.3
"""nats: how foreseeable the end of an ordinary sentence is"""
LONGEST = 1024
"""tokens of a text that are read; what follows is left out, and the guards still see it"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFeatures:
    """One forward pass over texts, each followed by a question."""

    features: np.ndarray
    """[B, (mean layers + last layers) * H] means over the text, then the states at the question's last token"""
    fluency: np.ndarray
    """[B] mean log-probability per token of the text, from its second token on; 0 for texts of one token or none"""
    endings: np.ndarray
    """[B] the same over the tokens that end a sentence, `EXPECTED_ENDING` counted in once; low for sentences that
    stop where they had to go on"""


def read(
    model: Any, texts: Sequence[str], *, question: str, mean_layers: Sequence[int], last_layers: Sequence[int]
) -> TextFeatures:
    """Hidden states of each text at the layers asked for (0 is the embedding), in one forward pass."""
    with model.turn, torch.inference_mode():
        encoded = [_encode(model, text)[:LONGEST] for text in texts]
        asked = _encode(model, question)
        width = model.module.config.hidden_size
        features = np.zeros((len(texts), len(mean_layers) + len(last_layers), width))
        fluency, endings = np.zeros(len(texts)), np.full(len(texts), EXPECTED_ENDING)
        for rows, ids_BT, mask_BT, lengths in model._batches([e + asked for e in encoded], TEXT_TOKENS_AT_ONCE):
            out = model.module.get_decoder()(input_ids=ids_BT, attention_mask=mask_BT, output_hidden_states=True)
            for b, i in enumerate(rows):
                n = len(encoded[i])
                means = [out.hidden_states[layer][b, : max(n, 1)].float().mean(0) for layer in mean_layers]
                lasts = [out.hidden_states[layer][b, lengths[b] - 1].float() for layer in last_layers]
                features[i] = torch.stack([*means, *lasts]).cpu().numpy()
            starts = [(b, t) for b, i in enumerate(rows) for t in range(len(encoded[i]) - 1)]
            logprobs = iter(_logprobs(model, out.last_hidden_state, ids_BT, starts))
            for i in rows:
                values = [next(logprobs) for _ in range(len(encoded[i]) - 1)]
                fluency[i] = float(np.mean(values)) if values else 0.0
                ends = [values[t - 1] for t in _sentence_ends(model, encoded[i])]
                endings[i] = (sum(ends) + EXPECTED_ENDING) / (len(ends) + 1)
        features = features.reshape(len(texts), features.shape[1] * width)
        return TextFeatures(features=features, fluency=fluency, endings=endings)


def _sentence_ends(model: Any, ids: Sequence[int]) -> list[int]:
    """Where a full stop, exclamation or question mark follows a word and closes it; dots within numbers do not."""
    pieces = model.tokenizer.batch_decode([[i] for i in ids])
    return [
        t
        for t in range(1, len(pieces))
        if pieces[t][0:1] in ENDS and pieces[t - 1][-1:].isalnum() and not "".join(pieces[t + 1 : t + 2])[0:1].isalnum()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinuationScores:
    """One forward pass over texts, each followed by a cue and a subject."""

    logprobs: list[np.ndarray]
    """[B] of [tokens of the subject] log-probability of each after the text and the cue"""
    means: np.ndarray
    """[B, layers, H] means over the text's tokens; 0 for an empty text"""


def follow(
    model: Any, texts: Sequence[str], cues: Sequence[str], subjects: Sequence[str], *, layers: Sequence[int] = ()
) -> ContinuationScores:
    """How well each subject follows from its text and cue."""
    with model.turn, torch.inference_mode():
        # a token in front takes the attention that first tokens draw, which would drown the means
        bodies = [[model.tokenizer.eos_token_id, *_encode(model, text)[:LONGEST]] for text in texts]
        heads = [body + _encode(model, cue) for body, cue in zip(bodies, cues, strict=True)]
        tails = [_encode(model, subject) for subject in subjects]
        logprobs: list[np.ndarray] = [np.empty(0)] * len(heads)
        means = np.zeros((len(heads), len(layers), model.module.config.hidden_size))
        whole = [a + b for a, b in zip(heads, tails, strict=True)]
        for rows, ids_BT, mask_BT, _ in model._batches(whole, TEXT_TOKENS_AT_ONCE):
            out = model.module.get_decoder()(
                input_ids=ids_BT, attention_mask=mask_BT, output_hidden_states=bool(layers)
            )
            for b, i in enumerate(rows):
                for k, layer in enumerate(layers):
                    if len(bodies[i]) > 1:
                        means[i, k] = out.hidden_states[layer][b, 1 : len(bodies[i])].float().mean(0).cpu().numpy()
            starts = [(b, len(heads[i]) - 1 + t) for b, i in enumerate(rows) for t in range(len(tails[i]))]
            values = iter(_logprobs(model, out.last_hidden_state, ids_BT, starts))
            for i in rows:
                logprobs[i] = np.array([next(values) for _ in tails[i]])
        return ContinuationScores(logprobs=logprobs, means=means)


def _encode(model: Any, text: str) -> list[int]:
    return model.tokenizer.encode(text, add_special_tokens=False)


def _logprobs(
    model: Any, hidden_BTH: torch.Tensor, ids_BT: torch.Tensor, starts: Sequence[tuple[int, int]], at_once: int = 512
) -> list[float]:
    """Log-probability of the token after each (row, position); the vocabulary is wide, so a few positions at once."""
    values: list[float] = []
    for k in range(0, len(starts), at_once):
        row, position = torch.tensor(starts[k : k + at_once], device=ids_BT.device).T
        logits_NV = model.module.get_output_embeddings()(hidden_BTH[row, position]).float()
        targets_N = ids_BT[row, position + 1]
        values += (logits_NV.gather(1, targets_N[:, None])[:, 0] - logits_NV.logsumexp(1)).tolist()
    return values
