"""What a model reads at once bounds prompt and completion: said in one line before the first step."""

from __future__ import annotations

import pytest

from softgrpo.cli import run
from softgrpo.errors import UserError
from softgrpo.models import loading
from softgrpo.records import Sampling
from tests.conftest import build_tiny
from tests.training.runs import flags


def short(folder, kind):
    """A tiny model of another family that reads 110 tokens."""
    import transformers
    from transformers import AutoConfig, AutoModelForCausalLM

    build_tiny(folder)
    size = AutoConfig.from_pretrained(folder).vocab_size
    common = dict(vocab_size=size, pad_token_id=0, eos_token_id=1, bos_token_id=1)
    config = {
        "gpt2": lambda: transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=110, **common),
        "opt": lambda: transformers.OPTConfig(
            hidden_size=32,
            ffn_dim=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=110,
            word_embed_proj_dim=32,
            **common,
        ),
        "llama": lambda: transformers.LlamaConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=110,
            **common,
        ),
    }[kind]()
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["gpt2", "opt", "llama"])
def test_too_long_for_the_policy_is_one_line_and_what_it_names_works(kind, tmp_path, capsys):
    model = short(tmp_path / "model", kind)
    asked = dict(num_train_iters=1, eval_prompts=2, eval_iterations=1)
    capsys.readouterr()
    assert run("train", flags(tmp_path / "run", model, model, max_completion_length=100, **asked)) == 2
    said = capsys.readouterr().err
    assert "--max_completion_length 100: with the longest prompt (" in said
    assert "reads 110 at once; lower it to " in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()
    enough = said.split("lower it to ")[1].split()[0]
    assert run("train", flags(tmp_path / "run", model, model, max_completion_length=enough, **asked)) == 0
    assert "has room for" in capsys.readouterr().out, "the judge reads two texts"


def test_too_long_for_the_opponent_too(tmp_path, tiny_folder, capsys):
    model = short(tmp_path / "model", "gpt2")
    arguments = flags(tmp_path / "run", tiny_folder, tiny_folder, max_completion_length=100, compare_model_name=model)
    assert run("train", arguments) == 2
    assert f"'{model}' reads 110" in capsys.readouterr().err


def test_prompts_longer_than_the_context_need_another_remedy(tmp_path, tiny_folder, capsys):
    words = dict(max_completion_length=600)
    assert run("train", flags(tmp_path / "run", tiny_folder, tiny_folder, **words)) == 2
    assert "reads 512 at once; lower it to" in capsys.readouterr().err


def test_whoever_generates_is_told(tiny):
    chat = [{"role": "user", "content": "w1 " * 30}]
    with pytest.raises(UserError, match=r"reads 512 at once; lower it to \d+ or less"):
        tiny.generate([chat], Sampling(n=1, max_tokens=500))
    with pytest.raises(UserError, match="shorten the prompts"):
        tiny.generate([[{"role": "user", "content": "w1 " * 600}]], Sampling(n=1, max_tokens=5))


def test_context_lengths():
    from transformers import GPT2Config, LlamaConfig, MambaConfig, Qwen2Config

    assert loading.context_length(GPT2Config(n_positions=77)) == 77
    assert loading.context_length(LlamaConfig(max_position_embeddings=99)) == 99
    assert loading.context_length(MambaConfig()) is None
    stretched = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 100, "rope_theta": 1e4}
    assert loading.context_length(Qwen2Config(max_position_embeddings=100, rope_parameters=stretched)) == 400
