"""`Scorer`: whole groups in, rewards out, with any judge, without a trainer."""

from __future__ import annotations

import asyncio
import doctest
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from softgrpo import ScoredGroup, Scorer, UserError, load_task
from softgrpo.judges.text_scores import ScoringJudge
from softgrpo.model_interface import ModelPool
from softgrpo.models.api.errors import BudgetReached
from softgrpo.records import Completion
from softgrpo.spending.ledger import SqliteLedger
from tests.fakes.builders import reply
from tests.fakes.chat_models import read
from tests.fakes.judges import ScriptedJudge, failing, prefers_first, skill_judge
from tests.fakes.openai_server import FakeOpenAI

SKILL = {"weak": 0.0, "fair": 0.5, "good": 1.0, "best": 1.5}
TEXTS = list(SKILL)
MOTION = {"motion": "Cities should ban cars", "side": "PRO"}
ROOT = Path(__file__).parents[1]


def by_skill(prompt, first, second):
    return 1 / (1 + np.exp(SKILL[second] - SKILL[first]))


def free(judge=by_skill, **options):
    return Scorer(criteria="The better word.", judge=judge, **options)


def test_worked_numbers_of_a_task():
    """A winner in form has 1.5 for the tournament, 0.5 strict, 0.5 soft, 0.125 for each tag; a forfeit has nothing."""
    scored = Scorer(task="debate", judge=skill_judge(SKILL, hard=True)).score(MOTION, [reply("good"), "no tags"])
    assert isinstance(scored, ScoredGroup)
    assert scored.rewards == pytest.approx([1.5 + 0.5 + 0.5 + 0.5, -1.5])
    assert set(scored.reward_parts) == {"answer", "strict_format", "soft_format", "tag_count"}
    assert scored.group.prompt.question == "Debate Topic: Cities should ban cars\nPosition: PRO"
    assert scored.stderrs.tolist() == [0, 0]


def test_worked_numbers_of_free_criteria():
    judge = skill_judge(SKILL)
    scored = free(judge).score("Which?", ["weak", " best\n"])
    p = 1 / (1 + np.exp(-1.5))
    assert scored.rewards == pytest.approx([1.5 * (1 - 2 * p), 1.5 * (2 * p - 1)])
    assert set(scored.reward_parts) == {"answer"}
    assert judge.seen[0].objective.criteria == "The better word."
    assert judge.shown == {"weak", "best"}, "the whole reply, without the space around it"


class Lengths:
    def score(self, items):
        return np.array([len(item.text) for item in items], float)


@pytest.mark.parametrize(
    ("judge", "reasoning"), [(ScoringJudge("lengths", Lengths()), 0.5), (skill_judge(SKILL), 0.0), (by_skill, 0.0)]
)
def test_only_a_judge_on_this_machine_judges_the_reasoning_by_default(judge, reasoning):
    assert Scorer(task="debate", judge=judge).evaluator.weights["reasoning"] == reasoning
    assert Scorer(task="debate", judge=judge, weights={"reasoning": 0.25}).evaluator.weights["reasoning"] == 0.25


def test_weights_given_win_over_the_tasks_own_and_the_defaults():
    own = replace(load_task("debate"), extra_rewards={"short": lambda p, c: -len(c.text)}, extra_weights={"short": 0.1})
    weights = Scorer(task=own, judge=by_skill, weights={"answer": 2, "tag_count": 0}).evaluator.weights
    assert weights == {
        "answer": 2, "reasoning": 0, "short": 0.1, "strict_format": 0.5, "soft_format": 0.5, "tag_count": 0
    }  # fmt: skip


def test_rewards_from_code_ride_beside_the_tournament():
    """Their weights are given by name; a failing one takes the whole reward with it."""
    brief = lambda prompt, completion: -len(completion.text) if completion.text != "fair" else None  # noqa: E731
    scorer = free(hard := skill_judge(SKILL, hard=True), rewards={"brief": brief}, weights={"brief": 0.1})
    scored = scorer.score("Which?", ["weak", "fair", "good", "best"])
    assert hard.seen
    assert scored.reward_parts["brief"].tolist() == pytest.approx([-4, np.nan, -4, -4], nan_ok=True)
    assert scored.rewards == pytest.approx([-1.5 - 0.4, np.nan, 0.5 - 0.4, 1.5 - 0.4], nan_ok=True)
    with_task = Scorer(task="debate", judge=by_skill, rewards={"brief": brief}).evaluator.weights
    assert with_task["brief"] == 1.0
    assert load_task("debate").extra_rewards == {}, "the task itself is as it was"


@pytest.mark.parametrize(
    ("rewards", "said"),
    [
        ({"tag_count": len}, "rewards: a reward cannot be called 'tag_count'"),
        ({"Brief!": len}, "rewards: a reward cannot be called 'Brief!'"),
        ({"brief": 3}, "rewards: brief is a int; give a function"),
    ],
)
def test_rewards_that_cannot_be_are_said(rewards, said):
    with pytest.raises(UserError, match=said):
        free(rewards=rewards)


@pytest.mark.parametrize("form", [None, "none"])
def test_a_tasks_criteria_on_whole_replies(form):
    scorer = Scorer(task="debate", judge=skill_judge(SKILL), format=form)
    scored = scorer.score(MOTION, ["good", "best", ""])
    assert set(scorer.evaluator.weights) == set(scored.reward_parts) == {"answer"}
    assert scored.rewards[1] > scored.rewards[0] > scored.rewards[2] == -1.5


def test_free_criteria_on_the_answer_section():
    scored = free(skill_judge(SKILL), format="reasoning_answer").score("Which?", [reply("good"), reply("weak"), "good"])
    assert scored.standings["answer"].n_forfeits == 1
    assert set(scored.reward_parts) == {"answer", "strict_format", "soft_format", "tag_count"}


def test_a_task_without_a_form_from_its_file_to_the_reward(tmp_path):
    page = {
        "system": "You write taglines.",
        "format": "none",
        "question": "Product: {product}",
        "criteria": "Which sells more?",
        "prompts": {"train": ["umbrella"], "test": ["kettle"]},
        "examples": [{"product": "pencil", "answer": "Grow."}],
    }
    path = tmp_path / "taglines.yaml"
    path.write_text(yaml.safe_dump(page))
    judge = skill_judge(SKILL)
    scorer = Scorer(task=str(path), judge=judge)
    assert [m["content"] for m in scorer.task.prompt(scorer.task.test[0], num_shots=1).messages] == [
        "You write taglines.", "Product: pencil", "Grow.", "Product: kettle"
    ]  # fmt: skip
    by_fields = scorer.score({"product": "kettle"}, ["good", "weak", " "])
    by_chat = scorer.score([{"role": "user", "content": "Product: kettle"}], ["good", "weak", " "])
    assert by_fields.rewards.tolist() == by_chat.rewards.tolist()
    assert set(by_fields.reward_parts) == {"answer"}
    assert by_fields.standings["answer"].n_forfeits == 1
    assert {c.prompt.question for c in judge.seen} == {"Product: kettle"}
    assert scorer.evaluator.weights == {"answer": 1.0}


def test_what_was_not_delivered_has_no_reward_and_forfeits_nothing():
    scored = free().score("Which?", ["good", None, "weak"])
    without = free().score("Which?", ["good", "weak"])
    assert scored.rewards == pytest.approx([without.rewards[0], np.nan, without.rewards[1]], nan_ok=True)
    assert scored.failures == ("a completion was not delivered",) * 2
    assert scored.standings["answer"].n_forfeits == 0
    assert without.failures == ()


def test_completions_as_chats_and_as_they_are():
    turns = [{"role": "assistant", "content": "best"}]
    scored = free().score("Which?", [turns, Completion(text="good"), "weak"])
    assert [c.text for c in scored.group.completions] == ["best", "good", "weak"]
    assert np.argsort(-scored.rewards).tolist() == [0, 1, 2]


def test_failures_are_counted_and_never_ties():
    """All matches with `x` fail: it has no reward, and the others are scored among themselves."""
    scored = free(failing(on=lambda a, b: "x" in (a, b))).score("Which?", ["x", "aa", "aaa", "aaaa"])
    assert scored.rewards == pytest.approx([np.nan, -1.5, 0.0, 1.5], nan_ok=True)
    assert scored.failures == ("the script fails here",) * 6
    assert np.isnan(free(failing(), min_judged=0.0).score("Which?", ["a", "aa"]).rewards).all()


def test_a_function_that_fails_in_one_order_leaves_the_pair_without_an_outcome():
    def half(prompt, first, second):
        if first == "good":
            raise RuntimeError("tired")
        return by_skill(prompt, first, second)

    scored = free(half).score("Which?", ["good", "best", "weak"])
    assert scored.failures == ("RuntimeError: tired",) * 2
    assert scored.rewards[0] != scored.rewards[0]
    assert scored.rewards[1] > 0 > scored.rewards[2]


def test_several_groups_are_one_call_to_the_judge_and_score_as_one_by_one():
    judge, calls = skill_judge(SKILL), []
    ask = judge.judge
    judge.judge = lambda contests: calls.append(len(contests)) or ask(contests)
    groups = [("One?", ["good", "weak", "best"]), ("Two?", ["weak", "fair", "best"])]
    together = free(judge, judge_calls_per_group=4).score_groups(groups)
    assert calls == [2]
    for scored, (prompt, texts) in zip(together, groups, strict=True):
        alone = free(skill_judge(SKILL), judge_calls_per_group=4).score(prompt, texts)
        assert alone.verdicts == scored.verdicts, "who meets whom depends on no other group"
        np.testing.assert_array_equal(alone.rewards, scored.rewards)
    assert free().score_groups([]) == []


def test_who_meets_whom_follows_from_the_prompt_and_the_seed():
    texts = [f"text {i}" for i in range(8)]
    pairs = lambda scored: [(v.match.first, v.match.second) for v in scored.verdicts]  # noqa: E731
    found = [
        pairs(free(prefers_first(), judge_calls_per_group=8, seed=seed).score(prompt, texts))
        for prompt, seed in [("a", 0), ("a", 0), ("b", 0), ("a", 1)]
    ]
    assert found[0] == found[1]
    assert found[0] not in found[2:]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "exactly one of"),
        ({"task": "debate", "criteria": "c"}, "exactly one of"),
        ({"criteria": " "}, "criteria are empty"),
        ({"task": "poems"}, "unknown dataset 'poems'"),
        ({"criteria": "c", "format": "json"}, "format 'json': choose from reasoning_answer, none"),
        ({"criteria": "c", "judge": 3}, "judge is a int"),
        ({"criteria": "c", "judge": "embedded:nonsense"}, "unknown judge"),
        ({"criteria": "c", "judge": "gpt-4o"}, "needs a key"),
        ({"criteria": "c", "schedule": "knockout"}, "knockout"),
        ({"criteria": "c", "orders": "one"}, "unknown orders 'one'"),
        ({"criteria": "c", "rating": "elo"}, "elo"),
        ({"criteria": "c", "weights": {"answr": 1}}, "no reward part 'answr'; did you mean 'answer'"),
        ({"criteria": "c", "weights": {"tag_count": 1}}, "no reward part 'tag_count'"),
        ({"task": "debate", "format": None, "weights": {"reasoning": 1}}, "no reward part 'reasoning'"),
        ({"criteria": "c", "weights": {"answer": float("nan")}}, "finite"),
        ({"criteria": "c", "budget_usd": 3}, "budget_usd 3: a judge of your own"),
        ({"criteria": "c", "ledger": "l.sqlite"}, "ledger l.sqlite: a judge of your own"),
    ],
    ids=str,
)
def test_what_cannot_be_is_one_line_before_anything_is_asked(options, word, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(UserError, match=word) as error:
        Scorer(**{"judge": by_skill} | options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("completions", "word"),
    [
        ([], "is empty"),
        (["good"], "nobody to meet"),
        ("good", "is one text"),
        ({"a": "good"}, "is a dict"),
        (None, "is a NoneType"),
        (["good", 3], "a completion is a int"),
    ],
)
def test_what_is_no_group_is_one_line(completions, word):
    with pytest.raises(UserError, match=word):
        free().score("Which?", completions)


def test_too_few_calls_are_said_before_one_is_made():
    judge = skill_judge(SKILL)
    with pytest.raises(UserError, match="give 3 or more"):
        free(judge, judge_calls_per_group=2).score("Which?", TEXTS)
    assert judge.seen == []
    assert np.isfinite(free(judge, judge_calls_per_group=2).score("Which?", ["good", "weak", "", ""]).rewards).all()


# --- several at once


def test_a_function_is_asked_by_several_at_once():
    """Neither call returns before the other is under way."""
    both = threading.Barrier(2, timeout=30)

    def judge(prompt, first, second):
        both.wait()
        return by_skill(prompt, first, second)

    async def scores():
        scorer = free(judge)
        return await asyncio.gather(*(scorer.score_async(q, ["good", "best"]) for q in ("One?", "Two?")))

    found = asyncio.run(scores())
    for scored in found:
        np.testing.assert_array_equal(scored.rewards, free().score("One?", ["good", "best"]).rewards)
    assert [s.group.prompt.question for s in found] == ["One?", "Two?"]


def test_a_judge_of_its_own_kind_is_asked_by_one_at_a_time():
    under_way, most = [], []

    def p_first(first, second):
        under_way.append(1)
        most.append(len(under_way))
        time.sleep(0.001)
        under_way.pop()
        return 1 / (1 + np.exp(SKILL[second] - SKILL[first]))

    async def scores():
        scorer = free(ScriptedJudge(p_first))
        return await asyncio.gather(*(scorer.score_async(str(i), TEXTS) for i in range(4)))

    assert len(asyncio.run(scores())) == 4
    assert max(most) == 1


def test_a_local_model_judges_for_several_at_once_as_for_one_after_the_other(tiny_judge_folder):
    """Two scorers on one model, two calls of each under way: the model gives them turns."""
    options = {"judge": str(tiny_judge_folder), "models": ModelPool(dtype="float32", device="cpu")}
    texts = ["w1 w2", "w3", "w4 w5 w6"]
    one, other = free(**options), Scorer(criteria="The longer one.", **options)
    assert one.evaluator.judge.model is other.evaluator.judge.model
    asked = [(scorer, question) for scorer in (one, other) for question in ("w7", "w8 w9")]
    alone = [scorer.score(question, texts).rewards.tolist() for scorer, question in asked]

    async def scores():
        return await asyncio.gather(*(scorer.score_async(question, texts) for scorer, question in asked * 5))

    assert [scored.rewards.tolist() for scored in asyncio.run(scores())] == alone * 5
    assert np.isfinite(alone).all()


def test_what_overlaps_learns_as_one_after_the_other():
    def judge(prompt, first, second):
        time.sleep(0.0005)
        return by_skill(prompt, first, second) * 0.8 + 0.15

    async def scores(scorer):
        await asyncio.gather(*(scorer.score_async("Which?", TEXTS) for _ in range(8)))

    overlapping, one_by_one = free(judge, rating="bradley_terry"), free(judge, rating="bradley_terry")
    asyncio.run(scores(overlapping))
    for _ in range(8):
        one_by_one.score("Which?", TEXTS)
    assert overlapping.state() == one_by_one.state()


def test_a_scorer_goes_on_from_a_saved_state():
    biased = lambda prompt, a, b: 0.9  # noqa: E731
    options = {"judge": biased, "rating": "bradley_terry", "judge_calls_per_group": 5}
    first, second, fresh = free(**options), free(**options), free(**options)
    first.score("One?", TEXTS)
    second.restore(first.state())
    assert second.state() == first.state() != fresh.state()
    found = [scorer.score("Two?", TEXTS).stderrs.tolist() for scorer in (first, second, fresh)]
    assert found[0] == found[1] != found[2]


def test_canaries_stand_beside_the_matches_and_in_the_state():
    scorer = Scorer(task="debate", judge=lambda prompt, a, b: float(len(a) > len(b)), canary_rate=0.5)
    scored = scorer.score(MOTION, [reply(text) for text in TEXTS])
    assert len(scored.verdicts) == 12
    assert sum(tally["n"] for tally in scorer.state()["canaries"].values()) == 3
    assert scorer.evaluator.gold


# --- judges behind a service


def answer(messages):
    sheet = read(messages)
    return sheet.answer(SKILL[sheet.texts[0]] > SKILL[sheet.texts[1]])


@pytest.fixture
def server(monkeypatch):
    with FakeOpenAI(answer=answer) as fake:
        monkeypatch.setenv("OPENAI_API_KEY", fake.key)
        monkeypatch.setenv("OPENAI_BASE_URL", fake.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield fake


def test_what_a_ledger_knows_is_not_asked_again(server, tmp_path):
    path = tmp_path / "kept" / "verdicts.sqlite"
    with free("gpt-4o", ledger=path) as scorer:
        first = scorer.score("Which?", TEXTS)
        assert len(server.replies_asked) == scorer.spent.calls == 12
    with free("gpt-4o", ledger=str(path)) as scorer:
        again = scorer.score("Which?", TEXTS)
        assert (len(server.replies_asked), scorer.spent.calls) == (12, 0)
    np.testing.assert_array_equal(again.rewards, first.rewards)
    assert first.rewards == pytest.approx([-1.5, -0.5, 0.5, 1.5], abs=0.05)
    assert not list(tmp_path.glob("*.json")), "what is spent is kept in no file"


def test_a_ledger_that_is_given_open_stays_open(server):
    with SqliteLedger(":memory:") as ledger:
        with free("gpt-4o", ledger=ledger) as scorer:
            scorer.score("Which?", ["good", "best"])
        assert sum(bill.judgements for bill in ledger.spent().values()) == 2


def test_a_budget_is_never_exceeded_and_what_was_paid_for_is_kept(server, tmp_path):
    path = tmp_path / "verdicts.sqlite"
    with free("gpt-4o", ledger=path, budget_calls=5, max_concurrency=2) as scorer:
        with pytest.raises(BudgetReached, match=r"^budget_calls 5 is reached"):
            scorer.score("Which?", TEXTS)
        assert len(server.replies_asked) == scorer.spent.calls == 5
        assert scorer.spent.tokens > 0
    with free("gpt-4o", ledger=path, budget_calls=7) as scorer:
        assert np.isfinite(scorer.score("Which?", TEXTS).rewards).all()
        assert scorer.spent.calls == 7, "five were paid for before"
        assert server.peak <= 32


def test_a_limit_in_money_needs_a_price_before_anything_is_asked(server, tmp_path):
    with pytest.raises(UserError, match=r"^budget_usd 1: the price of .*my-judge is unknown; .* with prices, or"):
        free("openai:my-judge", budget_usd=1.0)
    assert server.seen == []
    prices = tmp_path / "prices.yaml"
    prices.write_text("prices: {gpt-4o: {input: 500000, output: 0}}")
    with (
        free("gpt-4o", budget_usd=0.5, prices=prices) as scorer,
        pytest.raises(UserError, match=r"^budget_usd 0\.5 is reached"),
    ):
        scorer.score("Which?", TEXTS)
    with pytest.raises(UserError, match=r"^prices .*absent: cannot be read"):
        free("gpt-4o", prices=tmp_path / "absent")


def test_two_scorers_have_budgets_of_their_own(server):
    with free("gpt-4o", budget_calls=2) as one, free("gpt-4o", budget_calls=12) as other:
        one.score("Which?", ["good", "best"])
        other.score("Which?", TEXTS)
        assert (one.spent.calls, other.spent.calls) == (2, 12)


def test_a_shared_pool_stays_open_and_keeps_its_models(server):
    pool = ModelPool()
    with free("gpt-4o", models=pool) as one, free("gpt-4o", models=pool) as other:
        assert one.evaluator.judge.model is other.evaluator.judge.model
    assert free("gpt-4o", models=pool).score("Which?", ["good", "best"]).rewards[1] > 0
    with pytest.raises(UserError, match="budget_calls 3: the shared models have a budget of their own"):
        free("gpt-4o", models=pool, budget_calls=3)
    pool.close()


def test_calls_of_several_groups_overlap_at_a_service(server):
    async def scores(scorer):
        return await asyncio.gather(*(scorer.score_async(q, TEXTS) for q in ("One?", "Two?", "Three?")))

    with free("gpt-4o") as scorer:
        found = asyncio.run(scores(scorer))
        assert scorer.spent.calls == 36
    assert all(np.argsort(s.rewards).tolist() == [0, 1, 2, 3] for s in found)


# --- what it needs


def test_scoring_by_a_function_needs_no_torch():
    code = """
import sys
from softgrpo import Scorer
for options in ({"criteria": "c"}, {"task": "debate"}):
    with Scorer(judge=lambda prompt, a, b: 0.5, **options) as scorer:
        scorer.score("Why?", ["a", "b"])
print("torch" in sys.modules, "transformers" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.stdout, done.stderr) == ("False False\n", "")


def test_the_page_about_it_is_true():
    found = doctest.testfile(
        str(ROOT / "docs" / "scorer.md"), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert found.attempted > 5
    assert found.failed == 0


def test_criteria_hold_no_half_characters():
    judge = skill_judge(SKILL)
    free(judge).score("Which?", ["weak", "best"])
    Scorer(criteria="Half \ud83d a smile.", judge=judge).score("Which?", ["weak", "best"])
    assert judge.seen[-1].objective.criteria == "Half ? a smile."


def test_a_turn_that_only_calls_a_tool_says_nothing():
    calls = {"role": "assistant", "tool_calls": [{"type": "function"}]}
    turns = [calls, {"role": "tool", "content": "42"}, {"role": "assistant", "content": "good"}]
    assert free().score("Which?", [turns, "weak"]).group.completions[0].text.strip() == "good"


def test_a_scorer_that_was_closed_can_be_asked_again_in_a_loop():
    scorer = free()

    async def twice():
        first = await scorer.score_async("Which?", ["weak", "best"])
        scorer.close()
        return first, await scorer.score_async("Which?", ["weak", "best"])

    first, second = asyncio.run(twice())
    assert first.rewards.tolist() == second.rewards.tolist()
