"""slime: a tournament as the reward of a group, for `--group-rm --custom-rm-path my_reward.reward`.

    # my_reward.py
    scorer = Scorer(task="debate", judge="gpt-4o")
    reward = scorer.for_slime()

slime knows no missing reward. A sample that was not judged has the mean of the others, so that the mean by which slime
centres a group is what it is without it, and is marked with `remove_sample`, by which slime leaves it out of the loss.
slime evaluates without groups: it refuses `--group-rm` there, so leave out `--eval-interval`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from softgrpo.errors import UserError
from softgrpo.integrations.groups import ScoresGroups, in_groups, measures, neutral_rewards, plain

NAME = "softgrpo"
"""where in a sample's metadata its reward's parts stand"""


def prompt_of(sample: Any) -> dict[str, Any]:
    """A sample's prompt and its metadata, as a row.

    With `--apply-chat-template` a sample's prompt is the template's text, in which a judge would read the tags, too:
    then a `prompt` or `messages` in the metadata is what was asked.

    >>> from types import SimpleNamespace
    >>> prompt_of(SimpleNamespace(prompt="<|user|>Why?", metadata={"prompt": "Why?", "side": "PRO"}))
    {'prompt': 'Why?', 'side': 'PRO'}
    """
    known = sample.metadata if isinstance(sample.metadata, Mapping) else {}
    return {"prompt": sample.prompt, **plain({name: value for name, value in known.items() if name != NAME})}


def group_reward(
    scorer: ScoresGroups, *, prompt: Callable[[Any], Any] = prompt_of
) -> Callable[..., Awaitable[list[float]]]:
    """The function that slime awaits for each group; `prompt` makes of a sample what `Scorer.score` takes.

    >>> from types import SimpleNamespace
    >>> from softgrpo import Scorer
    >>> longer = lambda prompt, first, second: 0.9 if len(first) > len(second) else 0.1
    >>> reward = Scorer(criteria="Longer is better.", judge=longer).for_slime()
    >>> done = SimpleNamespace(name="COMPLETED")
    >>> samples = [
    ...     SimpleNamespace(group_index=0, prompt="Why?", response=text, status=done, metadata={}, remove_sample=False)
    ...     for text in ("ab", "a")
    ... ]
    >>> [round(r, 2) for r in asyncio.run(reward(None, samples))], list(samples[0].metadata["softgrpo"])
    ([1.2, -1.2], ['judged', 'answer'])
    """

    async def reward(args: Any, samples: Sequence[Any], **_: Any) -> list[float]:
        """[N] a reward each. Raises `UserError` for another shape, a prompt that is none, a budget that is reached."""
        groups = groups_of(args, samples)
        met = [rows for rows in groups if len(rows) > 1]
        scored = await asyncio.gather(
            *(scorer.score_async(prompt(samples[rows[0]]), [said(samples[i]) for i in rows]) for rows in met)
        )
        rewards = [0.0] * len(samples)
        logged = [{"judged": 0.0}] * len(samples)  # also of one that has nobody to meet
        for rows, one in zip(met, scored, strict=True):
            for i, value, measured in zip(rows, neutral_rewards(one), measures(one), strict=True):
                rewards[i], logged[i] = value, measured
        for sample, measured in zip(samples, logged, strict=True):
            mark(sample, measured)
        return rewards

    return reward


def groups_of(args: Any, samples: Sequence[Any]) -> list[Sequence[int]]:
    """Which samples are a group: those of one `group_index` and prompt; without an index, neighbours of one prompt."""
    if not isinstance(samples, Sequence) or isinstance(samples, str):
        raise UserError(f"slime gave one {type(samples).__name__}, and a tournament needs its group; add --group-rm")
    for number, sample in enumerate(samples):
        if not (hasattr(sample, "prompt") and hasattr(sample, "response")):
            what = f"a {type(sample).__name__}" + (f" of {len(sample)}" if isinstance(sample, list) else "")
            raise UserError(f"samples[{number}] is {what}, no sample; let generation give one sample for a reply")
    prompts = [json.dumps(sample.prompt, sort_keys=True, default=str) for sample in samples]
    indices = [getattr(sample, "group_index", None) for sample in samples]
    if None in indices:
        return list(in_groups(prompts, getattr(args, "n_samples_per_prompt", None)))
    found: dict[Any, list[int]] = {}
    for i, key in enumerate(zip(indices, prompts, strict=True)):
        found.setdefault(key, []).append(i)
    return list(found.values())


def said(sample: Any) -> str | None:
    """The response, or None for one that slime broke off, or that failed before a word."""
    how = sample.status.name
    return None if how == "ABORTED" or (how == "FAILED" and not sample.response) else sample.response


def mark(sample: Any, measured: Mapping[str, float]) -> None:
    """Leave a sample without a reward out of the loss, and one in it again that now has one."""
    known = sample.metadata if isinstance(sample.metadata, Mapping) else {}
    before = known.get(NAME)
    removed_here = isinstance(before, Mapping) and before.get("judged") == 0
    if not measured["judged"] or removed_here:
        sample.remove_sample = not measured["judged"]
    sample.metadata = {**known, NAME: dict(measured)}
