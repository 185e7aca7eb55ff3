"""Groups to learn from, learners for them, and the update's gradient written by hand."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from softgrpo.engines.local.learner import Learner, LearnerSettings
from softgrpo.engines.local.policy import Policy
from softgrpo.engines.local.reference import Reference
from softgrpo.models.huggingface import HuggingFaceModel
from softgrpo.models.local.capabilities import Capabilities
from softgrpo.records import Group, Prompt, Sampling, ScoredGroup, TrainingGroup

T = 0.7
SETTINGS = dict(temperature=T, kl_weight_beta=0.1, max_completion_length=16, learning_rate=0.01, warmup_percent=0.0)
LOSSES = ["grpo", "dr_grpo", "dapo", "gspo"]
WAYS = {
    "attention": Capabilities(tree_attention=True, tree_mask=True, plain_head=True),
    "attention, whole logits": Capabilities(tree_attention=True, tree_mask=True),
    "mask": Capabilities(tree_mask=True, plain_head=True),
    "mask, whole logits": Capabilities(tree_mask=True),
    "padded": Capabilities(plain_head=True),
    "padded, whole logits": Capabilities(),
}


def prompts_for(n: int) -> list[Prompt]:
    """Of different lengths."""
    return [
        Prompt(id=str(i), messages=({"role": "user", "content": "w1 w2 " * (i + 1)},), subject=str(i), question="")
        for i in range(n)
    ]


def groups_for(model: HuggingFaceModel, *, groups: int = 2, size: int = 4, seed: int = 0) -> list[Group]:
    """What the model itself has sampled."""
    prompts = prompts_for(groups)
    sampled = model.generate([p.messages for p in prompts], Sampling(n=size, temperature=T, max_tokens=16, seed=seed))
    return [
        Group(prompt=p, prompt_ids=tuple(model.encode_chat(p.messages)), completions=tuple(completions))
        for p, completions in zip(prompts, sampled, strict=True)
    ]


def training_groups_for(
    model: HuggingFaceModel, *, groups: int = 2, size: int = 4, seed: int = 0
) -> list[TrainingGroup]:
    """The same, with advantages drawn at random."""
    rng = np.random.default_rng(seed)
    return [
        training_group_of(group, rng.normal(size=size))
        for group in groups_for(model, groups=groups, size=size, seed=seed)
    ]


def training_group_of(group: Group, advantages: Sequence[float] | np.ndarray, trained: Any = None) -> TrainingGroup:
    """With these advantages, and in the loss what has one and a token that is trained."""
    rewards = np.asarray(advantages, dtype=float)
    scored = ScoredGroup(group=group, verdicts=(), standings={}, reward_parts={}, rewards=rewards)
    chosen = np.array([any(c.loss_mask) for c in group.completions])
    kept = np.isfinite(rewards) & chosen if trained is None else np.array(trained)
    return TrainingGroup(scored=scored, advantages=rewards, trained=kept, flat=False)


def masked(training_group: TrainingGroup, masks: Sequence[Sequence[bool]]) -> TrainingGroup:
    """The same with other loss masks, and no log-probability on tokens that are not trained."""
    group = training_group.scored.group
    completions = tuple(
        dataclasses.replace(
            c,
            loss_mask=tuple(mask),
            sampling_logprobs=tuple(
                x if is_trained else math.nan for x, is_trained in zip(c.sampling_logprobs, mask, strict=True)
            ),
        )
        for c, mask in zip(group.completions, masks, strict=True)
    )
    return training_group_of(dataclasses.replace(group, completions=completions), training_group.advantages)


def random_masks(training_group: TrainingGroup, rng: np.random.Generator) -> list[list[bool]]:
    """Half of the tokens."""
    return [(rng.random(len(c.token_ids)) < 0.5).tolist() for c in training_group.scored.group.completions]


def moved(model: HuggingFaceModel, scale: float = 0.02, seed: int = 3) -> Any:
    """The model a little further on, so that ratios are not 1 and some are clipped."""
    generator = torch.Generator().manual_seed(seed)
    module = copy.deepcopy(model.module)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(scale * torch.randn(p.shape, generator=generator))
    return module


def learner_for(
    module: Any, reference: Any, tokenizer: Any, *, capabilities: Capabilities | None = None, **settings: Any
) -> Learner:
    """A learner of whole weights, in the way that is found or asked for."""
    policy = Policy("tiny", module, tokenizer)
    if capabilities is not None:
        policy.capabilities = capabilities
    return Learner(policy, Reference(reference, policy.capabilities), LearnerSettings(**(SETTINGS | settings)))


def by_hand(
    module: Any, reference: Any, training_groups: Sequence[TrainingGroup], settings: LearnerSettings
) -> dict[str, torch.Tensor]:
    """The gradient, one completion at a time, token by token, straight from the papers."""
    module = copy.deepcopy(module)
    rows = [
        (each.scored.group.prompt_ids, c, float(a))
        for each in training_groups
        for c, a, t in zip(each.scored.group.completions, each.advantages, each.trained, strict=True)
        if t
    ]
    total_tokens = sum(sum(c.loss_mask) for _, c, _ in rows)
    loss = torch.zeros(())
    for prompt_ids, completion, advantage in rows:
        ids = torch.tensor([[*prompt_ids, *completion.token_ids]])
        logits = module(ids).logits[0, len(prompt_ids) - 1 : -1] / T
        with torch.no_grad():
            ref_logits = reference(ids).logits[0, len(prompt_ids) - 1 : -1] / T
        per_token = []
        own = [t for t, is_trained in enumerate(completion.loss_mask) if is_trained]
        n = len(own)
        logs = {t: logits[t].log_softmax(-1)[completion.token_ids[t]] for t in own}
        sequence_ratio = torch.exp(sum(logs[t] - completion.sampling_logprobs[t] for t in own) / n)
        for t in own:
            ratio = sequence_ratio if settings.loss == "gspo" else torch.exp(logs[t] - completion.sampling_logprobs[t])
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
