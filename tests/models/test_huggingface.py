"""The local model behind the interface: chats, labels, likelihoods."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from softgrpo.errors import UserError
from softgrpo.models import loading
from softgrpo.models.huggingface import encode_chat
from softgrpo.models.local import sampler
from softgrpo.models.local.capabilities import Capabilities
from softgrpo.records import Sampling

CHAT = [{"role": "system", "content": "w1 w2"}, {"role": "user", "content": "w3"}]


def test_the_prompt_ends_with_the_opened_turn_and_the_prefill(tiny):
    text = tiny.tokenizer.decode(tiny.encode_chat(CHAT, "w9 w8"))
    assert text == "system w1 w2 <eos> user w3 <eos> assistant w9 w8"


def test_without_a_chat_template_the_text_is_plain(tiny):
    tiny.tokenizer.chat_template = None
    assert "assistant:" not in tiny.tokenizer.decode(encode_chat(tiny.tokenizer, CHAT))  # a word it does not know
    assert len(encode_chat(tiny.tokenizer, CHAT)) == 6


def test_an_unknown_precision_is_one_line_that_names_the_choices():
    with pytest.raises(UserError, match="dtype 'float16'; choose from auto, bfloat16, float32"):
        loading.pick_dtype("float16", torch.device("cpu"))


def test_completions_hold_the_prefill_but_not_its_tokens(tiny):
    chats = [CHAT, [{"role": "user", "content": "w5 w6 w7"}]]
    out = tiny.generate(chats, Sampling(n=3, max_tokens=5, prefill="w9 "))
    assert [len(row) for row in out] == [3, 3]
    for completion in (c for row in out for c in row):
        assert completion.text.startswith("w9 ")
        assert len(completion.token_ids) == len(completion.sampling_logprobs) == len(completion.loss_mask) <= 5
        assert completion.finish_reason == ("stop" if completion.token_ids[-1] == 1 else "length")


@pytest.mark.parametrize("found", [Capabilities(tree_attention=True), Capabilities()])
def test_batches_do_not_change_the_answers(tiny, monkeypatch, found):
    chats = [[{"role": "user", "content": f"w{i} " * (i + 1)}] for i in range(5)]
    likely = tiny.generate(chats, Sampling(n=2, max_tokens=6, temperature=0))
    monkeypatch.setitem(sampler.ROWS_AT_ONCE, "cpu", 4)
    tiny.capabilities = found
    assert [[c.text for c in row] for row in likely] == [
        [c.text for c in row] for row in tiny.generate(chats, Sampling(n=2, max_tokens=6, temperature=0))
    ]


def test_a_stream_gives_what_is_generated_chat_by_chat(tiny):
    """Each with its number, when it is finished."""
    chats = [[{"role": "user", "content": f"w{i} " * (i + 1)}] for i in range(5)]
    tiny.module.generation_config.eos_token_id = [1, *range(20, 36)]
    sampling = Sampling(n=2, max_tokens=40, seed=1, prefill="w9 ")
    streamed = list(tiny.stream(chats, sampling))
    assert sorted(i for i, _ in streamed) == list(range(5))
    assert tiny.generate(chats, sampling) == [completions for _, completions in sorted(streamed, key=lambda s: s[0])]
    lengths = [max(len(c.token_ids) for c in completions) for _, completions in streamed]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 1


def test_no_chats_have_no_completions(tiny):
    assert tiny.generate([], Sampling(n=2)) == []


def test_a_chat_that_leaves_no_room_is_refused_before_anything_is_sampled(tiny):
    with pytest.raises(UserError, match=r"--max_completion_length 510: .*lower it to 50\d or less"):
        tiny.generate([CHAT], Sampling(max_tokens=510))


@pytest.mark.parametrize("found", [Capabilities(tree_attention=True), Capabilities(tree_mask=True), Capabilities()])
def test_label_logprobs_equal_one_forward_pass_each(tiny, found):
    tiny.capabilities = found
    chats = [[{"role": "user", "content": "w1 " * k}] for k in (1, 7, 3, 7)]
    found = tiny.label_logprobs(chats, ("A", "B"))
    for chat, row in zip(chats, found, strict=True):
        with torch.no_grad():
            logprobs = tiny.module(torch.tensor([tiny.encode_chat(chat)])).logits[0, -1].log_softmax(-1)
        ids = [tiny.tokenizer.convert_tokens_to_ids(label) for label in ("A", "B")]
        assert np.allclose(row, logprobs[ids], atol=1e-5)


def test_mean_logprobs_equal_one_forward_pass_each(tiny):
    contexts = ["w1 w2", "w3 w4 w5 w6 w7 w8", "w9", "w1 w2 w3"]
    continuations = [" w4 w5 w6", " w1", " w2 w2", " w7 w8 w9 w1 w2"]
    found = tiny.mean_logprobs(contexts, continuations)
    encode = lambda text: tiny.tokenizer.encode(text, add_special_tokens=False)  # noqa: E731
    for value, context, continuation in zip(found, contexts, continuations, strict=True):
        start, end = encode(context), encode(continuation)
        with torch.no_grad():
            logprobs = tiny.module(torch.tensor([start + end])).logits[0].log_softmax(-1)
        expected = [logprobs[len(start) - 1 + k, token].item() for k, token in enumerate(end)]
        assert value == pytest.approx(np.mean(expected), abs=1e-5)


def test_a_text_longer_than_the_context_is_refused_with_its_length(tiny):
    with pytest.raises(UserError, match=r"600 tokens.*512"):
        tiny.mean_logprobs(["w1 " * 599], [" w1"])
