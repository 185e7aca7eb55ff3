"""The local engine keeps the protocol: whole groups, their own log-probabilities, and a state that goes on exactly."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from softgrpo.engines.base import Engine, EngineCapabilities
from softgrpo.engines.local import policy as policies
from softgrpo.engines.local.engine import STATE, LocalEngine
from softgrpo.engines.local.learner import Learner, LearnerSettings
from softgrpo.engines.local.reference import MixedReference, Reference
from softgrpo.errors import UserError
from softgrpo.model_interface import load_local
from softgrpo.models.local.capabilities import Capabilities
from softgrpo.records import Group, Sampling, TextModel, TrainingGroup
from tests.engines.local.learning import (
    SETTINGS,
    WAYS,
    T,
    groups_for,
    masked,
    prompts_for,
    random_masks,
    training_group_of,
)

SAMPLING = Sampling(n=4, temperature=T, max_tokens=16, seed=5, prefill="w9 ")
IDS = torch.tensor([[4, 9, 10, 11]])
KINDS = ["full", "mixed reference", "lora"]


def engine_for(folder: Path, kind: str = "full", *, dtype: str = "float32", seed: int = 0, **settings) -> LocalEngine:
    """On the tiny model's weights, loaded anew. A fresh adapter is made to say something."""
    base = load_local(str(folder), dtype=dtype, device="cpu")
    if kind == "lora":
        policy = policies.with_lora(base, rank=4, alpha=8, dropout=0.1, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, p in policy.trainable().items():
                if "lora_B" in name:
                    p.copy_(0.3 * torch.randn(p.shape, generator=generator))
        reference = Reference(policy.module, policy.capabilities)
    else:
        policy = policies.full(base, shared=True)
        reference = Reference(base.module, policy.capabilities)
        if kind == "mixed reference":
            reference = MixedReference(copy.deepcopy(base.module), policy.capabilities, alpha=0.3)
    mix_every = 2 if kind == "mixed reference" else None
    return LocalEngine(
        policy, Learner(policy, reference, LearnerSettings(**(SETTINGS | settings))), mix_every=mix_every
    )


def training_groups(groups: list[Group], seed: int = 0) -> list[TrainingGroup]:
    rng = np.random.default_rng(seed)
    return [training_group_of(group, rng.normal(size=len(group.completions))) for group in groups]


def in_order(engine: Engine, sampling: Sampling = SAMPLING, n: int = 3) -> list[Group]:
    """What any engine's stream gives, by the places of its prompts."""
    return [group for _, group in sorted(engine.stream(prompts_for(n), sampling), key=lambda one: one[0])]


def everything_of(engine: LocalEngine) -> dict[str, torch.Tensor]:
    """Each number that an update reads or writes."""
    found = {f"module {name}": p.detach().clone() for name, p in engine.policy.module.state_dict().items()}
    found |= {f"master {name}": p.detach().clone() for name, p in engine.learner.masters.items()}
    found |= {f"reference {name}": p.clone() for name, p in engine.learner.reference.state().items()}
    found |= {f"reference's {name}": p.clone() for name, p in engine.learner.reference.module.state_dict().items()}
    for i, moments in engine.learner.optimizer.state_dict()["state"].items():
        found |= {f"moment {i} {name}": torch.as_tensor(value).clone() for name, value in moments.items()}
    return found


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_it_keeps_the_protocol(tiny_folder):
    """Every method by its name and its parameters; and it is a model like any other to an evaluation."""

    def answers(model: TextModel) -> int:
        return len(model.generate([p.messages for p in prompts_for(2)], SAMPLING))

    def goes_through(engine: Engine) -> Engine:
        assert answers(engine) == 2
        assert isinstance(engine.capabilities, EngineCapabilities)
        groups = training_groups(in_order(engine, n=2))
        assert engine.mismatch(groups).mismatch_abs < 1e-5
        assert engine.update(groups, seed=0).update == 1
        assert len(engine.logprobs([each.scored.group for each in groups])) == 2
        return engine

    engine = goes_through(engine_for(tiny_folder))
    assert engine.name == str(tiny_folder)
    methods = [name for name, value in vars(Engine).items() if callable(value) and not name.startswith("_")]
    assert set(methods) >= {"stream", "generate", "logprobs", "mismatch", "update", "save", "restore", "export"}
    for name in methods:
        asked, given = (inspect.signature(getattr(kind, name)) for kind in (Engine, LocalEngine))
        assert given == asked, name


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (WAYS["attention"], EngineCapabilities()),
        (WAYS["mask, whole logits"], EngineCapabilities(chunks_logits=False)),
        (Capabilities(), EngineCapabilities(shares_prompts=False, chunks_logits=False)),
    ],
)
def test_what_it_can_do_is_what_the_model_lets_it(tiny_folder, found, said):
    engine = engine_for(tiny_folder)
    engine.policy.capabilities = found
    assert engine.capabilities == said


@pytest.mark.parametrize("kind", ["full", "lora"])
@pytest.mark.parametrize("way", ["attention", "padded"])
def test_a_stream_gives_whole_groups_of_what_is_generated(tiny_folder, kind, way):
    """With the prompt as the policy saw it, prefill included, each with its place, as they are finished."""
    engine = engine_for(tiny_folder, kind)
    engine.policy.capabilities = WAYS[way]
    engine.policy.module.generation_config.eos_token_id = [1, *range(20, 36)]
    prompts = prompts_for(5)
    streamed = list(engine.stream(prompts, SAMPLING))
    assert sorted(place for place, _ in streamed) == list(range(5))
    lengths = [max(len(c.token_ids) for c in group.completions) for _, group in streamed]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 1
    generated = engine.generate([p.messages for p in prompts], SAMPLING)
    for place, group in streamed:
        assert group.prompt is prompts[place]
        assert group.prompt_ids == tuple(engine.policy.encode_chat(prompts[place].messages, "w9 "))
        assert list(group.completions) == generated[place]
        assert all(c.text.startswith("w9 ") and all(c.loss_mask) for c in group.completions)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["attention", "mask", "padded"])
def test_log_probabilities_are_those_recorded_at_sampling(tiny_folder, kind, way):
    engine = engine_for(tiny_folder, kind, micro_batch_tokens=64)
    engine.policy.capabilities = engine.learner.capabilities = WAYS[way]
    groups = in_order(engine)
    for group, found in zip(groups, engine.logprobs(groups), strict=True):
        for completion, values in zip(group.completions, found, strict=True):
            assert np.allclose(values, completion.sampling_logprobs, atol=1e-5)
    assert engine.mismatch(training_groups(groups)).mismatch_abs < 1e-5
    engine.update(training_groups(groups), seed=0)
    moved = np.concatenate([v for values in engine.logprobs(groups) for v in values])
    recorded = np.concatenate([c.sampling_logprobs for group in groups for c in group.completions])
    assert np.abs(moved - recorded).mean() > 1e-3, "under the present weights"


def test_where_the_loss_mask_is_false_there_is_no_log_probability(tiny_folder):
    engine = engine_for(tiny_folder)
    each = training_group_of(in_order(engine)[0], [1.0, -1.0, 0.0, 0.5])
    group = masked(each, random_masks(each, np.random.default_rng(0))).scored.group
    for completion, values in zip(group.completions, engine.logprobs([group])[0], strict=True):
        assert np.isfinite(values).tolist() == list(completion.loss_mask)
        assert np.allclose(values, completion.sampling_logprobs, atol=1e-5, equal_nan=True)


def test_the_adapter_is_at_rest_while_a_consumer_holds_a_group(tiny_folder):
    """And after a stream that is left half-way: whoever judges on the same weights meets the base alone."""
    engine = engine_for(tiny_folder, "lora")
    engine.policy.module.generation_config.eos_token_id = [1, *range(20, 36)]
    module = engine.policy.module
    with torch.no_grad():
        base = module(IDS).logits
        with engine.policy.active():
            assert not torch.allclose(module(IDS).logits, base)
        whole = dict(engine.stream(prompts_for(5), SAMPLING))
        for place, group in engine.stream(prompts_for(5), SAMPLING):
            assert torch.equal(module(IDS).logits, base)
            assert group == whole[place], "what the consumer does meanwhile changes nothing"
        half = engine.stream(prompts_for(5), SAMPLING)
        next(half)
        assert torch.equal(module(IDS).logits, base)
        half.close()
        assert torch.equal(module(IDS).logits, base)
        del half
        assert engine.generate([p.messages for p in prompts_for(5)], SAMPLING) == [
            list(whole[place].completions) for place in range(5)
        ]
        assert torch.equal(module(IDS).logits, base)


def test_the_adapter_is_at_rest_after_a_stream_that_fails(tiny_folder, monkeypatch):
    engine = engine_for(tiny_folder, "lora")
    module = engine.policy.module
    with torch.no_grad():
        base = module(IDS).logits

        def fails(*given):
            raise ZeroDivisionError

        hook = module.get_decoder().register_forward_hook(fails)
        with pytest.raises(ZeroDivisionError):
            next(engine.stream(prompts_for(2), SAMPLING))
        hook.remove()
        assert torch.equal(module(IDS).logits, base)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_saved_state_is_restored_exactly_and_goes_on_as_it_would_have(tiny_folder, tmp_path, kind, dtype):
    """Weights, moments, reference and the count of updates; dropout as well, which follows from the update's seed."""
    engine = engine_for(tiny_folder, kind, dtype=dtype)
    lessons = [training_groups(in_order(engine, dataclasses.replace(SAMPLING, seed=k)), seed=k) for k in range(5)]
    for k in range(3):
        engine.update(lessons[k], seed=k)
    engine.save(tmp_path)
    torch.manual_seed(99)  # no chance of before is needed
    again = engine_for(tiny_folder, kind, dtype=dtype, seed=1)
    again.restore(tmp_path)
    assert_same(everything_of(engine), everything_of(again))
    assert again.learner.updates == 3
    for k in (3, 4):
        expected = engine.update(lessons[k], seed=k)
        torch.manual_seed(98)
        assert again.update(lessons[k], seed=k) == expected
    assert expected.update == 5
    assert_same(everything_of(engine), everything_of(again))
    assert in_order(again) == in_order(engine)


def test_dropout_follows_from_the_seed_of_the_update(tiny_folder):
    groups = None
    found = []
    for seed in (0, 0, 1):
        engine = engine_for(tiny_folder, "lora")
        groups = groups or training_groups(in_order(engine))
        engine.update(groups, seed=seed)
        found.append(everything_of(engine))
    assert_same(found[0], found[1])
    with pytest.raises(AssertionError):
        assert_same(found[0], found[2])


def test_a_reference_that_moves_is_mixed_every_so_many_updates(tiny_folder):
    engine = engine_for(tiny_folder, "mixed reference")
    groups = training_groups(in_order(engine))
    reference = engine.learner.reference
    start = {name: w.clone() for name, w in reference.weights.items()}
    engine.update(groups, seed=0)
    assert_same(reference.weights, start)
    engine.update(groups, seed=1)
    for name, w in reference.weights.items():
        assert torch.allclose(w, 0.3 * engine.learner.masters[name] + 0.7 * start[name], atol=1e-6)


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_saved_folder_is_a_model_beside_its_state(tiny_folder, tmp_path, kind):
    engine = engine_for(tiny_folder, kind)
    engine.update(training_groups(in_order(engine)), seed=0)
    engine.save(tmp_path)
    assert (tmp_path / STATE).exists()
    read = load_local(str(tmp_path), dtype="float32", device="cpu")
    with torch.no_grad(), engine.policy.active():
        assert torch.allclose(read.module(IDS).logits, engine.policy.module(IDS).logits, atol=1e-4)


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_what_is_exported_loads_with_transformers_alone(tiny_folder, tmp_path, kind):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    engine = engine_for(tiny_folder, kind)
    engine.update(training_groups(in_order(engine)), seed=0)
    engine.export(tmp_path)
    assert not list(tmp_path.glob("adapter*"))
    assert not (tmp_path / STATE).exists()
    module, tokenizer = (kind.from_pretrained(tmp_path) for kind in (AutoModelForCausalLM, AutoTokenizer))
    with torch.no_grad(), engine.policy.active():
        assert torch.allclose(module(IDS).logits, engine.policy.module(IDS).logits, atol=1e-4)
    chat = prompts_for(1)[0].messages
    assert tokenizer.apply_chat_template(list(chat), add_generation_prompt=True, tokenize=True, return_dict=False) == (
        engine.policy.encode_chat(chat)
    )


class Foreign:
    """What a state never holds."""


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


DAMAGES = {
    "missing": lambda file: file.unlink(),
    "empty": lambda file: file.write_bytes(b""),
    "cut short": cut_short,
    "other bytes": lambda file: file.write_bytes(b"not a state at all, but a line of text\n" * 9),
    "another pickle": lambda file: file.write_bytes(pickle.dumps({"masters": Foreign})),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "nothing in it": lambda file: torch.save({}, file),
    "no mapping": lambda file: torch.save([1, 2], file),
    "another's": lambda file: torch.save({"iteration": 3, "beside": {}}, file),
    "no tensors": lambda file: torch.save({"masters": {"x": 1}}, file),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_state_that_cannot_be_read_is_told_in_one_line_and_changes_nothing(tiny_folder, tmp_path, damage):
    engine = engine_for(tiny_folder)
    engine.save(tmp_path)
    DAMAGES[damage](tmp_path / STATE)
    before = everything_of(engine)
    with pytest.raises(UserError, match=f"checkpoint .*{tmp_path.name}") as error:
        engine.restore(tmp_path)
    assert "\n" not in str(error.value)
    assert_same(everything_of(engine), before)


@pytest.mark.parametrize(("saved", "asked"), [("full", "lora"), ("lora", "full")])
def test_a_state_of_other_weights_is_refused(tiny_folder, tmp_path, saved, asked):
    engine_for(tiny_folder, saved).save(tmp_path)
    engine = engine_for(tiny_folder, asked)
    before = everything_of(engine)
    with pytest.raises(UserError, match="holds other weights than this configuration trains"):
        engine.restore(tmp_path)
    assert_same(everything_of(engine), before)


def test_an_evaluation_meets_the_policy_as_a_model(tiny, tiny_folder):
    """The same answers as the weights that it started from, before it has learned."""
    engine = engine_for(tiny_folder)
    (group, *_) = groups_for(tiny, groups=1)
    same = engine.generate([group.prompt.messages], Sampling(n=4, temperature=T, max_tokens=16, seed=0))
    assert [c.token_ids for c in same[0]] == [c.token_ids for c in group.completions]
