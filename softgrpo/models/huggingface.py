"""A causal language model on this machine: it generates, weighs labels and scores continuations.

`B` rows, `T` tokens, `V` vocabulary.
"""

from __future__ import annotations

import copy
import hashlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from softgrpo.errors import UserError
from softgrpo.models import loading
from softgrpo.models.local.capabilities import Capabilities, measured
from softgrpo.models.local.prefix_tree import prefix_trees
from softgrpo.models.local.sampler import Draw, SampledRow, sample
from softgrpo.models.local.tree_attention import tree_logits
from softgrpo.models.names import ModelName
from softgrpo.records import Completion, Message, Sampling

SHARED_TOKENS_AT_ONCE = 8192
"""of prompts that share their beginnings in one forward pass"""


class HuggingFaceModel:
    """A `transformers` model and its tokenizer behind the project's interface.

    Several threads may ask it at once: what reads the module or the tokenizer takes its `turn`, a stream for each step,
    so that each finds what it would find alone. Whoever computes with `module` itself takes the turn too. Nobody keeps
    weights from changing: learning is no matter of turns, and whoever trains a model has it for himself.
    """

    def __init__(self, name: str, module: Any, tokenizer: Any, *, turn: threading.RLock | None = None) -> None:
        """`turn` is the module's, where another model has it too."""
        self.name = name
        self.module = module
        self.tokenizer = tokenizer
        self.turn = turn or threading.RLock()
        self._capabilities: Capabilities | None = None
        """for one thread at a time: attention is chosen by a name in the module's settings"""

    @classmethod
    def load(cls, name: str, model: ModelName, *, dtype: str = "auto", device: str = "auto") -> HuggingFaceModel:
        """Load by name; errors name what is missing."""
        where = loading.pick_device(device)
        location = loading.locate(model)
        tokenizer = loading.load_tokenizer(location)
        return cls(
            name, loading.load_weights(location, dtype=loading.pick_dtype(dtype, where), device=where), tokenizer
        )

    @property
    def device(self) -> torch.device:
        return self.module.device

    @property
    def end_ids(self) -> frozenset[int]:
        """The tokens that end a turn, by the tokenizer and by the model's own generation settings."""
        ids = getattr(self.module.generation_config, "eos_token_id", None)
        listed = ids if isinstance(ids, list) else [ids]
        return frozenset(i for i in [*listed, self.tokenizer.eos_token_id] if i is not None)

    @property
    def special_tokens(self) -> dict[str, int]:
        """What the tokenizer reads as control, by its spelling; without the token for what it does not know."""
        return {
            token.content: i
            for i, token in self.tokenizer.added_tokens_decoder.items()
            if i != self.tokenizer.unk_token_id
            and token.content.strip()
            and (token.special or token.content[0] in "<[")
        }

    @property
    def context_length(self) -> int:
        return loading.context_length(self.module.config) or 1 << 20

    def copy(self, name: str) -> HuggingFaceModel:
        """The same weights again in memory of their own, to be trained or mixed."""
        return HuggingFaceModel(name, copy.deepcopy(self.module), self.tokenizer)

    def weights_hash(self) -> str:
        """A short hash of the weights, an adapter that learns on them aside: the identity of a local judge."""
        digest = hashlib.sha256()
        base = {key.replace(".base_layer", ""): v for key, v in self.module.state_dict().items() if ".lora_" not in key}
        for key, value in sorted(base.items()):
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy())
        return digest.hexdigest()[:16]

    def encode_chat(self, chat: Sequence[Message], prefill: str = "") -> list[int]:
        """Token ids of the chat with the assistant's turn opened, and of the prefill after it."""
        with self.turn:
            return encode_chat(self.tokenizer, chat, prefill)

    @property
    def capabilities(self) -> Capabilities:
        """What the model lets be done faster, found out once; who sets it holds the model to less."""
        with self.turn:
            if self._capabilities is None:
                self._capabilities = self._measured()
            return self._capabilities

    @capabilities.setter
    def capabilities(self, found: Capabilities) -> None:
        self._capabilities = found

    def _measured(self) -> Capabilities:
        return measured(self.module)

    def generate(self, chats: Sequence[Sequence[Message]], sampling: Sampling) -> list[list[Completion]]:
        """`sampling.n` completions of each chat, with token ids and log-probabilities."""
        found = dict(self.stream(chats, sampling))
        return [found[i] for i in range(len(chats))]

    def stream(self, chats: Sequence[Sequence[Message]], sampling: Sampling) -> Iterator[tuple[int, list[Completion]]]:
        """The same, each chat's completions with its number as soon as all of them have ended."""
        prompts = [self.encode_chat(chat, sampling.prefill) for chat in chats]
        longest = max(map(len, prompts), default=0)
        if longest + sampling.max_tokens > self.context_length:
            raise UserError(too_long(self.name, longest, sampling.max_tokens, self.context_length))
        draw = Draw(
            temperature=sampling.temperature,
            max_tokens=sampling.max_tokens,
            end_ids=self.end_ids,
            seed=sampling.seed,
        )
        pad_id = self.tokenizer.pad_token_id
        rows = sample(self.module, prompts, capabilities=self.capabilities, n=sampling.n, draw=draw, pad_id=pad_id)
        while True:
            with self.turn:  # not while somebody looks at what came
                found = next(rows, None)
                completions = self._completions(found[1], sampling.prefill) if found else []
            if not found:
                return
            yield found[0], completions

    def _completions(self, rows: Sequence[SampledRow], prefill: str) -> list[Completion]:
        texts = self.tokenizer.batch_decode([r.token_ids for r in rows], skip_special_tokens=True)
        return [
            Completion(
                text=prefill + text,
                token_ids=row.token_ids,
                sampling_logprobs=row.logprobs,
                loss_mask=(True,) * len(row.token_ids),
                finish_reason="stop" if row.ended else "length",
            )
            for row, text in zip(rows, texts, strict=True)
        ]

    def label_logprobs(self, chats: Sequence[Sequence[Message]], labels: Sequence[str]) -> np.ndarray:
        """[B, labels] log-probability that the reply begins with each label (with or without a space before it)."""
        with self.turn, torch.inference_mode():
            sets = [self._first_tokens(label) for label in labels]
            prompts = encode_chats(self.tokenizer, chats)
            out = np.empty((len(prompts), len(labels)))
            for rows, logits_BV in self._last_logits(prompts):
                logprobs_BV = logits_BV.float().log_softmax(-1)
                columns = [logprobs_BV[:, ids].logsumexp(-1) for ids in sets]
                out[rows] = torch.stack(columns, 1).cpu().numpy()
            return out

    def _last_logits(self, sequences: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Row numbers and the logits [B, V] behind the last tokens; shared beginnings are computed once."""
        self._check_lengths(sequences)
        if not self.capabilities.tree_attention:
            yield from self._last_logits_apart(sequences)
            return
        for rows, packed in prefix_trees(sequences, SHARED_TOKENS_AT_ONCE):
            ends, where = torch.tensor(packed.ends, device=self.device).unique(return_inverse=True)
            yield rows, tree_logits(self.module, torch.tensor(packed.ids), packed.tree, ends)[where]

    def _last_logits_apart(self, sequences: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], torch.Tensor]]:
        """The same for models that read no prefix trees: every sequence whole, padded to the longest."""
        for rows, ids_BT, mask_BT, lengths in self._batches(sequences):
            kept, where = (torch.tensor(lengths, device=self.device) - 1).unique(return_inverse=True)
            logits_BKV = self.module(input_ids=ids_BT, attention_mask=mask_BT, logits_to_keep=kept).logits
            yield rows, logits_BKV[torch.arange(len(rows), device=self.device), where]

    def mean_logprobs(self, contexts: Sequence[str], continuations: Sequence[str]) -> np.ndarray:
        """[B] mean log-probability per token of each continuation after its context (plain text, no chat)."""
        with self.turn, torch.inference_mode():
            encode = lambda text: self.tokenizer.encode(text, add_special_tokens=False)  # noqa: E731
            starts, ends = [encode(c) for c in contexts], [encode(c) for c in continuations]
            out = np.empty(len(starts))
            for rows, ids_BT, mask_BT, lengths in self._batches([a + b for a, b in zip(starts, ends, strict=True)]):
                longest = max(lengths)
                shortest_context = min(len(starts[i]) for i in rows)
                kept = torch.arange(max(shortest_context - 1, 0), longest - 1, device=self.device)
                logits_BTV = self.module(input_ids=ids_BT, attention_mask=mask_BT, logits_to_keep=kept).logits.float()
                targets_BT = ids_BT[:, kept + 1]
                logprobs_BT = logits_BTV.gather(2, targets_BT[:, :, None]).squeeze(2) - logits_BTV.logsumexp(-1)
                for b, i in enumerate(rows):
                    a = max(len(starts[i]) - 1, 0) - int(kept[0])
                    out[i] = logprobs_BT[b, a : a + len(ends[i])].mean().item()
            return out

    def _first_tokens(self, label: str) -> list[int]:
        ids = {self.tokenizer.encode(form, add_special_tokens=False)[0] for form in (label, " " + label)}
        return sorted(ids)

    def _batches(
        self, sequences: Sequence[Sequence[int]], tokens_at_once: int = 16384
    ) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor, list[int]]]:
        """Right-padded batches of similar length: row numbers, ids [B, T], mask [B, T], lengths."""
        self._check_lengths(sequences)
        order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
        pad = self.tokenizer.pad_token_id
        while order:
            rows = [order.pop()]  # the longest sets the width
            width = len(sequences[rows[0]])
            while order and (len(rows) + 1) * width <= tokens_at_once:
                rows.append(order.pop())
            lengths = [len(sequences[i]) for i in rows]
            ids = torch.tensor(
                [[*sequences[i], *[pad] * (width - len(sequences[i]))] for i in rows], device=self.device
            )
            mask = torch.tensor([[1] * k + [0] * (width - k) for k in lengths], device=self.device)
            yield rows, ids, mask, lengths

    def _check_lengths(self, sequences: Sequence[Sequence[int]]) -> None:
        longest = max((len(s) for s in sequences), default=0)
        if longest > self.context_length:
            raise UserError(f"a text of {longest} tokens does not fit {self.name!r}, which reads {self.context_length}")


def too_long(name: str, prompt: int, completion: int, context: int) -> str:
    """Why a prompt of so many tokens cannot be continued for so many more, and what to do.

    >>> too_long("gpt2", 250, 786, 1024)[:79]
    '--max_completion_length 786: with the longest prompt (250 tokens) it makes 1036'
    """
    left = context - prompt
    remedy = f"lower it to {left} or less" if left > 0 else "shorten the prompts (fewer --num_shots)"
    return (
        f"--max_completion_length {completion}: with the longest prompt ({prompt} tokens) it makes "
        f"{prompt + completion} tokens, and {name!r} reads {context} at once; {remedy}"
    )


def encode_chat(tokenizer: Any, chat: Sequence[Message], prefill: str = "") -> list[int]:
    """Token ids of a chat with the assistant's turn opened and begun with `prefill`.

    A tokenizer without a chat template gets the plain text `role: content`.
    """
    return encode_chats(tokenizer, [chat], prefill)[0]


def encode_chats(tokenizer: Any, chats: Sequence[Sequence[Message]], prefill: str = "") -> list[list[int]]:
    """The same of many at once, which tokenizers do on all processors."""
    if tokenizer.chat_template:
        texts = [_templated(tokenizer, chat) for chat in chats]
    else:
        texts = ["".join(f"{m['role']}: {m['content']}\n\n" for m in chat) + "assistant: " for chat in chats]
    return tokenizer([text + prefill for text in texts], add_special_tokens=False)["input_ids"] if texts else []


def _templated(tokenizer: Any, chat: Sequence[Message]) -> str:
    from jinja2 import TemplateError  # whoever has templates has it

    try:
        return str(tokenizer.apply_chat_template(list(chat), add_generation_prompt=True, tokenize=False))
    except TemplateError as error:
        turns, said = ", ".join(m["role"] for m in chat), " ".join(str(error).split())[:200]
        raise UserError(
            f"{tokenizer.name_or_path}: its chat template takes no chat of the turns {turns} ({said}); "
            "ask in other turns, or take another model"
        ) from None
