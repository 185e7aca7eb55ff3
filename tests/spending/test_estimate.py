"""What a run will cost: worked numbers, and what a run then asks for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from softgrpo import evaluator
from softgrpo.cli import main, run
from softgrpo.config import TrainConfig
from softgrpo.flags import parse, parser_for
from softgrpo.judges.canaries import draw_canaries
from softgrpo.spending.budget import Price, Prices
from softgrpo.spending.estimate import estimate, judge_calls, judge_calls_per_tournament, lines
from tests.fakes.builders import contest
from tests.fakes.chat_models import read
from tests.fakes.openai_server import FakeOpenAI
from tests.training.runs import flags

PRICES = Prices(known={("openai", "gpt-4o"): Price(input=2.0, output=10.0)})
PAID = dict(judge_model_name="gpt-4o", compare_model_name="embedded")


@pytest.mark.parametrize(
    ("changes", "calls"),
    [
        ({"num_chains": 4}, 12),
        ({"num_chains": 4, "judge_orders": "balanced"}, 6),
        ({"num_chains": 16, "judge_calls_per_group": 48}, 48),
        ({"num_chains": 4, "judge_calls_per_group": 48}, 12),
        ({"num_chains": 16, "schedule": "anchor"}, 30),
    ],
)
def test_the_calls_of_a_tournament(changes, calls):
    assert judge_calls_per_tournament(TrainConfig(**changes)) == calls


def test_the_calls_of_a_run():
    config = TrainConfig(
        **PAID, num_chains=4, num_train_iters=10, prompts_per_step=2, eval_iterations=4, eval_prompts=6, canary_rate=0.0
    )
    # 20 groups of 12 matches; evaluations at 0, 4, 8 and 10 of 6 pairs in both orders
    assert judge_calls(config) == 20 * 12 + 4 * 6 * 2
    both = replace(config, reasoning_weight=0.5, eval_samples=3, canary_rate=0.1)
    # an iteration of 48 matches has 2.4 canaries of two judgements: 3 at most
    assert judge_calls(both) == 2 * 20 * 12 + 10 * 3 * 2 + 4 * 6 * 3 * 2
    assert judge_calls(replace(config, judge_votes=3)) == 3 * judge_calls(config)


def test_chance_draws_no_more_canaries_than_are_counted():
    config = TrainConfig(**PAID, num_chains=4, prompts_per_step=4, num_train_iters=1, canary_rate=0.1)
    counted = judge_calls(config) - judge_calls(replace(config, canary_rate=0.0))
    # 48 matches: 2.4 canaries on average, each in both orders
    drawn = {len(draw_canaries([contest("a", "b")], [], rate=0.1, n_matches=48, seed=seed)) for seed in range(50)}
    assert (counted, drawn) == (6, {2, 3})


def test_tokens_and_cost():
    config = TrainConfig(**PAID, num_chains=4, num_train_iters=10, max_completion_length=100, canary_rate=0.0)
    (judge,) = estimate(config, PRICES).roles
    read = judge.usage.input_tokens / judge.usage.requests
    assert 2 * 100 + 100 < read < 2 * 100 + 500, "two texts, and a prompt of some hundred tokens"
    assert judge.usd == pytest.approx((judge.usage.input_tokens * 2 + judge.usage.output_tokens * 10) / 1e6)


def test_the_sentinel_is_a_role_of_its_own():
    config = TrainConfig(
        judge_model_name="embedded",
        compare_model_name="embedded",
        sentinel_judge="gpt-4o",
        num_train_iters=10,
        eval_iterations=4,
        eval_prompts=48,
        eval_samples=2,
        max_completion_length=100,
    )
    (role,) = estimate(config, PRICES).roles
    # four evaluations, of each 64 of 96 pairs in both orders
    assert (role.role, role.model, role.usage.requests) == ("sentinel", "gpt-4o", 4 * 64 * 2)
    read = role.usage.input_tokens / role.usage.requests
    assert 200 < read < 500, "two texts and a prompt without criteria"
    assert role.usd is not None
    few, many = (estimate(replace(config, sentinel_pairs=n), PRICES).calls for n in (10, 1000))
    assert (few, many) == (4 * 10 * 2, 4 * 96 * 2)
    assert estimate(replace(config, sentinel_judge="none"), PRICES).roles == ()
    both = estimate(replace(config, judge_model_name="gpt-4o-mini"), PRICES)
    assert [r.role for r in both.roles] == ["judge", "sentinel"]


def test_an_unknown_price_is_called_unknown():
    config = TrainConfig(judge_model_name="gpt-9", compare_model_name="gpt-4o", budget_usd=5.0, budget_calls=10)
    found = estimate(config, PRICES)
    assert [role.usd is None for role in found.roles] == [True, False]
    assert found.usd is None
    text = "\n".join(lines(config, found))
    assert text.count("unknown") == 3
    assert "--budget_usd 5: cannot be kept" in text
    assert "--budget_calls 10: is enough for 0% of it" in text


def test_models_on_this_machine_cost_nothing(capsys):
    assert main(["estimate", "--judge_model_name", "embedded", "--compare_model_name", "embedded"]) == 0
    assert capsys.readouterr().out == "judge and opponent run on this machine: no calls, no cost\n"


def test_the_command(capsys, tmp_path):
    prices = tmp_path / "p.yaml"
    prices.write_text("prices: {gpt-4o: {input: 1, output: 1}}")
    argv = ["estimate", "--judge_model_name", "gpt-4o", "--compare_model_name", "gpt-4o", "--num_train_iters", "5"]
    assert main([*argv, "--prices", str(prices)]) == 0
    output = capsys.readouterr().out
    head, judge, opponent, total = (line.split() for line in output.splitlines()[:4])
    assert head[:3] == ["role", "model", "calls"]
    assert (judge[0], opponent[0], total[0]) == ("judge", "opponent", "total")
    calls = [int(row[i].replace(",", "")) for row, i in ((judge, 2), (opponent, 2), (total, 1))]
    assert calls[0] + calls[1] == calls[2]
    assert main([*argv, "--prices", "absent.yaml"]) == 2


def test_a_run_asks_for_what_was_estimated(tmp_path, tiny_folder, monkeypatch, capsys):
    """All texts are formed: what is asked is what was estimated, but for a few canaries that chance did not draw."""
    monkeypatch.setattr(evaluator, "judged_text", lambda text, *_: f"something of {text}")

    def answer(messages):
        if "You compare two texts" not in messages[0]["content"]:
            return "<reasoning>r</reasoning><answer>an answer</answer>"
        sheet = read(messages)
        return sheet.answer(sheet.texts[0] > sheet.texts[1])

    with FakeOpenAI(answer=answer) as server:
        monkeypatch.setenv("OPENAI_API_KEY", server.key)
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        argv = flags(
            tmp_path / "run",
            tiny_folder,
            tiny_folder,
            judge_model_name="gpt-4o",
            compare_model_name="gpt-4o-mini",
            num_chains=6,
            num_train_iters=2,
            eval_iterations=2,
            canary_rate=0.1,
        )
        assert run("train", argv) == 0
        asked = [seen.body["model"] for seen in server.replies_asked]
    planned = estimate(parse(TrainConfig, parser_for(TrainConfig, "", ""), argv)[0])
    for role in planned.roles:
        assert asked.count(role.model) == pytest.approx(role.usage.requests, rel=0.05), role.role
        assert asked.count(role.model) <= role.usage.requests
    assert f"will be asked about {planned.roles[0].usage.requests} times" in capsys.readouterr().out
