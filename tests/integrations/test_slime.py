"""slime's group reward, by the signature and with a sample as slime has them."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from softgrpo import Scorer, UserError
from softgrpo.integrations.groups import neutral_rewards
from softgrpo.integrations.slime import group_reward, prompt_of

ROOT = Path(__file__).parents[2]
ARGS = SimpleNamespace(n_samples_per_prompt=4)
WORDS = ["Rain.", "It rained all night.", "It is wet because it rained.", "Wet."]


class Status(Enum):
    """slime's `Sample.Status`."""

    PENDING = "pending"
    COMPLETED = "completed"
    TRUNCATED = "truncated"
    ABORTED = "aborted"
    FAILED = "failed"


@dataclass
class Sample:
    """Of slime's `Sample` what a reward function may touch."""

    prompt: str | list[dict[str, str]]
    response: str = ""
    group_index: int | None = None
    label: str | None = None
    reward: float | None = None
    remove_sample: bool = False
    status: Status = Status.COMPLETED
    metadata: dict = field(default_factory=dict)


def longer(prompt, first, second):
    return len(first) / (len(first) + len(second))


def scorer(judge=longer):
    return Scorer(criteria="Longer is better.", judge=judge)


def samples(texts=WORDS, prompt="Why is it wet?", **options):
    return [Sample(prompt, text, **options) for text in texts]


def rewarded(group, judge=longer, args=ARGS, **options):
    return asyncio.run(group_reward(scorer(judge), **options)(args, group))


def direct(texts=WORDS, prompt="Why is it wet?", judge=longer):
    return scorer(judge).score(prompt, texts)


@pytest.mark.parametrize("index", [None, 7])
def test_the_rewards_are_those_of_the_scorer_itself(index):
    group = samples(group_index=index)
    assert asyncio.run(scorer().for_slime()(ARGS, group, evaluation=False)) == direct().rewards.tolist()
    assert [s.metadata["softgrpo"] for s in group] == [{"judged": 1, "answer": r} for r in direct().rewards]
    assert not any(s.remove_sample for s in group)


def test_a_chat_and_what_stands_beside_it():
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "And now?"}]
    told = []
    judge = lambda prompt, first, second: told.append(prompt) or 0.5  # noqa: E731
    rewarded(samples(prompt=chat, metadata={"id": "q1", "tools": object()}), judge)
    assert set(told) == {"And now?"}
    row = prompt_of(Sample(chat, metadata={"id": "q1", "tools": object(), "softgrpo": {"judged": 1.0}}))
    assert row == {"prompt": chat, "id": "q1"}
    assert prompt_of(Sample("Why?", metadata=None)) == {"prompt": "Why?"}


def test_behind_a_chat_template_the_question_is_in_the_metadata():
    told = []
    judge = lambda prompt, first, second: told.append(prompt) or 0.5  # noqa: E731
    rewarded(samples(prompt="<|user|>Why?<|assistant|>", metadata={"prompt": "Why?"}), judge)
    rewarded(samples(prompt="<|user|>Why?<|assistant|>"), judge, prompt=lambda sample: sample.prompt[8:12])
    assert set(told) == {"Why?"}


def test_a_fifth_of_the_judgements_fails():
    """Over many judges: what was not judged has the mean of the others and is out of the loss."""
    missing = 0
    for seed in range(60):

        def judge(prompt, first, second, seed=seed):
            pair = "|".join(sorted((first, second)))
            return None if np.random.default_rng([seed, *pair.encode()]).random() < 0.2 else longer("", first, second)

        group, known = samples(), np.isfinite(direct(judge=judge).rewards)
        rewards = np.array(rewarded(group, judge))
        missing += (~known).sum()
        assert rewards.tolist() == neutral_rewards(direct(judge=judge))
        assert [s.remove_sample for s in group] == (~known).tolist()
        assert np.abs((rewards - rewards.mean())[~known]).max(initial=0) < 1e-12
        if known.any():
            assert rewards.mean() == pytest.approx(direct(judge=judge).rewards[known].mean())
    assert missing


def test_where_nobody_was_judged_all_are_out_of_the_loss():
    group = samples()
    assert rewarded(group, lambda *_: None) == [0.0] * 4
    assert all(s.remove_sample for s in group)
    assert [s.metadata["softgrpo"] for s in group] == [{"judged": 0}] * 4


def test_aborted_and_failed_samples_were_not_delivered():
    group = samples([*WORDS, "More."], group_index=0)
    group[1].status, group[3].status, group[3].response = Status.ABORTED, Status.FAILED, ""
    group[0].status, group[2].status = Status.TRUNCATED, Status.FAILED  # these said something
    assert rewarded(group) == neutral_rewards(direct([WORDS[0], None, WORDS[2], None, "More."]))
    assert [s.remove_sample for s in group] == [False, True, False, True, False]


def test_a_sample_that_was_resumed_is_in_the_loss_again():
    """slime goes on with an aborted sample; what somebody else removed stays removed."""
    group = samples()
    group[1].status, group[2].remove_sample = Status.ABORTED, True
    rewarded(group)
    group[1].status = Status.COMPLETED
    assert rewarded(group) == direct().rewards.tolist()
    assert [s.remove_sample for s in group] == [False, False, True, False]


def test_a_group_of_one_has_nobody_to_meet():
    (alone,) = group = samples(["alone"])
    assert rewarded(group) == [0.0]
    assert alone.remove_sample
    assert alone.metadata["softgrpo"] == {"judged": 0}


def test_samples_of_several_prompts_in_any_order():
    other = ["c", "dd", "eee"]
    mixed = samples(group_index=0) + samples(other, prompt="How?", group_index=1)
    order = np.random.default_rng(0).permutation(len(mixed))
    rewards = np.array(rewarded([mixed[i] for i in order]))[np.argsort(order)]
    assert rewards == pytest.approx(np.array([*direct().rewards, *direct(other, "How?").rewards]))


def test_one_prompt_twice_is_two_groups():
    """By the index, or without one by how many samples slime draws for a prompt."""
    other = ["a", "bb", "ccc", "dddd"]
    expected = [*direct().rewards, *direct(other).rewards]
    assert rewarded(samples(group_index=0) + samples(other, group_index=1)) == expected
    assert rewarded(samples() + samples(other)) == expected


def test_no_samples():
    assert rewarded([]) == []


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (Sample("Why?", "x"), r"slime gave one Sample, and a tournament needs its group; add --group-rm"),
        ([samples(), samples()], r"samples\[0\] is a list of 4, no sample; let generation give one"),
        ([{"prompt": "Why?"}], r"samples\[0\] is a dict, no sample"),
        (samples(prompt=None), r"prompt is a mapping of .*; give a text"),
        (samples(prompt=[]), r"prompt is a chat without a turn of the user"),
    ],
)
def test_another_shape_is_one_line(given, word):
    with pytest.raises(UserError, match=word):
        rewarded(given)


def test_the_example_as_it_stands(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    example = importlib.import_module("slime_reward")  # as slime's load_function does
    texts = ["It is so because because.", "It is so because.", "So."]
    rewards = asyncio.run(example.reward(SimpleNamespace(), samples(texts)))
    own = Scorer(criteria="The better answer gives reasons.", judge=example.gives_reasons)
    assert rewards == own.score("Why is it wet?", texts).rewards.tolist()
    assert rewards[0] > rewards[1] > rewards[2]


def test_no_torch():
    script = "import sys, softgrpo.integrations.slime; from softgrpo import Scorer\n"
    script += "Scorer(criteria='x', judge=max).for_slime(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("False\n", "")
