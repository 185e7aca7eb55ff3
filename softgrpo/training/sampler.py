"""The policy answers prompts; each with a group of completions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from softgrpo.models.huggingface import HuggingFaceModel
from softgrpo.records import Completion, Group, Prompt, Sampling


def sample_groups(
    policy: HuggingFaceModel,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    on_group: Callable[[int, Group], None] = lambda place, group: None,
) -> list[Group]:
    """One group of `sampling.n` completions per prompt, tokens and log-probabilities as they were drawn.

    `on_group` is given each group and the place of its prompt as soon as the group is whole.
    """
    groups: dict[int, Group] = {}

    def done(place: int, completions: Sequence[Completion]) -> None:
        ids = policy.encode_chat(prompts[place].messages, sampling.prefill)
        groups[place] = Group(prompt=prompts[place], prompt_ids=tuple(ids), completions=tuple(completions))
        on_group(place, groups[place])

    policy.generate([p.messages for p in prompts], sampling, done)
    return [groups[i] for i in range(len(prompts))]
