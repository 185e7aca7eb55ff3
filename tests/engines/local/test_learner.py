"""The update: its gradient against one written by hand, its parts against the whole, what spoils it."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch

from softgrpo.engines.local import policy as policies
from softgrpo.engines.local.learner import MEASURED_TOKENS, Learner, LearnerSettings
from softgrpo.engines.local.reference import Reference
from softgrpo.grpo.training_group import to_training_group, unweighted
from softgrpo.records import Group
from tests.engines.local.learning import (
    LOSSES,
    SETTINGS,
    WAYS,
    T,
    by_hand,
    learner_for,
    masked,
    moved,
    random_masks,
    training_group_of,
    training_groups_for,
)


def assert_gradient(learner: Learner, expected: dict[str, torch.Tensor]) -> None:
    for name, master in learner.masters.items():
        assert torch.allclose(master.grad, expected[name], atol=2e-5, rtol=1e-3), name


@torch.no_grad()
def logprobs_of(module, group: Group, i: int) -> torch.Tensor:
    """[T] of a completion's tokens, from a forward pass of its own."""
    ids = torch.tensor([[*group.prompt_ids, *group.completions[i].token_ids]])
    logprobs = (module(ids).logits[0, len(group.prompt_ids) - 1 : -1] / T).log_softmax(-1)
    return logprobs[torch.arange(len(logprobs)), list(group.completions[i].token_ids)]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("way", ["attention", "mask", "padded"])
def test_gradient_equals_one_written_by_hand(tiny, loss, way):
    groups = training_groups_for(tiny)
    learner = learner_for(moved(tiny), tiny.module, tiny.tokenizer, loss=loss, capabilities=WAYS[way])
    expected = by_hand(learner.policy.module, tiny.module, groups, learner.settings)
    found = learner.gradients(groups)
    assert found.loss == pytest.approx(expected["loss"].item(), rel=1e-5, abs=1e-6)
    assert found.kl > 0
    assert found.clip_share > 0
    assert_gradient(learner, expected)


def test_the_fastest_way_is_found(tiny):
    assert learner_for(moved(tiny), tiny.module, tiny.tokenizer).capabilities == WAYS["attention"]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("way", ["attention", "mask", "padded"])
def test_a_token_that_the_policy_did_not_choose_is_read_and_never_trained(tiny, loss, way):
    """The middle of each completion is another's turn: the gradient is that of the other tokens, and what is measured
    is of them."""
    groups = [
        masked(
            each,
            [[not 0.3 * len(c.token_ids) <= t < 0.7 * len(c.token_ids) for t in range(len(c.token_ids))] for c in cs],
        )
        for each in training_groups_for(tiny)
        for cs in [each.scored.group.completions]
    ]
    learner = learner_for(moved(tiny), tiny.module, tiny.tokenizer, loss=loss, capabilities=WAYS[way])
    expected = by_hand(learner.policy.module, tiny.module, groups, learner.settings)
    found = learner.gradients(groups)
    assert found.loss == pytest.approx(expected["loss"].item(), rel=1e-5, abs=1e-6)
    assert_gradient(learner, expected)
    n_trained = sum(sum(c.loss_mask) for each in groups for c in each.scored.group.completions)
    n_tokens = sum(len(c.token_ids) for each in groups for c in each.scored.group.completions)
    assert n_trained < n_tokens
    assert learner.update(groups).n_tokens == n_trained


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("way", WAYS)
def test_whatever_the_loss_masks_the_gradient_is_that_written_by_hand(tiny, seed, way):
    """In micro-batches of any size; log-probabilities that untrained tokens lack do no harm."""
    rng = np.random.default_rng(seed)
    groups = [masked(each, random_masks(each, rng)) for each in training_groups_for(tiny, seed=seed)]
    options = dict(loss=LOSSES[seed % 4], micro_batch_tokens=int(rng.integers(1, 120)), capabilities=WAYS[way])
    learner = learner_for(moved(tiny), tiny.module, tiny.tokenizer, **options)
    expected = by_hand(learner.policy.module, tiny.module, groups, learner.settings)
    found = learner.gradients(groups)
    assert found.loss == pytest.approx(expected["loss"].item(), rel=1e-5, abs=1e-6)
    assert all(math.isfinite(x) for x in dataclasses.astuple(found))
    assert_gradient(learner, expected)


def test_a_completion_of_which_the_policy_chose_nothing_is_not_in_the_loss(tiny):
    """Its gradient is nought, and it weighs on nobody's mean; its reward counts among those of its group."""
    each = training_groups_for(tiny, groups=1, size=4)[0]
    masks = [[i != 1] * len(c.token_ids) for i, c in enumerate(each.scored.group.completions)]
    scored = dataclasses.replace(masked(each, masks).scored, rewards=np.array([1.0, 4.0, 0.0, 2.0]))
    with_it = to_training_group(scored)
    assert with_it.trained.tolist() == [True, False, True, True]
    others = tuple(c for i, c in enumerate(scored.group.completions) if i != 1)
    without = training_group_of(dataclasses.replace(scored.group, completions=others), with_it.advantages[[0, 2, 3]])
    found = []
    for one in (with_it, without):
        learner = learner_for(moved(tiny), tiny.module, tiny.tokenizer)
        learner.gradients([one])
        found.append({name: m.grad for name, m in learner.masters.items()})
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    report = learner_for(moved(tiny), tiny.module, tiny.tokenizer).update([with_it])
    assert (report.n_trained, report.n_tokens) == (3, sum(len(c.token_ids) for c in others))
    assert math.isfinite(report.mismatch_abs)


def test_where_the_policy_chose_no_token_nothing_is_learned(tiny):
    each = training_groups_for(tiny, groups=1, size=2)[0]
    nobody = masked(each, [[False] * len(c.token_ids) for c in each.scored.group.completions])
    training_group = to_training_group(nobody.scored)
    assert training_group.trained.tolist() == [False, False]
    learner = learner_for(copy.deepcopy(tiny.module), tiny.module, tiny.tokenizer)
    assert math.isnan(learner.mismatch([training_group]).mismatch_abs)
    report = learner.update([training_group])
    assert (report.n_trained, report.n_tokens) == (0, 0)
    assert report.skipped
    assert all(
        torch.equal(a, b) for a, b in zip(tiny.module.parameters(), learner.policy.module.parameters(), strict=True)
    )


@pytest.mark.parametrize("way", WAYS)
def test_log_probabilities_are_those_of_each_token_and_nothing_where_it_is_not_trained(tiny, way):
    """Whatever the size of a micro-batch; in the order of the completions."""
    rng = np.random.default_rng(0)
    each = training_groups_for(tiny, groups=1, size=5)[0]
    masks = random_masks(each, rng)
    masks[2] = [False] * len(masks[2])
    group = masked(each, masks).scored.group
    module = moved(tiny)
    for tokens in (1, 60, 10_000):
        learner = learner_for(module, tiny.module, tiny.tokenizer, micro_batch_tokens=tokens, capabilities=WAYS[way])
        found = learner.logprobs(group)
        assert [len(values) for values in found] == [len(c.token_ids) for c in group.completions]
        for i, (values, mask) in enumerate(zip(found, masks, strict=True)):
            assert np.array_equal(np.isfinite(values), mask)
            assert np.allclose(values[mask], logprobs_of(module, group, i).numpy()[mask], atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_micro_batches_add_up_to_the_whole(tiny, loss):
    groups = training_groups_for(tiny, groups=1, size=8)
    gradients = []
    for tokens in (1, 40, 10_000):
        learner = learner_for(moved(tiny), tiny.module, tiny.tokenizer, loss=loss, micro_batch_tokens=tokens)
        learner.gradients(groups)
        gradients.append({name: m.grad for name, m in learner.masters.items()})
    for name, whole in gradients[-1].items():
        for parts in gradients[:-1]:
            assert torch.allclose(parts[name], whole, rtol=1e-4, atol=1e-5), name


def test_accumulation_is_a_mean_over_all_iterations_of_the_window(tiny):
    """Two iterations learned together equal the mean of the two alone."""
    groups = training_groups_for(tiny, groups=2, size=4)
    alone = []
    for part in ([groups[0]], [groups[1]], groups):
        learner = learner_for(moved(tiny), tiny.module, tiny.tokenizer)
        learner.gradients(part)
        alone.append({name: m.grad for name, m in learner.masters.items()})
    for name in alone[0]:
        assert torch.allclose((alone[0][name] + alone[1][name]) / 2, alone[2][name], atol=1e-5)


def test_an_update_raises_what_was_better_and_lowers_what_was_worse(tiny):
    group = training_groups_for(tiny, groups=1, size=2)[0].scored.group
    learner = learner_for(copy.deepcopy(tiny.module), tiny.module, tiny.tokenizer, kl_weight_beta=0.0)
    report = learner.update([training_group_of(group, [1.0, -1.0])])
    after = [logprobs_of(learner.policy.module, group, i).sum() for i in range(2)]
    before = [logprobs_of(tiny.module, group, i).sum() for i in range(2)]
    assert after[0] > before[0]
    assert after[1] < before[1]
    assert (report.update, report.n_trained, report.skipped) == (1, 2, "")


def test_what_is_left_out_changes_nothing(tiny):
    group = training_groups_for(tiny, groups=1, size=4)[0].scored.group
    smaller = dataclasses.replace(group, completions=group.completions[:3])
    found = []
    for each in (training_group_of(group, [1.0, -0.5, 0.2, np.nan]), training_group_of(smaller, [1.0, -0.5, 0.2])):
        learner = learner_for(moved(tiny), tiny.module, tiny.tokenizer)
        learner.gradients([each])
        found.append({name: m.grad for name, m in learner.masters.items()})
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_nothing_to_learn_leaves_the_weights_and_is_said(tiny):
    group = training_groups_for(tiny, groups=1, size=2)[0].scored.group
    learner = learner_for(copy.deepcopy(tiny.module), tiny.module, tiny.tokenizer)
    report = learner.update([training_group_of(group, [0.0, 0.0], trained=[False, False])])
    assert "differing" in report.skipped
    assert math.isnan(report.grad_norm)
    assert all(
        torch.equal(a, b) for a, b in zip(tiny.module.parameters(), learner.policy.module.parameters(), strict=True)
    )


def test_a_non_finite_gradient_leaves_weights_and_optimizer(tiny):
    group = training_groups_for(tiny, groups=1, size=2)[0].scored.group
    learner = learner_for(copy.deepcopy(tiny.module), tiny.module, tiny.tokenizer)
    report = learner.update([training_group_of(group, [1e38, -1e38])])
    assert "gradient" in report.skipped
    assert all(
        torch.equal(a, b) for a, b in zip(tiny.module.parameters(), learner.policy.module.parameters(), strict=True)
    )
    assert not learner.optimizer.state
    assert learner.update([training_group_of(group, [1.0, -1.0])]).skipped == ""


def test_bfloat16_learns_in_float32(tiny):
    """Steps far below bfloat16's resolution add up in the masters until the weights move."""
    group = training_groups_for(tiny, groups=1, size=2)[0].scored.group
    module = copy.deepcopy(tiny.module).bfloat16()
    learner = learner_for(module, copy.deepcopy(module), tiny.tokenizer, learning_rate=1e-5, weight_decay=0.0)
    start = {name: m.detach().clone() for name, m in learner.masters.items()}
    learner.update([training_group_of(group, [1.0, -1.0])])
    assert all(m.dtype == torch.float32 for m in learner.masters.values())
    changed = [not torch.equal(start[name], m) for name, m in learner.masters.items()]
    assert sum(changed) >= len(changed) - 1
    for name, p in learner.params.items():
        assert torch.equal(p, learner.masters[name].bfloat16())


def test_inner_epochs_clip_against_the_recorded_logprobs(tiny):
    groups = training_groups_for(tiny, groups=1, size=8)
    once = learner_for(copy.deepcopy(tiny.module), tiny.module, tiny.tokenizer)
    thrice = learner_for(copy.deepcopy(tiny.module), tiny.module, tiny.tokenizer, num_inner_epochs=3)
    assert once.update(groups).clip_share == 0
    assert thrice.update(groups).clip_share > 0
    assert (once.updates, thrice.updates) == (1, 1)


@pytest.mark.parametrize("is_masked", [False, True])
def test_mismatch_is_the_distance_between_the_learners_and_the_samplers_log_probabilities(tiny, is_masked):
    """Of the weights before the update and the tokens that are trained, whichever way it is asked for; the update's own
    forward pass tells it."""
    groups = training_groups_for(tiny, groups=1, size=4)
    if is_masked:
        groups = [masked(groups[0], random_masks(groups[0], np.random.default_rng(1)))]
    group = groups[0].scored.group
    module = moved(tiny)
    differences = [
        logprobs_of(module, group, i)[list(c.loss_mask)] - torch.tensor(c.sampling_logprobs)[list(c.loss_mask)]
        for i, c in enumerate(group.completions)
    ]
    d = torch.cat(differences).double().numpy()
    for epochs in (1, 3):
        learner = learner_for(copy.deepcopy(module), tiny.module, tiny.tokenizer, num_inner_epochs=epochs)
        alone, report = learner.mismatch(groups), learner.update(groups)
        for found in (alone, report):
            assert found.mismatch_abs == pytest.approx(np.abs(d).mean(), rel=1e-4)
            assert found.mismatch_k3 == pytest.approx(np.minimum(np.exp(d) - d - 1, 10).mean(), rel=1e-4)
    assert learner.mismatch(groups).mismatch_abs > 1.2 * alone.mismatch_abs, "now it has learned"


def test_without_an_update_the_mismatch_is_measured_on_a_few_tokens_and_nothing_changes(tiny):
    """Also of what teaches nothing; no gradient, no chance, no other mode."""
    groups = training_groups_for(tiny, groups=3, size=4)
    flat = training_group_of(groups[0].scored.group, [np.nan] * 4)
    learner = learner_for(moved(tiny), tiny.module, tiny.tokenizer, micro_batch_tokens=40)
    before, chance = copy.deepcopy(learner.policy.module.state_dict()), torch.get_rng_state()
    found = learner.mismatch([flat, *groups[1:]])
    assert found.mismatch_abs > 0
    assert learner.mismatch([flat]) == found, "one micro-batch, of the first"
    assert torch.equal(torch.get_rng_state(), chance)
    assert all(m.grad is None for m in learner.masters.values())
    assert all(torch.equal(before[name], p) for name, p in learner.policy.module.state_dict().items())
    report = learner.update([flat])
    assert (report.mismatch_abs, report.mismatch_k3) == (found.mismatch_abs, found.mismatch_k3)
    assert report.skipped
    roomy = learner_for(moved(tiny), tiny.module, tiny.tokenizer, micro_batch_tokens=1 << 20)
    batch = next(roomy._micro_batches(unweighted(groups * 40), MEASURED_TOKENS))
    assert MEASURED_TOKENS / 2 < batch.packed.input_ids.numel() <= MEASURED_TOKENS


def test_no_tokens_have_no_mismatch(tiny):
    group = training_groups_for(tiny, groups=1, size=2)[0].scored.group
    empty = tuple(dataclasses.replace(c, token_ids=(), sampling_logprobs=(), loss_mask=()) for c in group.completions)
    each = training_group_of(dataclasses.replace(group, completions=empty), [1.0, -1.0])
    learner = learner_for(copy.deepcopy(tiny.module), tiny.module, tiny.tokenizer)
    assert math.isnan(learner.mismatch([each]).mismatch_abs)
    assert math.isnan(learner.update([each]).bounded_share)
    assert [len(values) for values in learner.logprobs(each.scored.group)] == [0, 0]


def test_a_fresh_policy_sees_what_it_sampled_as_it_sampled_it(tiny):
    learner = learner_for(copy.deepcopy(tiny.module), tiny.module, tiny.tokenizer)
    report = learner.update(training_groups_for(tiny))
    assert report.mismatch_abs == pytest.approx(0, abs=1e-5)
    assert (report.bounded_share, report.clip_share) == (0, 0)


def test_infinite_penalties_end_no_run(tiny):
    """A reference that finds tokens impossible: they count ten at most, and the update is made."""

    class Impossible(Reference):
        def logprobs(self, packed, *, temperature):
            return torch.full(packed.target.shape, -math.inf)

    policy = policies.Policy("tiny", copy.deepcopy(tiny.module), tiny.tokenizer)
    learner = Learner(policy, Impossible(tiny.module, policy.capabilities), LearnerSettings(**SETTINGS))
    reports = [learner.update(training_groups_for(tiny)) for _ in range(3)]
    assert [r.skipped for r in reports] == [""] * 3
    assert reports[0].kl == pytest.approx(10)
    assert reports[0].bounded_share == 1
    assert math.isfinite(reports[0].grad_norm)


def test_a_token_that_the_sampler_found_unlikely_cannot_blow_up_the_update(tiny):
    group = training_groups_for(tiny, groups=1, size=2)[0].scored.group
    better, worse = group.completions
    unlikely = dataclasses.replace(worse, sampling_logprobs=(-30.0, *worse.sampling_logprobs[1:]))
    group = dataclasses.replace(group, completions=(better, unlikely))
    learner = learner_for(copy.deepcopy(tiny.module), tiny.module, tiny.tokenizer)
    found = learner.gradients([training_group_of(group, [1.0, -1.0])])
    assert abs(found.loss) <= 3
    assert found.bounded_share == pytest.approx(1 / sum(len(c.token_ids) for c in group.completions))


def test_an_unknown_loss_is_refused_before_anything_is_learned():
    with pytest.raises(ValueError, match="unknown loss 'ppo'; choose from grpo"):
        LearnerSettings(loss="ppo")


@pytest.mark.parametrize("way", ["attention", "mask", "padded"])
def test_gradient_checkpointing_gives_the_same_gradient(tiny, way):
    groups = training_groups_for(tiny)
    found = []
    for on in (False, True):
        learner = learner_for(
            moved(tiny), tiny.module, tiny.tokenizer, gradient_checkpointing=on, capabilities=WAYS[way]
        )
        learner.gradients(groups)
        found.append({name: m.grad for name, m in learner.masters.items()})
    for name, gradient in found[0].items():
        assert (gradient - found[1][name]).norm() < 1e-5 * gradient.norm(), name


def test_warm_up_then_constant():
    settings = LearnerSettings(learning_rate=1.0, n_updates=100, warmup_percent=0.18)
    rates = [settings.rate(u) for u in range(100)]
    assert rates[0] == pytest.approx(1 / 18)
    assert rates[17:] == [1.0] * 83
    assert LearnerSettings(learning_rate=1.0, warmup_percent=0.0).rate(0) == 1.0


def test_lora_starts_as_its_base_and_leaves_it_alone(tiny):
    groups = training_groups_for(tiny)
    base = {name: p.clone() for name, p in tiny.module.named_parameters()}
    full = learner_for(copy.deepcopy(tiny.module), copy.deepcopy(tiny.module), tiny.tokenizer)
    policy = policies.with_lora(tiny, rank=4, alpha=8, dropout=0.0, seed=0)
    learner = Learner(policy, Reference(policy.module, policy.capabilities), LearnerSettings(**SETTINGS))
    assert learner.capabilities == WAYS["attention"]
    # a fresh adapter adds nothing: same loss, and no distance to the reference
    assert learner.gradients(groups).loss == pytest.approx(full.gradients(groups).loss, abs=1e-6)
    learner.optimizer.zero_grad()
    reports = [learner.update(groups) for _ in range(3)]
    assert reports[0].kl == pytest.approx(0, abs=1e-6)
    assert reports[2].kl > 1e-5
    for name, p in policy.module.get_base_model().named_parameters():
        if ".lora_" not in name:
            assert torch.equal(p, base[name.replace(".base_layer", "")]), name


def test_lora_gradient_is_the_full_one_projected(tiny):
    """With B = 0, dL/dB = scale * dL/dW A^T: what the adapter sees is the full gradient through A."""
    groups = training_groups_for(tiny)
    full = learner_for(copy.deepcopy(tiny.module), copy.deepcopy(tiny.module), tiny.tokenizer)
    full.gradients(groups)
    expected = {name: m.grad for name, m in full.masters.items()}
    policy = policies.with_lora(tiny, rank=4, alpha=8, dropout=0.0, seed=0)
    learner = Learner(policy, Reference(policy.module, policy.capabilities), LearnerSettings(**SETTINGS))
    learner.gradients(groups)
    layer = "model.layers.1.mlp.down_proj"
    a = learner.masters[f"base_model.model.{layer}.lora_A.default.weight"]
    b = learner.masters[f"base_model.model.{layer}.lora_B.default.weight"]
    assert torch.allclose(b.grad, 2.0 * expected[f"{layer}.weight"] @ a.T, atol=1e-5)
