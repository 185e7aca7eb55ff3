"""tinker-cookbook itself: its rollouts, strategies and advantages over groups that meet in a tournament."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import os
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tinker
from tinker_cookbook import renderers, tokenizer_utils
from tinker_cookbook.completers import TokenCompleter, TokensWithLogprobs
from tinker_cookbook.rl.data_processing import compute_advantages, remove_constant_reward_groups
from tinker_cookbook.rl.metric_util import compute_trajectory_metrics
from tinker_cookbook.rl.rollout_strategy import FailFast, MinViableGroup
from tinker_cookbook.rl.rollouts import do_group_rollout
from tinker_cookbook.rl.types import Env, EnvGroupBuilder, StepResult
from tinker_cookbook.utils.ml_log import JsonLogger, dump_config
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from softgrpo import Scorer, UserError, load_task
from softgrpo.integrations.tinker_cookbook import TournamentGroup
from softgrpo.integrations.tinker_prompts import TournamentDatasetBuilder

ROOT = Path(__file__).parents[3]
MODEL = "bytes"
WORDS = [
    "It rains.",
    "It rained all night.",
    "Why, it is wet because it rained.",
    "Wet.",
    "Rain",
    "It has rained a lot.",
]


SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>"]


def of_bytes():
    """A real tokenizer of single bytes, with the tokens that Qwen's chats need."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, name_or_path=MODEL)


BYTES = of_bytes()


class Policy(TokenCompleter):
    """Says the texts one after the other; raises where one is an exception."""

    def __init__(self, texts, end="\n\nUser:"):
        self.texts, self.end, self.asked = itertools.cycle(texts), end, []

    async def __call__(self, model_input, stop, *, max_tokens=None):
        self.asked.append(BYTES.decode(model_input.to_ints()))
        text = next(self.texts)
        if isinstance(text, Exception):
            raise text
        tokens = BYTES.encode(text + self.end)
        return TokensWithLogprobs(tokens, [-1.0] * len(tokens))


@pytest.fixture(autouse=True)
def tokenizer():
    tokenizer_utils.register_tokenizer(MODEL, lambda: BYTES)
    yield BYTES
    tokenizer_utils.unregister_tokenizer(MODEL)


def longer(prompt, first, second):
    return len(first) / (len(first) + len(second))


def fails(share, seed=0):
    """A judge that fails at that share of the pairs, in whichever order; which ones follows from the seed."""

    def judge(prompt, first, second):
        pair = "|".join(sorted((first, second)))
        if np.random.default_rng([seed, *pair.encode()]).random() < share:
            raise TimeoutError("no answer")
        return longer(prompt, first, second)

    return judge


def scorer(judge=longer, **options):
    return Scorer(criteria="Longer is better.", judge=judge, **options)


def dataset(judge=longer, **options):
    settings = {"batch_size": 1, "group_size": 6, "prompts": ["Why is it wet?"]} | options
    return asyncio.run(
        TournamentDatasetBuilder(
            scorer_builder=partial(scorer, judge),
            policy_renderer_name="role_colon",
            policy_model_name=MODEL,
            **settings,
        )()
    )[0]


def rolled(group, texts=WORDS, **options):
    return asyncio.run(do_group_rollout(group, Policy(texts), **options))


def test_the_rewards_are_those_of_the_scorer_itself():
    prompts = ["Why is it wet?", [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "And now?"}]]
    groups = dataset(prompts=prompts, batch_size=2).get_batch(0)
    assert len(groups) == 2
    for group in groups:
        rolled_group, direct = rolled(group), scorer().score(group.prompt, WORDS)
        assert rolled_group.final_rewards_G == direct.rewards.tolist()
        assert rolled_group.get_total_rewards() == direct.rewards.tolist()
        assert rolled_group.metrics_G == [{"judged": 1.0, "answer": a} for a in direct.reward_parts["answer"]]
        assert all(type(v) is float for m in rolled_group.metrics_G for v in m.values())
        (advantages,) = compute_advantages([rolled_group])
        assert advantages.numpy() == pytest.approx(direct.rewards - direct.rewards.mean(), abs=1e-6)
        assert group.logging_tags() == ["criteria"]
    assert compute_trajectory_metrics([rolled(groups[0])], [["criteria"]])["env/all/judged"] == 1


def test_the_policy_is_asked_what_the_judge_is_told():
    policy = Policy(WORDS)
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "And now?"}]
    told = []
    group = dataset(lambda prompt, first, second: told.append(prompt) or 0.5, prompts=[chat]).get_batch(0)[0]
    asyncio.run(do_group_rollout(group, policy))
    assert policy.asked == ["System: Be brief.\n\nUser: And now?\n\nAssistant:"] * 6
    assert set(told) == {"And now?"}


def test_where_a_fifth_of_the_judgements_fail_nobody_is_moved_by_what_was_not_judged():
    """Over many judges; float32, in which the cookbook centres rewards, is exact to 1e-7 of them."""
    missing = 0
    for seed in range(40):
        judge = fails(0.2, seed)
        group = rolled(dataset(judge).get_batch(0)[0], WORDS)
        direct = scorer(judge).score("Why is it wet?", WORDS).rewards
        known = np.isfinite(direct)
        missing += (~known).sum()
        (advantages,) = compute_advantages([group])
        assert np.abs(advantages.numpy()[~known]).max(initial=0) < 2e-7
        if known.any():
            assert advantages.numpy()[known] == pytest.approx(direct[known] - direct[known].mean(), abs=1e-6)
        assert [m["judged"] for m in group.metrics_G] == known.tolist()
    assert missing, "some had less than half of their opponents"


def test_an_unjudged_advantage_is_exactly_zero_where_the_numbers_are_exact():
    """Every pair of the last text fails; of the others each beats what comes after it outright: 1.5, 0 and -1.5."""
    texts = ["1 best", "2 fair", "3 worst", "mute"]

    def judge(prompt, first, second):
        return None if "mute" in (first, second) else float(first < second)

    group = rolled(dataset(judge, group_size=4).get_batch(0)[0], texts)
    assert group.final_rewards_G == [1.5, 0, -1.5, 0]
    assert compute_advantages([group])[0].tolist() == [1.5, 0, -1.5, 0]
    assert [m["judged"] for m in group.metrics_G] == [1, 1, 1, 0]


def test_a_group_of_which_nobody_was_judged_is_flat_and_ends_nothing():
    group = rolled(dataset(fails(1.0)).get_batch(0)[0], strategy=FailFast())
    assert group.final_rewards_G == [0.0] * 6
    assert group.metrics_G == [{"judged": 0.0}] * 6
    other = rolled(dataset().get_batch(0)[0])
    assert remove_constant_reward_groups([group, other]) == [other]


def test_a_group_that_has_shrunk():
    """The strategy for long rollouts drops what failed: two meet, and one has nobody to meet."""
    lost = RuntimeError("lost")
    strategy = MinViableGroup(min_successful=1, max_retries=0)
    two = rolled(dataset().get_batch(0)[0], ["short", "much longer", *[lost] * 4], strategy=strategy)
    expected = scorer().score("Why is it wet?", ["short", "much longer"]).rewards.tolist()
    assert sorted(two.final_rewards_G) == sorted(expected), "in the order in which they ended"
    one = rolled(dataset().get_batch(0)[0], ["alone", *[lost] * 5], strategy=strategy)
    assert (one.final_rewards_G, one.metrics_G) == ([0.0], [{"judged": 0.0}])
    assert compute_advantages([one])[0].tolist() == [0.0]


class TwoTurns(Env):
    """Asks for more once, and rewards each turn."""

    def __init__(self):
        self.turns = 0

    async def initial_observation(self):
        return tinker.ModelInput.from_ints(BYTES.encode("User: Go.\n\nAssistant:")), ["\n\nUser:"]

    async def step(self, action, *, extra=None):
        self.turns += 1
        ask = tinker.ModelInput.from_ints(BYTES.encode("User: And?\n\nAssistant:"))
        return StepResult(0.25, self.turns == 2, ask, ["\n\nUser:"])


class Others(EnvGroupBuilder):
    """Somebody's own builder."""

    def __init__(self, log):
        self.log = log

    async def make_envs(self):
        return [TwoTurns() for _ in range(3)]

    async def compute_group_rewards(self, trajectory_group, env_group):
        raise AssertionError("the tournament stands in its place")

    async def cleanup(self):
        self.log.append("cleaned")

    def logging_tags(self):
        return ["theirs"]


def role_colon():
    return renderers.get_renderer("role_colon", BYTES)


def test_an_existing_builder_with_several_turns():
    log, told = [], []
    judge = lambda prompt, first, second: told.append((prompt, first)) or longer(prompt, first, second)  # noqa: E731
    group = TournamentGroup(Others(log), prompt="Go on.", renderer=role_colon(), scorer=scorer(judge))
    assert group.logging_tags() == ["theirs"]
    done = asyncio.run(do_group_rollout(group, Policy(["one", "first", "i", "two", "second one"])))
    assert log == ["cleaned"]
    texts = [
        "\n".join(BYTES.decode(t.ac.tokens).removesuffix("\n\nUser:") for t in trajectory.transitions)
        for trajectory in done.trajectories_G
    ]
    assert len(set(texts)) == 3
    assert all(text.count("\n") == 1 for text in texts)
    assert set(told) == {("Go on.", text) for text in texts}
    direct = scorer().score("Go on.", texts).rewards
    assert done.final_rewards_G == direct.tolist()
    assert done.get_total_rewards() == pytest.approx((direct + 0.5).tolist()), "the environment's own are added"


def test_what_sampled_nothing_was_not_delivered():
    """As the cookbook has it for a prompt that is too long: a transition without a token."""
    group = TournamentGroup(Others([]), prompt="Go.", renderer=role_colon(), scorer=scorer())
    done = asyncio.run(do_group_rollout(group, Policy(["a", "bb", "ccc"])))
    for transition in done.trajectories_G[0].transitions:
        transition.ac = TokensWithLogprobs([], [])
    rewards = asyncio.run(group.compute_group_rewards(done.trajectories_G, []))
    assert [m["judged"] for _, m in rewards] == [0, 1, 1]
    assert rewards[0][0] == pytest.approx((rewards[1][0] + rewards[2][0]) / 2)


def test_what_was_thought_is_not_judged(tokenizer):
    shown = []
    judge = lambda prompt, first, second: shown.append(first) or 0.5  # noqa: E731
    renderer = renderers.get_renderer("qwen3", tokenizer)
    group = TournamentGroup(Others([]), prompt="Go.", renderer=renderer, scorer=scorer(judge))
    policy = Policy(["<think>\nhm\n</think>\n\nYes", "<think>\nso\n</think>\n\nNo", "Perhaps"], end="<|im_end|>")
    asyncio.run(do_group_rollout(group, policy))
    assert not any("think" in text or "hm" in text for text in shown), shown


@pytest.mark.parametrize("prompt", [3, None, [], {"nothing": "here"}, [{"role": "assistant", "content": "x"}]])
def test_a_prompt_that_is_none_is_said_before_a_token_is_sampled(prompt):
    with pytest.raises(UserError, match=r"prompt"):
        TournamentGroup(Others([]), prompt=prompt, renderer=None, scorer=scorer())
    with pytest.raises(UserError, match=r"prompt"):
        dataset(prompts=[prompt])


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"group_size": 1}, "group_size 1: a tournament needs two"),
        ({"batch_size": 2}, "batch_size 2: no batch can be made of 1 prompts"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"prompts": []}, "no batch can be made of 0 prompts"),
    ],
)
def test_what_cannot_be_is_one_line(options, word):
    with pytest.raises(UserError, match=word):
        dataset(**options)


def test_a_scorer_in_place_of_what_makes_one():
    settings = dict(batch_size=1, group_size=2, policy_renderer_name="role_colon", policy_model_name=MODEL)
    with pytest.raises(UserError, match=r"scorer_builder is a Scorer; give what makes one"):
        asyncio.run(TournamentDatasetBuilder(scorer_builder=scorer(), **settings)())


def test_whole_batches_in_an_order_of_the_seed():
    prompts = [f"Question {i}?" for i in range(7)]
    asked = lambda **o: [  # noqa: E731
        g.prompt.question for i in range(3) for g in dataset(prompts=prompts, batch_size=2, **o).get_batch(i)
    ]
    assert len(dataset(prompts=prompts, batch_size=2)) == 3
    assert len(set(asked())) == 6
    assert asked() == asked(seed=0) != asked(seed=1)


def test_a_task_brings_its_prompts():
    built = TournamentDatasetBuilder(
        scorer_builder=partial(Scorer, task="debate", judge=longer),
        batch_size=4, group_size=2, policy_renderer_name="role_colon", policy_model_name=MODEL,
    )  # fmt: skip
    data, test = asyncio.run(built())
    task = load_task("debate")
    assert test is None
    assert len(data) == len(task.train) // 4
    (group, *_) = data.get_batch(0)
    assert group.prompt in [task.prompt(q) for q in task.train]
    assert group.logging_tags() == ["debate"]
    (env, _) = asyncio.run(group.make_envs())
    asked, _ = asyncio.run(env.initial_observation())
    assert task.system in BYTES.decode(asked.to_ints())


def test_groups_go_to_other_processes_where_they_share_a_scorer():
    groups = dataset(prompts=["a", "b"], batch_size=2).get_batch(0)
    sent = [pickle.loads(pickle.dumps(group)) for group in groups]
    assert sent[0].scorer is sent[1].scorer is not groups[0].scorer
    for here, there in zip(groups, sent, strict=True):
        assert there.prompt == here.prompt
        assert rolled(there).final_rewards_G == rolled(here).final_rewards_G


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    return importlib.import_module("tinker_tournament")


def test_the_example_as_it_stands(example, tmp_path):
    config = example.config()
    tokenizer_utils.register_tokenizer(example.MODEL, lambda: BYTES)
    data, _ = asyncio.run(config.dataset_builder())
    group = data.get_batch(0)[0]
    form = "<reasoning>\nx\n</reasoning>\n<answer>\n{}\n</answer>".format
    texts = [form("because because"), form("because"), form("so"), "no form"]
    done = asyncio.run(do_group_rollout(group, Policy(texts, end="<|im_end|>")))
    direct = config.dataset_builder.scorer_builder().score(group.prompt, texts * 2).rewards
    assert sorted(done.final_rewards_G) == pytest.approx(sorted(direct.tolist()))
    assert compute_advantages([done])[0].sum() == pytest.approx(0, abs=1e-5)
    assert pickle.loads(pickle.dumps(group)).prompt == group.prompt


def test_a_configuration_is_written_down_without_the_scorer(example, tmp_path):
    config = example.config()
    log = JsonLogger(str(tmp_path))
    log.log_hparams(config)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["dataset_builder"]["group_size"] == 8
    assert set(dump_config(config)["dataset_builder"]) == {
        *("scorer_builder", "batch_size", "group_size", "policy_renderer_name", "policy_model_name", "prompts", "seed")
    }


def test_no_torch_of_ours():
    """The host itself imports torch for its data; ours adds none."""
    script = "import sys, tinker_cookbook.rl.preference_envs; before = 'torch' in sys.modules\n"
    script += "import softgrpo.integrations.tinker_prompts; print(before == ('torch' in sys.modules))"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout == "True\n", done.stderr
