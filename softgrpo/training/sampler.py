"""The policy answers prompts; each with a group of completions."""

from __future__ import annotations

from collections.abc import Sequence

from softgrpo.models.huggingface import HuggingFaceModel
from softgrpo.records import Group, Prompt, Sampling


def sample_groups(policy: HuggingFaceModel, prompts: Sequence[Prompt], sampling: Sampling) -> list[Group]:
    """One group of `sampling.n` completions per prompt, tokens and log-probabilities as they were drawn."""
    drawn = policy.generate([p.messages for p in prompts], sampling)
    return [
        Group(
            prompt=prompt,
            prompt_ids=tuple(policy.encode_chat(prompt.messages, sampling.prefill)),
            completions=tuple(completions),
        )
        for prompt, completions in zip(prompts, drawn, strict=True)
    ]
