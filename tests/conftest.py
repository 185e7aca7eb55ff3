"""What many tests share: a tiny model with a vocabulary of words, and the real embedded one, each loaded once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

WORDS = [f"w{i}" for i in range(40)] + ["A", "B", "<reasoning>", "</reasoning>", "<answer>", "</answer>"]
PREFILL = "<reasoning> w1 </reasoning> <answer> "
"""with this opening every reply that says `</answer>` once is well formed, so that a random model has rewards"""
TEMPLATE = "{% for m in messages %}{{ m.role + ' ' + m.content + ' <eos> ' }}{% endfor %}{{ 'assistant ' }}"


def build_tiny(folder: Path, seed: int = 0) -> Path:
    """A two-layer Llama with random weights and one token per word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = ["<pad>", "<eos>", "<unk>", "system", "user", "assistant", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", chat_template=TEMPLATE
    )
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=1,
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that loads in a moment."""
    return build_tiny(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def tiny_judge_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one, with other weights."""
    return build_tiny(tmp_path_factory.mktemp("judge") / "model", seed=1)


@pytest.fixture
def tiny(tiny_folder: Path):
    """The tiny model in float32, fresh for each test."""
    from softgrpo.models.huggingface import HuggingFaceModel
    from softgrpo.models.names import parse

    return HuggingFaceModel.load(str(tiny_folder), parse(str(tiny_folder)), dtype="float32", device="cpu")


@pytest.fixture(scope="session")
def embedded_model():
    """The packaged small model, shared: never train it."""
    from softgrpo.model_interface import load_local

    return load_local("embedded")
