"""The update: its gradient against one written by hand, its parts against the whole, what spoils it."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch

from softgrpo.records import Group, Lesson, Prompt, Sampling, ScoredGroup
from softgrpo.training import policy as policies
from softgrpo.training.forward import reads_trees
from softgrpo.training.learner import MEASURED_TOKENS, Learner, LearnerSettings
from softgrpo.training.lessons import unweighted, weighted
from softgrpo.training.reference import MixedReference, Reference
from softgrpo.training.sampler import sample_groups

T = 0.7
SETTINGS = dict(temperature=T, kl_weight_beta=0.1, max_completion_length=16, learning_rate=0.01, warmup_percent=0.0)


def lessons_for(tiny, *, groups=2, size=4, seed=0) -> list[Lesson]:
    """Groups that the model itself has sampled, with advantages drawn at random."""
    rng = np.random.default_rng(seed)
    prompts = [
        Prompt(id=str(i), messages=({"role": "user", "content": "w1 w2 " * (i + 1)},), subject=str(i), question="")
        for i in range(groups)
    ]
    sampled = sample_groups(tiny, prompts, Sampling(n=size, temperature=T, max_tokens=16, seed=seed))
    return [lesson_of(group, rng.normal(size=size)) for group in sampled]


def lesson_of(group: Group, advantages, trained=None) -> Lesson:
    rewards = np.asarray(advantages, dtype=float)
    scored = ScoredGroup(group=group, verdicts=(), standings={}, reward_parts={}, rewards=rewards)
    kept = np.isfinite(rewards) if trained is None else np.array(trained)
    return Lesson(scored=scored, advantages=rewards, trained=kept, flat=False)


def by_hand(module, reference, lessons, settings: LearnerSettings) -> dict[str, torch.Tensor]:
    """The gradient, one completion at a time, token by token, straight from the papers."""
    module = copy.deepcopy(module)
    rows = [
        (lesson.scored.group.prompt_ids, c, float(a))
        for lesson in lessons
        for c, a, t in zip(lesson.scored.group.completions, lesson.advantages, lesson.trained, strict=True)
        if t
    ]
    total_tokens = sum(len(c.token_ids) for _, c, _ in rows)
    loss = torch.zeros(())
    for prompt_ids, completion, advantage in rows:
        ids = torch.tensor([[*prompt_ids, *completion.token_ids]])
        logits = module(ids).logits[0, len(prompt_ids) - 1 : -1] / T
        with torch.no_grad():
            ref_logits = reference(ids).logits[0, len(prompt_ids) - 1 : -1] / T
        per_token = []
        n = len(completion.token_ids)
        logs = [logits[t].log_softmax(-1)[completion.token_ids[t]] for t in range(n)]
        sequence_ratio = torch.exp(sum(lp - old for lp, old in zip(logs, completion.logprobs, strict=True)) / n)
        for t in range(n):
            ratio = sequence_ratio if settings.loss == "gspo" else torch.exp(logs[t] - completion.logprobs[t])
            low, high = 1 - settings.clip_low, 1 + settings.clip_high
            gain = torch.min(ratio * advantage, torch.clamp(ratio, low, high) * advantage)
            if advantage < 0:
                gain = torch.max(gain, torch.tensor(settings.clip_dual * advantage))
            d = ref_logits[t].log_softmax(-1)[completion.token_ids[t]] - logs[t]
            per_token.append(-gain + settings.kl_weight_beta * (torch.exp(d) - d - 1).clamp(max=10))
        if settings.loss in ("grpo", "gspo"):
            loss = loss + sum(per_token) / n / len(rows)
        elif settings.loss == "dapo":
            loss = loss + sum(per_token) / total_tokens
        else:
            loss = loss + sum(per_token) / (settings.max_completion_length * len(rows))
    loss.backward()
    return {name: p.grad for name, p in module.named_parameters()} | {"loss": loss.detach()}


def moved(tiny, scale=0.02, seed=3):
    """The model a little further on, so that ratios are not 1 and some are clipped."""
    generator = torch.Generator().manual_seed(seed)
    module = copy.deepcopy(tiny.module)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(scale * torch.randn(p.shape, generator=generator))
    return module


def learner_for(module, reference, tokenizer, **settings) -> Learner:
    policy = policies.Policy("tiny", module, tokenizer)
    return Learner(policy, Reference(reference), LearnerSettings(**(SETTINGS | settings)))


@pytest.mark.parametrize("loss", ["grpo", "dr_grpo", "dapo", "gspo"])
@pytest.mark.parametrize("tree", [True, False])
def test_gradient_equals_one_written_by_hand(tiny, loss, tree):
    lessons = lessons_for(tiny)
    learner = learner_for(moved(tiny), tiny.module, tiny.tokenizer, loss=loss)
    assert learner.tree
    learner.tree = tree
    expected = by_hand(learner.policy.module, tiny.module, lessons, learner.settings)
    found = learner.gradients(lessons)
    assert found.loss == pytest.approx(expected["loss"].item(), rel=1e-5, abs=1e-6)
    assert found.kl > 0
    assert found.clip_share > 0
    for name, master in learner.masters.items():
        assert torch.allclose(master.grad, expected[name], atol=2e-5, rtol=1e-3), name


@pytest.mark.parametrize("loss", ["grpo", "dr_grpo", "dapo", "gspo"])
def test_micro_batches_add_up_to_the_whole(tiny, loss):
    lessons = lessons_for(tiny, groups=1, size=8)
    gradients = []
    for tokens in (1, 40, 10_000):
        learner = learner_for(moved(tiny), tiny.module, tiny.tokenizer, loss=loss, micro_batch_tokens=tokens)
        learner.gradients(lessons)
        gradients.append({name: m.grad for name, m in learner.masters.items()})
    for name, whole in gradients[-1].items():
        for parts in gradients[:-1]:
            assert torch.allclose(parts[name], whole, rtol=1e-4, atol=1e-5), name


def test_prompts_share_a_pass_where_the_model_reads_trees_apart(tiny):
    """As many branches as fit, in order; where trees cannot be kept apart each prompt has its own pass."""
    lessons = lessons_for(tiny, groups=3, size=4)
    rows = weighted(lessons, "grpo", max_completion_length=16)
    every = [row.completion for waiting in rows.values() for row in waiting]
    longest = max(len(c.token_ids) for c in every)
    for forests, tokens, trees in ((True, 10_000, [3]), (False, 10_000, [1, 1, 1]), (True, 1, [1] * len(every))):
        learner = learner_for(moved(tiny), tiny.module, tiny.tokenizer, micro_batch_tokens=tokens)
        learner.forests = forests
        packs = list(learner._micro_batches(rows))
        assert [len(packed.trees) for packed, _ in packs] == trees
        assert [row.completion for _, batch in packs for row in batch] == every
    limit = max(map(len, rows)) + longest + 10
    learner = learner_for(moved(tiny), tiny.module, tiny.tokenizer, micro_batch_tokens=limit)
    packs = list(learner._micro_batches(rows))
    assert [row.completion for _, batch in packs for row in batch] == every
    assert all(packed.input_ids.numel() <= limit for packed, _ in packs)
    assert len(packs) < len(every)


def test_accumulation_is_a_mean_over_all_iterations_of_the_window(tiny):
    """Two iterations learned together equal the mean of the two alone."""
    lessons = lessons_for(tiny, groups=2, size=4)
    alone = []
    for part in ([lessons[0]], [lessons[1]], lessons):
        learner = learner_for(moved(tiny), tiny.module, tiny.tokenizer)
        learner.gradients(part)
        alone.append({name: m.grad for name, m in learner.masters.items()})
    for name in alone[0]:
        assert torch.allclose((alone[0][name] + alone[1][name]) / 2, alone[2][name], atol=1e-5)


def test_an_update_raises_what_was_better_and_lowers_what_was_worse(tiny):
    lesson = lessons_for(tiny, groups=1, size=2)[0]
    lesson = lesson_of(lesson.scored.group, [1.0, -1.0])
    learner = learner_for(copy.deepcopy(tiny.module), tiny.module, tiny.tokenizer, kl_weight_beta=0.0)
    report = learner.update([lesson])
    after = [_logprob(learner.policy.module, lesson.scored.group, i) for i in range(2)]
    before = [_logprob(tiny.module, lesson.scored.group, i) for i in range(2)]
    assert after[0] > before[0]
    assert after[1] < before[1]
    assert (report.update, report.n_trained, report.skipped) == (1, 2, "")


def _logprob(module, group: Group, i: int) -> float:
    ids = torch.tensor([[*group.prompt_ids, *group.completions[i].token_ids]])
    with torch.no_grad():
        logprobs = (module(ids).logits[0, len(group.prompt_ids) - 1 : -1] / T).log_softmax(-1)
    return logprobs[torch.arange(len(logprobs)), list(group.completions[i].token_ids)].sum().item()


def test_what_is_left_out_changes_nothing(tiny):
    lesson = lessons_for(tiny, groups=1, size=4)[0]
    group = lesson.scored.group
    smaller = Group(prompt=group.prompt, prompt_ids=group.prompt_ids, completions=group.completions[:3])
    found = []
    for each in (lesson_of(group, [1.0, -0.5, 0.2, np.nan]), lesson_of(smaller, [1.0, -0.5, 0.2])):
        learner = learner_for(moved(tiny), tiny.module, tiny.tokenizer)
        learner.gradients([each])
        found.append({name: m.grad for name, m in learner.masters.items()})
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_nothing_to_learn_leaves_the_weights_and_is_said(tiny):
    lesson = lessons_for(tiny, groups=1, size=2)[0]
    learner = learner_for(copy.deepcopy(tiny.module), tiny.module, tiny.tokenizer)
    report = learner.update([lesson_of(lesson.scored.group, [0.0, 0.0], trained=[False, False])])
    assert "differing" in report.skipped
    assert math.isnan(report.grad_norm)
    assert all(
        torch.equal(a, b) for a, b in zip(tiny.module.parameters(), learner.policy.module.parameters(), strict=True)
    )


def test_a_non_finite_gradient_leaves_weights_and_optimizer(tiny):
    lesson = lessons_for(tiny, groups=1, size=2)[0]
    learner = learner_for(copy.deepcopy(tiny.module), tiny.module, tiny.tokenizer)
    report = learner.update([lesson_of(lesson.scored.group, [1e38, -1e38])])
    assert "gradient" in report.skipped
    assert all(
        torch.equal(a, b) for a, b in zip(tiny.module.parameters(), learner.policy.module.parameters(), strict=True)
    )
    assert not learner.optimizer.state
    assert learner.update([lesson_of(lesson.scored.group, [1.0, -1.0])]).skipped == ""


def test_bfloat16_learns_in_float32(tiny):
    """Steps far below bfloat16's resolution add up in the masters until the weights move."""
    lesson = lessons_for(tiny, groups=1, size=2)[0]
    lesson = lesson_of(lesson.scored.group, [1.0, -1.0])
    module = copy.deepcopy(tiny.module).bfloat16()
    learner = learner_for(module, copy.deepcopy(module), tiny.tokenizer, learning_rate=1e-5, weight_decay=0.0)
    start = {name: m.detach().clone() for name, m in learner.masters.items()}
    learner.update([lesson])
    assert all(m.dtype == torch.float32 for m in learner.masters.values())
    changed = [not torch.equal(start[name], m) for name, m in learner.masters.items()]
    assert sum(changed) >= len(changed) - 1
    for name, p in learner.params.items():
        assert torch.equal(p, learner.masters[name].bfloat16())


def test_inner_epochs_clip_against_the_recorded_logprobs(tiny):
    lessons = lessons_for(tiny, groups=1, size=8)
    once = learner_for(copy.deepcopy(tiny.module), tiny.module, tiny.tokenizer)
    thrice = learner_for(copy.deepcopy(tiny.module), tiny.module, tiny.tokenizer, num_inner_epochs=3)
    assert once.update(lessons).clip_share == 0
    assert thrice.update(lessons).clip_share > 0
    assert (once.updates, thrice.updates) == (1, 1)


def test_mismatch_is_the_distance_between_the_learners_and_the_samplers_log_probabilities(tiny):
    """Of the weights before the update, whichever way it is asked for; the update's own forward pass tells it."""
    lessons = lessons_for(tiny, groups=1, size=4)
    group = lessons[0].scored.group
    module = moved(tiny)
    differences = []
    for c in group.completions:
        ids = torch.tensor([[*group.prompt_ids, *c.token_ids]])
        with torch.no_grad():
            logprobs = (module(ids).logits[0, len(group.prompt_ids) - 1 : -1] / T).log_softmax(-1)
        differences += (logprobs[torch.arange(len(c.token_ids)), list(c.token_ids)] - torch.tensor(c.logprobs)).tolist()
    d = np.array(differences)
    for epochs in (1, 3):
        learner = learner_for(copy.deepcopy(module), tiny.module, tiny.tokenizer, num_inner_epochs=epochs)
        alone, report = learner.mismatch(lessons), learner.update(lessons)
        for found in (alone, report):
            assert found.mismatch_abs == pytest.approx(np.abs(d).mean(), rel=1e-4)
            assert found.mismatch_k3 == pytest.approx(np.minimum(np.exp(d) - d - 1, 10).mean(), rel=1e-4)
    assert learner.mismatch(lessons).mismatch_abs > 1.2 * alone.mismatch_abs, "now it has learned"


def test_without_an_update_the_mismatch_is_measured_on_a_few_tokens_and_nothing_changes(tiny):
    """Also of what teaches nothing; no gradient, no chance, no other mode."""
    lessons = lessons_for(tiny, groups=3, size=4)
    flat = lesson_of(lessons[0].scored.group, [np.nan] * 4)
    learner = learner_for(moved(tiny), tiny.module, tiny.tokenizer, micro_batch_tokens=40)
    before, chance = copy.deepcopy(learner.policy.module.state_dict()), torch.get_rng_state()
    found = learner.mismatch([flat, *lessons[1:]])
    assert found.mismatch_abs > 0
    assert learner.mismatch([flat]) == found, "one micro-batch, of the first"
    assert torch.equal(torch.get_rng_state(), chance)
    assert all(m.grad is None for m in learner.masters.values())
    assert all(torch.equal(before[name], p) for name, p in learner.policy.module.state_dict().items())
    report = learner.update([flat])
    assert (report.mismatch_abs, report.mismatch_k3) == (found.mismatch_abs, found.mismatch_k3)
    assert report.skipped
    roomy = learner_for(moved(tiny), tiny.module, tiny.tokenizer, micro_batch_tokens=1 << 20)
    packed, _ = next(roomy._micro_batches(unweighted(lessons * 40), MEASURED_TOKENS))
    assert MEASURED_TOKENS / 2 < packed.input_ids.numel() <= MEASURED_TOKENS


def test_no_tokens_have_no_mismatch(tiny):
    group = lessons_for(tiny, groups=1, size=2)[0].scored.group
    empty = tuple(dataclasses.replace(c, token_ids=(), logprobs=()) for c in group.completions)
    lesson = lesson_of(dataclasses.replace(group, completions=empty), [1.0, -1.0], trained=[False, False])
    learner = learner_for(copy.deepcopy(tiny.module), tiny.module, tiny.tokenizer)
    assert math.isnan(learner.mismatch([lesson]).mismatch_abs)
    assert math.isnan(learner.update([lesson]).bounded_share)


def test_a_fresh_policy_sees_what_it_sampled_as_it_sampled_it(tiny):
    report = learner_for(copy.deepcopy(tiny.module), tiny.module, tiny.tokenizer).update(lessons_for(tiny))
    assert report.mismatch_abs == pytest.approx(0, abs=1e-5)
    assert (report.bounded_share, report.clip_share) == (0, 0)


def test_infinite_penalties_end_no_run(tiny):
    """A reference that finds tokens impossible: they count ten at most, and the update is made."""

    class Impossible(Reference):
        def logprobs(self, packed, *, temperature):
            return torch.full(packed.target.shape, -math.inf)

    policy = policies.Policy("tiny", copy.deepcopy(tiny.module), tiny.tokenizer)
    learner = Learner(policy, Impossible(tiny.module), LearnerSettings(**SETTINGS))
    reports = [learner.update(lessons_for(tiny)) for _ in range(3)]
    assert [r.skipped for r in reports] == [""] * 3
    assert reports[0].kl == pytest.approx(10)
    assert reports[0].bounded_share == 1
    assert math.isfinite(reports[0].grad_norm)


def test_a_token_that_the_sampler_found_unlikely_cannot_blow_up_the_update(tiny):
    lesson = lessons_for(tiny, groups=1, size=2)[0]
    worse = lesson.scored.group.completions[1]
    unlikely = dataclasses.replace(worse, logprobs=(-30.0, *worse.logprobs[1:]))
    group = dataclasses.replace(lesson.scored.group, completions=(lesson.scored.group.completions[0], unlikely))
    learner = learner_for(copy.deepcopy(tiny.module), tiny.module, tiny.tokenizer)
    found = learner.gradients([lesson_of(group, [1.0, -1.0])])
    assert abs(found.loss) <= 3
    assert found.bounded_share == pytest.approx(1 / sum(len(c.token_ids) for c in group.completions))


def test_an_unknown_loss_is_refused_before_anything_is_learned():
    with pytest.raises(ValueError, match="unknown loss 'ppo'; choose from grpo"):
        LearnerSettings(loss="ppo")


def test_gradient_checkpointing_gives_the_same_gradient(tiny):
    lessons = lessons_for(tiny)
    found = []
    for on in (False, True):
        learner = learner_for(moved(tiny), tiny.module, tiny.tokenizer, gradient_checkpointing=on)
        learner.gradients(lessons)
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
    lessons = lessons_for(tiny)
    base = {name: p.clone() for name, p in tiny.module.named_parameters()}
    policy = policies.with_lora(tiny, rank=4, alpha=8, dropout=0.0, seed=0)
    learner = Learner(policy, Reference(policy.module), LearnerSettings(**SETTINGS))
    assert learner.tree
    full = learner_for(copy.deepcopy(_clean(tiny)), copy.deepcopy(_clean(tiny)), tiny.tokenizer)
    # a fresh adapter adds nothing: same loss, and no distance to the reference
    assert learner.gradients(lessons).loss == pytest.approx(full.gradients(lessons).loss, abs=1e-6)
    learner.optimizer.zero_grad()
    reports = [learner.update(lessons) for _ in range(3)]
    assert reports[0].kl == pytest.approx(0, abs=1e-6)
    assert reports[2].kl > 1e-5
    for name, p in policy.module.get_base_model().named_parameters():
        if ".lora_" not in name:
            assert torch.equal(p, base[name.replace(".base_layer", "")]), name


def test_lora_gradient_is_the_full_one_projected(tiny):
    """With B = 0, dL/dB = scale * dL/dW A^T: what the adapter sees is the full gradient through A."""
    lessons = lessons_for(tiny)
    full = learner_for(copy.deepcopy(tiny.module), copy.deepcopy(tiny.module), tiny.tokenizer)
    full.gradients(lessons)
    expected = {name: m.grad for name, m in full.masters.items()}
    policy = policies.with_lora(tiny, rank=4, alpha=8, dropout=0.0, seed=0)
    learner = Learner(policy, Reference(policy.module), LearnerSettings(**SETTINGS))
    learner.gradients(lessons)
    layer = "model.layers.1.mlp.down_proj"
    a = learner.masters[f"base_model.model.{layer}.lora_A.default.weight"]
    b = learner.masters[f"base_model.model.{layer}.lora_B.default.weight"]
    assert torch.allclose(b.grad, 2.0 * expected[f"{layer}.weight"] @ a.T, atol=1e-5)


def test_the_adapter_is_off_at_rest_and_on_while_the_policy_answers(tiny):
    policy = policies.with_lora(tiny, rank=4, alpha=8, dropout=0.0, seed=0)
    with torch.no_grad():
        for name, p in policy.trainable().items():
            if "lora_B" in name:
                p.normal_()
    ids = torch.tensor([[4, 9, 10, 11]])
    at_rest = tiny.module(ids).logits
    with policy.active():
        active = tiny.module(ids).logits
    assert not torch.allclose(at_rest, active)
    assert torch.equal(tiny.module(ids).logits, at_rest)
    chats, sampling = [[{"role": "user", "content": "w1"}]], Sampling(n=1, max_tokens=8, temperature=0)
    assert policy.generate(chats, sampling)[0][0].token_ids != tiny.generate(chats, sampling)[0][0].token_ids


def test_a_merged_adapter_loads_alone_and_answers_alike(tiny, tmp_path):
    from transformers import AutoModelForCausalLM

    policy = policies.with_lora(tiny, rank=4, alpha=8, dropout=0.0, seed=0)
    with torch.no_grad():
        for name, p in policy.trainable().items():
            if "lora_B" in name:
                p.normal_(std=0.2)
    policy.save_merged(tmp_path)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.tensor([[4, 9, 10, 11]])
    with policy.active(), torch.no_grad():
        assert torch.allclose(merged(ids).logits, policy.module(ids).logits, atol=1e-4)


def test_mixed_reference_is_the_seeds(tiny):
    reference = MixedReference(copy.deepcopy(tiny.module), alpha=0.1)
    target = {name: torch.ones_like(p) for name, p in tiny.module.named_parameters()}
    before = {name: p.clone() for name, p in reference.module.named_parameters()}
    reference.mix(target)
    for name, p in reference.module.named_parameters():
        assert torch.allclose(p, 0.1 * torch.ones_like(p) + 0.9 * before[name])


def test_a_model_that_ignores_the_tree_is_seen(tiny):
    class Ignores(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.config, self.device, self.dtype = inner, inner.config, inner.device, inner.dtype

        def get_input_embeddings(self):
            return self.inner.get_input_embeddings()

        def forward(self, attention_mask, **inputs):
            return self.inner(attention_mask=None if attention_mask.dim() == 4 else attention_mask, **inputs)

    assert reads_trees(tiny.module, 0)
    assert not reads_trees(Ignores(tiny.module), 0)


def _clean(tiny):
    """The base without the adapter's wrapping, loaded again from its weights."""
    from transformers import LlamaForCausalLM

    module = LlamaForCausalLM(tiny.module.config)
    state = {k.replace(".base_layer", ""): v for k, v in tiny.module.state_dict().items() if ".lora_" not in k}
    module.load_state_dict(state)
    return module.eval()
