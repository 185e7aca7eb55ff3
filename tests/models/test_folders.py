"""Folders as model names: whole models, adapters on their base, runs."""

from __future__ import annotations

import json

import pytest
import torch

from softgrpo.engines.local import policy as policies
from softgrpo.errors import UserError
from softgrpo.model_interface import load_local
from softgrpo.models import loading, names
from softgrpo.models.folders import ADAPTER, BASE, model_folder

IDS = torch.tensor([[4, 9, 10, 11]])


@pytest.fixture
def adapter(tiny, tmp_path):
    """An adapter's folder and the policy that wrote it."""
    policy = policies.with_lora(tiny, rank=4, alpha=8, dropout=0.0, seed=0)
    with torch.no_grad():
        for name, p in policy.trainable().items():
            if "lora_B" in name:
                p.normal_(std=0.2)
    policy.save(tmp_path / "adapter")
    return tmp_path / "adapter", policy


def test_an_adapter_is_loaded_on_its_base(adapter, tmp_path):
    folder, policy = adapter
    names.check(str(folder))
    read = load_local(str(folder), dtype="float32", device="cpu")
    with policy.active(), torch.no_grad():
        assert torch.allclose(read.module(IDS).logits, policy.module(IDS).logits, atol=1e-4)
    policy.save_merged(tmp_path / "final")
    merged = load_local(str(tmp_path / "final"), dtype="float32", device="cpu")
    assert torch.equal(read.module(IDS).logits, merged.module(IDS).logits), "as the final model is made"
    assert not any("lora" in name for name, _ in read.module.named_parameters())
    assert loading.load_config(str(folder)).hidden_size == 32


def test_an_adapter_may_stand_on_another(adapter, tmp_path):
    folder, _ = adapter
    below = load_local(str(folder), dtype="float32", device="cpu")
    above = policies.with_lora(below, rank=4, alpha=8, dropout=0.0, seed=1)
    with torch.no_grad():
        for name, p in above.trainable().items():
            if "lora_B" in name:
                p.normal_(std=0.2)
    above.save(tmp_path / "second")
    with above.active(), torch.no_grad():
        expected = above.module(IDS).logits
    read = load_local(str(tmp_path / "second"), dtype="float32", device="cpu")
    assert torch.allclose(read.module(IDS).logits, expected, atol=1e-4)


def test_the_base_is_named_so_that_it_is_found_again(adapter):
    folder, policy = adapter
    assert json.loads((folder / ADAPTER).read_text())[BASE] == policy.name
    assert policies.base_name("embedded") == "embedded"


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ("{}", "names no model"),
        (json.dumps({BASE: "/no/such/folder"}), "was trained on another model: .*'/no/such/folder' does not exist"),
    ],
)
def test_an_adapter_without_its_base_is_told_in_one_line(tmp_path, written, words):
    (tmp_path / ADAPTER).write_text(written)
    with pytest.raises(UserError, match=words) as error:
        names.check(str(tmp_path))
    assert "\n" not in str(error.value)


def test_an_adapter_that_does_not_fit_its_base_is_told_in_one_line(adapter, tmp_path, tiny_judge_folder):
    from safetensors.torch import load_file, save_file

    folder, _ = adapter
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({k: torch.zeros(3, 5) for k in weights}, folder / "adapter_model.safetensors")
    with pytest.raises(UserError, match="cannot be loaded") as error:
        load_local(str(folder), dtype="float32", device="cpu")
    assert "\n" not in str(error.value)


def test_a_runs_folder_is_its_final_model(tmp_path, tiny_folder):
    run = tmp_path / "run"
    (run / "checkpoints" / "step-2").mkdir(parents=True)
    (run / "checkpoints" / "step-10").mkdir()
    (run / "args.json").write_text("{}")
    with pytest.raises(UserError, match=r"a run without a final model yet; name a checkpoint such as .*step-10"):
        names.check(str(run))
    with pytest.raises(UserError, match=r"no model .*step-10"):
        names.check(str(run / "checkpoints"))
    (run / "final").symlink_to(tiny_folder)
    assert loading.locate(names.check(str(run))) == str(run / "final")
    assert model_folder(tiny_folder) == tiny_folder
