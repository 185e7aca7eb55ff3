"""The reward function for TRL by itself; with TRL and several processes it is in `hosts/`."""

from __future__ import annotations

import asyncio
import inspect
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from softgrpo import Scorer, UserError
from softgrpo.integrations.trl_rows import rows_of
from tests.fakes.builders import reply

ROOT = Path(__file__).parents[2]


def longer(prompt, first, second):
    return 1 / (1 + math.exp(len(second) - len(first)))


def reward(judge=longer, **options):
    return Scorer(criteria="Longer is better.", judge=judge, **options).for_trl()


def scores(prompt, *texts):
    return Scorer(criteria="Longer is better.", judge=longer).score(prompt, texts).rewards.tolist()


def test_worked_numbers():
    p = 1 / (1 + math.exp(-1))
    assert reward()(["Why?"] * 2, ["ab", "a"]) == pytest.approx([1.5 * (2 * p - 1), 1.5 * (1 - 2 * p)])


def test_groups_are_found_where_a_prompt_comes_twice_next_to_itself_and_apart():
    prompts = [*["a"] * 2, *["b"] * 2, *["b"] * 2, *["a"] * 2]
    texts = ["x", "xx", "xxx", "x", "xx", "xxxx", "x", "xxxxx"]
    expected = [s for i in range(0, 8, 2) for s in scores(prompts[i], *texts[i : i + 2])]
    assert reward()(prompts, texts) == pytest.approx(expected)


class Trainer:
    """As much of TRL's as a reward function can see."""

    num_generations, num_generations_eval = 3, 2

    def __init__(self, training=True):
        self.model, self.metrics = SimpleNamespace(training=training), {}

    def _log_metric(self, name, value):
        self.metrics[name] = value


@pytest.mark.parametrize(("training", "size"), [(True, 3), (False, 2)])
def test_the_trainers_own_number_is_seen(training, size):
    """One prompt in six rows: two groups of three in training, three of two in an evaluation."""
    texts = ["x", "xx", "xxx", "xxxx", "x", "xxx"]
    found = reward()(["a"] * 6, texts, log_metric=Trainer(training)._log_metric, side=["PRO"] * 3 + ["CON"] * 3)
    assert found == pytest.approx([s for i in range(0, 6, size) for s in scores("a", *texts[i : i + size])])


@pytest.mark.parametrize("given", [None, 4])
def test_what_a_rollout_brings_of_each_completion_parts_no_group(given):
    seen = []

    def look(prompt, completion):
        seen.append(dict(prompt.meta))
        return 0

    function = Scorer(criteria="c", judge=longer, rewards={"look": look}).for_trl(num_generations=given)
    texts = ["x", "xx", "xxx", "xxxx"]
    found = function(["a"] * 4, texts, env_reward=[1, 1, 0, 0], level=[2] * 4, self=[1] * 4)
    assert found == pytest.approx(scores("a", *texts))
    assert seen[0] == {"level": 2, "self": 1}, "of a group what its rows agree on"


def test_a_prompt_may_have_something_of_each_rollout_in_it():
    prompts = [f"Turn {i}" for i in range(4)]
    function = Scorer(criteria="c", judge=longer).for_trl(num_generations=4)
    assert function(prompts, ["x", "xx", "xxx", "xxxx"]) == pytest.approx(scores("?", "x", "xx", "xxx", "xxxx"))


def test_a_size_that_is_given_divides_equal_neighbours():
    function = Scorer(criteria="Longer is better.", judge=longer).for_trl(num_generations=2)
    assert function(["a"] * 4, ["x", "xx", "xxx", "x"]) == pytest.approx(
        scores("a", "x", "xx") + scores("a", "xxx", "x")
    )


def test_a_row_that_has_nobody_to_meet_has_no_reward():
    found = reward()(["a", "a", "b"], ["x", "xx", "x"])
    assert found[2] is None
    assert found[:2] == pytest.approx(scores("a", "x", "xx"))


@pytest.mark.parametrize("size", [0, 1, -2])
def test_no_group_has_fewer_than_two(size):
    with pytest.raises(UserError, match=f"num_generations {size}: a group has two"):
        Scorer(criteria="c", judge=longer).for_trl(num_generations=size)


def test_a_missing_verdict_is_none_for_the_whole_reward():
    """The form and code have given their numbers, which are of no use without the judge's."""

    def fails(prompt, first, second):
        return None if "lost" in (first, second) else longer(prompt, first, second)

    scorer = Scorer(criteria="c", judge=fails, format="reasoning_answer", rewards={"two": lambda p, c: 2.0})
    found = scorer.for_trl()(["a"] * 4, [reply(text) for text in ("lost", "good", "better", "good")])
    assert found[0] is None
    mean_p = {"good": (0.5 + longer("", "good", "better")) / 2, "better": longer("", "better", "good")}
    others = [1.5 * (2 * mean_p[text] - 1) + 0.5 + 0.5 + 0.5 + 2.0 for text in ("good", "better", "good")]
    assert found[1:] == pytest.approx(others), "the tournament, both format rewards, the tags, and the code's"


def test_code_that_fails_gives_none_too():
    function = reward(rewards={"inverse": lambda prompt, completion: 1 / (len(completion.text) - 1)})
    assert [r is None for r in function(["a"] * 3, ["xx", "x", "xxx"])] == [False, True, False]


def test_chats_and_what_else_trl_passes():
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    texts = [[{"role": "assistant", "content": text}] for text in ("a", "abc")]
    asked = []

    def judge(prompt, first, second):
        asked.append(prompt)
        return longer(prompt, first, second)

    metrics, extras = {}, {}
    found = reward(judge)(
        prompts=[chat] * 2,
        completions=texts,
        completion_ids=[[1], [2, 3]],
        trainer_state=object(),
        log_metric=metrics.__setitem__,
        log_extra=extras.__setitem__,
        subject=["rain"] * 2,
        messages=[["another chat"]] * 2,
        image=[object(), object()],
    )
    assert found == pytest.approx(scores("Why?", "a", "abc"))
    assert set(asked) == {"Why?"}
    assert metrics["judge/groups"] == 1
    assert metrics["judge/unjudged"] == 0
    assert metrics["judge/answer"] == pytest.approx(0)
    assert "judge/calls" not in metrics, "a function is no service"
    assert extras == {"verdicts": ["1: 0.12 0.12", "0: 0.88 0.88"]}


def test_columns_become_what_rewards_from_code_are_told():
    seen = []
    function = reward(
        rewards={"seen": lambda prompt, completion: seen.append((prompt.subject, dict(prompt.meta))) or 0}
    )
    function(["a"] * 2, ["x", "xx"], subject=["rain"] * 2, level=[3, 3], tags=[["t"], ["t"]])
    assert seen == [("rain", {"level": 3, "tags": ["t"]})] * 2


def test_rows_hold_only_what_other_processes_can_be_given():
    rows = rows_of(["a", "b"], ["x", "y"], {"n": [1, 2], "state": object(), "odd": [1], "environments": [1, 2]})
    chat = lambda text: [{"role": "user", "content": text}]  # noqa: E731
    assert rows == [({"messages": chat("a"), "n": 1}, "x"), ({"messages": chat("b"), "n": 2}, "y")]


def test_a_task_may_call_its_field_prompt(tmp_path):
    page = "criteria: Which is longer?\nformat: none\nquestion: '{prompt}'\nsystem: Be brief.\n"
    page += "prompts:\n  train: [{prompt: One}]\n  test: [{prompt: Two}]\n"
    (tmp_path / "task.yaml").write_text(page)
    asked = []

    def judge(prompt, first, second):
        asked.append(prompt)
        return longer(prompt, first, second)

    scorer = Scorer(task=str(tmp_path / "task.yaml"), judge=judge)
    chat = [dict(m) for m in scorer.task.prompt(scorer.task.train[0]).messages]
    assert scorer.for_trl()([chat, chat], ["x", "xx"], prompt_id=["p", "p"]) == pytest.approx(scores("?", "x", "xx"))
    assert set(asked) == {"One"}


def test_a_prompt_that_is_none_is_said():
    with pytest.raises(UserError, match="a judge reads text alone"):
        reward()([[{"role": "user", "content": [{"type": "image", "image": object()}]}]] * 2, ["x", "xx"])


def test_the_asynchronous_one_has_groups_side_by_side():
    function = Scorer(criteria="Longer is better.", judge=longer).for_trl(asynchronous=True)
    assert inspect.iscoroutinefunction(function.__call__)

    async def both():
        one = function(prompts=["a"] * 2, completions=["x", "xx"], completion_ids=[[1], [2]], number=[1, 1])
        return await asyncio.gather(one, function(prompts=["b"], completions=["x"]))

    assert asyncio.run(both()) == [pytest.approx(scores("a", "x", "xx")), [None]]


@pytest.mark.parametrize(
    ("found", "is_old"), [("1.5.1", True), ("0.29.1", True), ("1.6.0", False), ("2.0.dev0", False)]
)
def test_a_trl_that_takes_a_missing_reward_for_zero_is_refused(monkeypatch, found, is_old):
    monkeypatch.setattr("softgrpo.integrations.trl_rows.version", lambda name: found)
    if is_old:
        with pytest.raises(UserError, match=rf"trl {found}: it takes a missing reward for zero; install trl>=1.6"):
            reward()
    else:
        reward()


def test_it_imports_no_torch():
    script = (
        "import sys; from softgrpo import Scorer\n"
        "f = Scorer(criteria='c', judge=lambda p, a, b: float(len(a) > len(b))).for_trl()\n"
        "print(f(['q', 'q'], ['a', 'bb']), sorted(set(sys.modules) & {'torch', 'trl', 'accelerate', 'transformers'}))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[-1.5, 1.5] []\n", done.stderr
