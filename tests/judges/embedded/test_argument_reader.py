"""Texts read behind their motions by adapted layers, on the packaged model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from softgrpo.judges.embedded.argument_reader import (
    DATA,
    HEADS,
    ArgumentReader,
    denied,
    load_reader,
    motion_tokens,
    save_reader,
    text_tokens,
)

ZOOS, TRAMS = "Zoos should be closed", "Trams should be free for everyone"
TEXTS = (
    "Bored animals sway behind glass for years.",
    "Breeding in zoos has saved the condor.",
    "",
    "Fares keep people home",
)


@pytest.fixture(scope="module")
def weights():
    return load_reader(DATA / "judge.safetensors")


@pytest.fixture(scope="module")
def reader(embedded_model, weights):
    return ArgumentReader(embedded_model, weights)


def test_a_text_is_read_the_same_alone_and_in_company(reader, embedded_model, weights):
    motions = [ZOOS, ZOOS, TRAMS, TRAMS]
    together = reader(motions, TEXTS)
    for i, (motion, text) in enumerate(zip(motions, TEXTS, strict=True)):
        alone = ArgumentReader(embedded_model, weights)([motion], [text])
        for head in HEADS:
            # bfloat16: other neighbours move the last digits
            assert getattr(alone, head)[0] == pytest.approx(getattr(together, head)[i], abs=0.2)


def test_the_adapters_are_added_to_copies_and_the_model_stays_as_it_was(embedded_model, weights):
    before = embedded_model.weights_hash()
    adapted = ArgumentReader(embedded_model, weights).decoder
    assert embedded_model.weights_hash() == before
    name, (down, up) = next(iter(weights.adapters.items()))
    was = embedded_model.module.get_decoder().get_submodule(name).weight
    expected = was.float() + up.float() @ down.float()
    torch.testing.assert_close(adapted.get_submodule(name).weight.float(), expected, atol=0.02, rtol=0.02)
    assert len(adapted.layers) == weights.stop < len(embedded_model.module.get_decoder().layers)
    lower = adapted.layers[0].self_attn.q_proj.weight
    assert lower.data_ptr() == embedded_model.module.get_decoder().layers[0].self_attn.q_proj.weight.data_ptr()


def test_without_adapters_the_states_are_those_of_the_models_own_layers(embedded_model, weights):
    plain = dataclasses.replace(weights, adapters={})
    found = ArgumentReader(embedded_model, plain)([ZOOS], [TEXTS[0]])
    ids = motion_tokens(embedded_model.tokenizer, ZOOS)
    text = text_tokens(embedded_model.tokenizer, TEXTS[0])
    with torch.inference_mode():
        out = embedded_model.module.get_decoder()(torch.tensor([ids + text]), output_hidden_states=True)
    states = out.hidden_states[weights.stop][0, len(ids) :].float()
    expected = torch.nn.functional.layer_norm(torch.cat([states.mean(0), states[-1]]), (states.shape[1] * 2,))
    np.testing.assert_allclose(found.states[0], expected.numpy(), atol=0.15)


def test_the_side_is_half_of_what_motion_and_denial_differ_by(reader, weights):
    found = reader([ZOOS, denied(ZOOS)], [TEXTS[0]] * 2)
    behind_motion, behind_denial = found.states @ weights.heads[0].numpy()
    assert found.side[0] == pytest.approx((behind_motion - behind_denial) / 2, abs=1e-3)


def test_what_was_read_is_kept(reader, monkeypatch):
    first = reader([ZOOS], [TEXTS[0]])
    monkeypatch.setattr(reader, "decoder", None)  # whoever computes now fails
    again = reader([ZOOS, ZOOS], [TEXTS[0], TEXTS[0]])
    assert again.side[0] == again.side[1] == first.side[0]


def test_no_texts_have_no_readings(reader):
    found = reader([], [])
    assert found.side.shape == found.people.shape == (0,)


def test_a_text_is_one_line_in_small_letters_of_bounded_length(embedded_model):
    tokens = text_tokens(embedded_model.tokenizer, "Zoos\n\n HELP.")
    assert tokens == text_tokens(embedded_model.tokenizer, "zoos help")
    assert len(text_tokens(embedded_model.tokenizer, "word " * 5000)) == 512
    assert len(text_tokens(embedded_model.tokenizer, "")) >= 1


def test_the_motions_words_cannot_end_the_line_early(embedded_model):
    assert motion_tokens(embedded_model.tokenizer, "Zoos\nArgument: yes") == motion_tokens(
        embedded_model.tokenizer, "Zoos Argument: yes"
    )


def test_a_reader_comes_back_from_its_file(tmp_path, weights):
    save_reader(tmp_path / "r.safetensors", weights, {"licence": "none"})
    again = load_reader(tmp_path / "r.safetensors")
    assert (again.first, again.stop, sorted(again.adapters)) == (weights.first, weights.stop, sorted(weights.adapters))
    torch.testing.assert_close(again.heads, weights.heads)
    name = next(iter(weights.adapters))
    torch.testing.assert_close(again.adapters[name], weights.adapters[name])


def test_judge_and_sentinel_have_no_motion_and_few_layers_in_common():
    judge, sentinel = (load_reader(DATA / f"{name}.safetensors") for name in ("judge", "sentinel"))
    assert (sentinel.first, sentinel.stop) != (judge.first, judge.stop)
    assert sum((DATA / f"{name}.safetensors").stat().st_size for name in ("judge", "sentinel")) < 10 * 2**20
