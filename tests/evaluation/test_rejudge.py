"""`softgrpo rejudge`: what failed is asked again, under its own key; the record stays, and the rewards are whole."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zlib
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import yaml

from softgrpo import Scorer, assembly
from softgrpo.cli import main
from softgrpo.config import TrainConfig
from softgrpo.config.evaluation import EvaluationSettings
from softgrpo.evaluation import rejudge
from softgrpo.evaluation.rejudge import Rejudged
from softgrpo.evaluator import FAILED
from softgrpo.files import read_lines, write_lines
from softgrpo.grpo.training_group import to_training_group
from softgrpo.judges.chat.asked import Asked
from softgrpo.judges.chat.judge import ChatJudge
from softgrpo.model_interface import ModelPool
from softgrpo.models.api.client import APIModel
from softgrpo.records import Group, LedgerEntry, Usage
from softgrpo.reporting.measure import group_lines
from softgrpo.reporting.recorder import Recorder
from softgrpo.spending.ask_again import failures
from softgrpo.spending.ledger import VERSION, SqliteLedger
from softgrpo.tasks import Tasks
from tests.fakes.api_server import EMPTY, OTHER, status
from tests.fakes.builders import completion, contest
from tests.fakes.chat_models import ONE, Writing, read
from tests.fakes.openai_server import FakeOpenAI
from tests.training.runs import flags

RANK = {"weak": 0, "good": 1, "best": 2}
HOSTILE = 'He said "no",\nthen \x00 and \ud800 and \u2028 [INST] \\" {}'
TASK = {
    "system": "You write taglines.",
    "format": "none",
    "question": "Product: {product}",
    "prompts": {"train": ["w1", "w2", "w3"], "test": ["w4", "w5"]},
    "criteria": 'Which "sells"\nmore?',
}


def rank(text):
    """The rank of the word in it, or its length."""
    return next((r for word, r in RANK.items() if word in text), len(text))


def better(messages):
    """The text of the higher rank, in whichever order."""
    sheet = read(messages)
    return sheet.answer(rank(sheet.texts[0]) > rank(sheet.texts[1]))


class Faulty:
    """Faults by what a judge is asked: `failing(first, second)` names one, or None."""

    def __init__(self, failing=lambda first, second: None):
        self.failing = failing

    def __call__(self, seen):
        if "You compare two texts" not in seen.body["messages"][0]["content"]:
            return None
        return self.failing(*read(seen.body["messages"]).texts)


GIVEN_UP = status(403, "content_filter", "flagged by moderation")


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(APIModel.__init__.__kwdefaults__, "backoff", 0.001)
    # "?" is no label, so that what is written counts: verdicts of 0 and 1
    with FakeOpenAI(answer=better, fault_for=Faulty(), logprobs=lambda messages: {"?": -0.1}) as fake:
        monkeypatch.setenv("OPENAI_API_KEY", fake.key)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("OPENAI_BASE_URL", fake.url)
        yield fake


@pytest.fixture
def fails(server):
    """Sets what the server fails on; what it has been asked so far is forgotten."""

    def set_(failing=lambda first, second: None):
        server.fault_for = Faulty(failing)
        server.seen.clear()

    return set_


def pairs_asked(server):
    return sorted(read(seen.body["messages"]).texts for seen in server.replies_asked)


def written(folder, steps, **changes):
    """What a run records of these texts, each step a list of groups; the same judge as in the run."""
    if not (folder.parent / "t.yaml").exists():
        (folder.parent / "t.yaml").write_text(yaml.safe_dump(TASK))
    config = TrainConfig(
        **dict(
            model_name="embedded",
            judge_model_name="gpt-4o",
            compare_model_name="embedded",
            dataset_name="t.yaml",
            output_dir=str(folder),
            canary_rate=0.0,
        )
        | changes
    )
    tasks = Tasks.load(config.task, config.scoring_task)
    settings = EvaluationSettings.of(config)
    recorder = Recorder(folder)
    recorder.start(config, assembly.task_record(config, tasks))
    with SqliteLedger(folder / "verdicts.sqlite") as ledger, ModelPool() as pool:
        evaluator = assembly.evaluator(settings, tasks, pool, ledger)
        for step, groups in enumerate(steps, 1):
            made = [
                Group(
                    prompt=tasks.dataset.prompt(tasks.dataset.train[place]),
                    prompt_ids=(),
                    completions=tuple(completion(t) if isinstance(t, str) else t for t in texts),
                )
                for place, texts in enumerate(groups)
            ]
            scored = evaluator.score_groups(made, seed=step)
            recorder.groups(step, group_lines([to_training_group(s) for s in scored]))
    return folder


def rejudged(folder, *more):
    return main(["rejudge", "--run", str(folder), *more])


def record(folder):
    return {p: p.read_bytes() for p in sorted((folder / "groups").iterdir())}


def recorded_rewards(folder):
    lines = [line for path in sorted((folder / "groups").iterdir()) for line in read_lines(path)]
    return [[c["reward"] for c in line["completions"]] for line in lines]


def new_rewards(folder, name="win_share_rejudged"):
    return [line["rewards"] for line in read_lines(folder / "rescored" / f"{name}.jsonl")]


def lines_of(folder):
    return read_lines(folder / "rejudged.jsonl")


def test_worked_numbers(server, fails, tmp_path, capsys):
    """One order of best against good fails: that pair has no outcome, and both have won against weak alone."""
    fails(lambda first, second: GIVEN_UP if (first, second) == ("best", "good") else None)
    folder = written(tmp_path / "run", [[["best", "good", "weak"]]])
    before = record(folder)
    assert recorded_rewards(folder) == [[1.5, 1.5, -1.5]]
    fails()
    assert rejudged(folder) == 0
    assert pairs_asked(server) == [("best", "good")], "the other order was answered"
    assert new_rewards(folder) == [[1.5, 0.0, -1.5]]
    assert record(folder) == before
    (line,) = lines_of(folder)
    texts = line.pop("texts")
    assert len(texts) == 12
    assert line == {
        "step": 1, "place": 0, "prompt_id": read_lines(next(iter(before)))[0]["prompt_id"], "objective": "answer",
        "first": 0, "second": 1, "p_first": 1.0, "how": "text", "reply": line["reply"], "failure": "",
    }  # fmt: skip
    summary = json.loads((folder / "rescored" / "win_share_rejudged.json").read_text())
    assert {k: summary[k] for k in ("n_asked_again", "n_answered", "n_still_failed", "n_unjudged")} == {
        "n_asked_again": 1, "n_answered": 1, "n_still_failed": 0, "n_unjudged": 0
    }  # fmt: skip
    said = capsys.readouterr().out
    assert f"1 failed judgement of the run in {folder} will be asked again of gpt-4o" in said
    assert "1 of 1 answered, 0 without a verdict (1 calls" in said


STEPS = [[["best", "good", "weak", "w1 w2"], ["good", "w3", "best best"]], [["weak w4", "w1", "best w5"]]]


WAYS = (GIVEN_UP, OTHER, status(500), EMPTY)


def now_and_then(kinds=WAYS):
    """Every other question fails, more or less, by its texts, and in one of these ways."""

    def failing(a, b):
        drawn = zlib.crc32(f"{a}/{b}".encode())
        return kinds[drawn // 2 % len(kinds)] if drawn % 2 else None

    return failing


def failed_in(folder):
    """The texts of every recorded failure."""
    return sorted(
        (line["completions"][v["first"]]["text"], line["completions"][v["second"]]["text"])
        for path in (folder / "groups").iterdir()
        for line in read_lines(path)
        for v in line["verdicts"]
        if v["p_first"] is None and v["how"] != "undelivered"
    )


def test_the_rewards_are_those_of_a_run_in_which_nothing_failed(server, fails, tmp_path):
    whole = written(tmp_path / "whole", STEPS)
    fails(now_and_then())
    folder = written(tmp_path / "run", STEPS)
    failed, before = failed_in(folder), record(folder)
    assert len(failed) >= 8
    fails()
    assert rejudged(folder, "--max_concurrency", "2") == 0
    assert pairs_asked(server) == failed, "each once, and nothing else"
    changes = [
        abs(new - old)
        for news, olds in zip(new_rewards(folder), recorded_rewards(folder), strict=True)
        for new, old in zip(news, olds, strict=True)
        if old is not None and np.isfinite([new, old]).all()
    ]
    said = json.loads((folder / "rescored" / "win_share_rejudged.json").read_text())
    assert said["largest_change_of_a_reward"] == pytest.approx(max(changes))
    assert max(changes) > 0
    np.testing.assert_array_equal(np.concatenate(new_rewards(folder)), np.concatenate(recorded_rewards(whole)))
    assert recorded_rewards(folder) != recorded_rewards(whole)
    assert record(folder) == before
    fails()
    assert rejudged(folder) == 0
    assert server.replies_asked == [], "nothing is left"


def test_what_the_ledger_has_meanwhile_is_not_paid_again(server, fails, tmp_path, capsys):
    fails(now_and_then())
    folder = written(tmp_path / "run", STEPS)
    failed = failed_in(folder)
    fails()
    written(tmp_path / "other", STEPS)
    shutil.copy(tmp_path / "other" / "verdicts.sqlite", tmp_path / "shared.sqlite")
    fails()
    assert rejudged(folder, "--ledger", "shared.sqlite") == 0
    assert server.replies_asked == []
    assert len(lines_of(folder)) == len(failed)
    assert f"{len(failed)} of {len(failed)} answered, 0 without a verdict\n" in capsys.readouterr().out


def test_what_fails_again_is_asked_again_and_what_was_answered_stays(server, fails, tmp_path):
    fails(lambda a, b: GIVEN_UP if "weak" in (a, b) else None)
    folder = written(tmp_path / "run", [[["best", "good", "weak"]]])
    assert len(failed_in(folder)) == 4
    fails(lambda a, b: OTHER if a == "weak" else None)
    assert rejudged(folder) == 0
    assert len(server.replies_asked) == 2 + 2 * 2, "an unreadable reply is asked for once more, as ever"
    first = lines_of(folder)
    assert sum(line["p_first"] is None for line in first) == 2
    fails()
    assert rejudged(folder) == 0
    assert pairs_asked(server) == [("weak", "best"), ("weak", "good")], "with the format restated, once each"
    second = lines_of(folder)
    assert [a for a, b in zip(first, second, strict=True) if a != b] == [x for x in first if x["p_first"] is None]
    with SqliteLedger(folder / "verdicts.sqlite") as ledger:
        (bill,) = ledger.spent().values()
    assert bill.usage.requests == 6 + 6 + 2, "every call is on the bill once"


def test_votes_are_asked_again_together(server, fails, tmp_path):
    fails(lambda a, b: GIVEN_UP if (a, b) == ("best", "good") else None)
    folder = written(tmp_path / "run", [[["best", "good"]]], judge_votes=3)
    fails()
    assert rejudged(folder) == 0
    assert pairs_asked(server) == [("best", "good")] * 3
    (line,) = lines_of(folder)
    assert (line["p_first"], line["how"], line["reply"]) == (1.0, "votes", "3/3")


def test_forfeits_and_what_was_never_delivered_are_no_failures_of_a_judge(server, fails, tmp_path, capsys):
    lost = completion("", finish_reason=FAILED, n_tokens=0)
    folder = written(tmp_path / "run", [[["best", " ", lost, "weak"]]])
    fails()
    assert rejudged(folder) == 0
    assert server.replies_asked == []
    assert "has no failed judgement that is unanswered" in capsys.readouterr().out
    assert not (folder / "rejudged.jsonl").exists()


@pytest.mark.parametrize("at_once", [2, 256])
def test_a_budget_that_ends_in_the_middle_keeps_what_was_paid(server, fails, tmp_path, capsys, monkeypatch, at_once):
    whole = written(tmp_path / "whole", STEPS)
    fails(now_and_then((GIVEN_UP,)))
    folder = written(tmp_path / "run", STEPS)
    (folder / "spending.json").write_text("of the run")
    n = len(failed_in(folder))
    monkeypatch.setattr(rejudge, "MATCHES_AT_ONCE", at_once)
    fails()
    assert rejudged(folder, "--budget_calls", "5") == 1
    assert len(server.replies_asked) == 5
    assert sum(line["p_first"] is not None for line in lines_of(folder)) == 5
    said = capsys.readouterr().out
    assert (
        f"stopped: --budget_calls 5 is reached (5 spent, the next call may exceed it); raise it to go on; 5 of {n}"
        in said
    )
    assert not (folder / "rescored").exists()
    assert rejudged(folder, "--budget_calls", str(n - 5)) == 0
    assert len(server.replies_asked) == n
    np.testing.assert_array_equal(np.concatenate(new_rewards(folder)), np.concatenate(recorded_rewards(whole)))
    assert (folder / "spending.json").read_text() == "of the run"


def test_an_interrupt_keeps_what_has_come(server, fails, tmp_path, capsys, monkeypatch):
    fails(now_and_then((GIVEN_UP,)))
    folder = written(tmp_path / "run", STEPS)
    fails()
    plain, left = ChatJudge._ask, iter(range(3))

    def interrupted(self, waiting):
        if next(left, None) is None:
            raise KeyboardInterrupt
        plain(self, waiting)

    monkeypatch.setattr(ChatJudge, "_ask", interrupted)
    assert rejudged(folder) == 130
    assert len(server.replies_asked) == len(lines_of(folder)) == 3, "the probes"
    assert "interrupted: 3 of" in capsys.readouterr().out
    monkeypatch.setattr(ChatJudge, "_ask", plain)
    assert rejudged(folder) == 0
    assert len(server.replies_asked) == len(failed_in(folder)), "none twice"


def test_a_dry_run_asks_and_writes_nothing(server, fails, tmp_path, capsys, monkeypatch):
    fails(now_and_then())
    folder = written(tmp_path / "run", STEPS)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    fails()
    monkeypatch.delenv("OPENAI_API_KEY")
    assert rejudged(folder, "--dry_run") == 0
    assert server.seen == []
    n = len(failed_in(folder))
    assert f"{n} failed judgements of the run in {folder} would be asked again of gpt-4o" in capsys.readouterr().out
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_a_record_without_questions_finds_them_in_the_task(server, fails, tmp_path, capsys):
    fails(now_and_then())
    folder = written(tmp_path / "run", STEPS)
    for path in (folder / "groups").iterdir():
        lines = [{k: v for k, v in line.items() if k != "question"} for line in read_lines(path)]
        write_lines(path, lines)
    failed = failed_in(folder)
    fails()
    assert rejudged(folder) == 0
    assert pairs_asked(server) == failed
    for path in (folder / "groups").iterdir():
        write_lines(path, [{**line, "prompt_id": "gone"} for line in read_lines(path)])
    capsys.readouterr()
    assert rejudged(folder) == 2
    assert "prompt 'gone' is in the record without its question" in capsys.readouterr().err


def test_a_line_about_texts_that_are_gone_counts_for_nothing(server, fails, tmp_path):
    """The run was taken back to a checkpoint and sampled others."""
    fails(lambda a, b: GIVEN_UP if a == "best" else None)
    folder = written(tmp_path / "run", [[["best", "good", "weak"]]])
    fails()
    assert rejudged(folder) == 0
    (path,) = (folder / "groups").iterdir()
    (line,) = read_lines(path)
    line["completions"][1]["text"] = "w1"
    write_lines(path, [line])
    assert Rejudged(folder).counts() == {"n_asked_again": 1, "n_answered": 1, "n_still_failed": 0}
    fails()
    assert rejudged(folder) == 0
    assert pairs_asked(server) == [("best", "w1")]


def test_rescore_takes_it_into_account_when_told_to(server, fails, tmp_path, capsys):
    folder = written(tmp_path / "run", STEPS)
    again = ["rescore", "--run", str(folder), "--rating", "bradley_terry"]
    assert main([*again, "--rejudged"]) == 2
    assert "holds no rejudged.jsonl" in capsys.readouterr().err
    assert main(again) == 0
    fails(now_and_then((GIVEN_UP,)))
    spoilt = written(tmp_path / "spoilt", STEPS)
    fails()
    assert rejudged(spoilt) == 0
    again[2] = str(spoilt)
    assert main(again) == 0
    assert main([*again, "--rejudged"]) == 0
    assert new_rewards(spoilt, "bradley_terry_rejudged") == new_rewards(folder, "bradley_terry")
    assert new_rewards(spoilt, "bradley_terry") != new_rewards(folder, "bradley_terry")


def test_a_whole_run(server, fails, tmp_path, tiny_folder):
    """By the commands alone; the run's evaluations fail too, and are not this command's affair."""
    asked = dict(judge_model_name="gpt-4o", num_chains=12, num_train_iters=1, gradient_accumulation_steps=1)
    asked |= dict(canary_rate=0.2, prompts_per_step=2)
    assert main(["train", *flags(tmp_path / "whole", tiny_folder, tiny_folder, **asked)]) == 0
    fails(lambda a, b: GIVEN_UP if a < b else None)
    folder = tmp_path / "run"
    assert main(["train", *flags(folder, tiny_folder, tiny_folder, **asked)]) == 0
    failed, before = failed_in(folder), record(folder)
    assert failed
    fails()
    assert rejudged(folder) == 0
    assert len(server.replies_asked) <= len(failed), "the same texts twice are one question"
    assert record(folder) == before
    for mine, theirs in zip(new_rewards(folder), recorded_rewards(tmp_path / "whole"), strict=True):
        np.testing.assert_allclose(np.array(mine, float), np.array(theirs, float))


@pytest.mark.parametrize(
    "damage",
    ["{}\n", "no json\n", "[1]\n", '{"step": 1, "place": 0, "first": 0, "second": 1, "p_first": 7}\n', "\xff\n"],
)
def test_a_damaged_file_is_one_clear_line(server, fails, tmp_path, capsys, damage):
    fails(now_and_then())
    folder = written(tmp_path / "run", STEPS)
    (folder / "rejudged.jsonl").write_text(damage, encoding="latin-1")
    fails()
    for argv in (["rejudge"], ["rescore", "--rejudged"]):
        assert main([*argv, "--run", str(folder)]) == 2
        error = capsys.readouterr().err
        assert "rejudged.jsonl: holds a line that is no verdict" in error
        assert "delete the file" in error
        assert error.count("\n") == 1
    assert server.seen == []


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ("--run nowhere", "--run nowhere: holds no run"),
        ("", "--run output: holds no run"),
        ("--run run --seed 3", "--seed 3: a run has its own"),
        ("--run run --judge_model_name gpt-4o", "--judge_model_name gpt-4o: a run has its own"),
        ("--run run --device abacus", "--device abacus"),
        ("--run run --prices none.yaml", "--prices none.yaml"),
        ("--ledger none.sqlite", "--ledger none.sqlite: there is no such file"),
        ("--ledger t.yaml", "ledger t.yaml"),
        (
            "--ledger run/verdicts.sqlite --judge_model_name gpt-9",
            "--judge_model_name gpt-9: the ledger has nothing of it; it has openai:gpt-4o@http",
        ),
    ],
)
def test_wrong_input_is_one_line(server, fails, tmp_path, capsys, argv, says):
    fails(now_and_then())
    written(tmp_path / "run", STEPS)
    fails()
    capsys.readouterr()
    assert main(["rejudge", *argv.split()]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert server.seen == []
    assert not (tmp_path / "none.sqlite").exists()


@pytest.mark.parametrize("whose", ["run", "ledger"])
def test_a_missing_key_and_a_refused_one_are_one_line(server, fails, tmp_path, capsys, monkeypatch, whose):
    fails(now_and_then())
    folder = written(tmp_path / "run", STEPS)
    argv = ["rejudge", "--run", str(folder)] if whose == "run" else ["rejudge", "--ledger", "run/verdicts.sqlite"]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-0123456789")
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert "OPENAI_API_KEY" in error
    assert "sk-wrong" not in error
    if whose == "run":
        monkeypatch.delenv("OPENAI_API_KEY")
        monkeypatch.delenv("OPENAI_BASE_URL")
        assert main(argv) == 2
        assert "needs a key: set the environment variable OPENAI_API_KEY" in capsys.readouterr().err
    assert not (folder / "rejudged.jsonl").exists()


def test_a_task_that_has_changed_is_refused(server, fails, tmp_path, capsys):
    fails(now_and_then())
    folder = written(tmp_path / "run", STEPS)
    (tmp_path / "t.yaml").write_text(yaml.safe_dump({**TASK, "criteria": "Which is longer?"}))
    assert rejudged(folder) == 2
    assert "is not what it was" in capsys.readouterr().err


def test_what_is_too_long_for_a_judge_on_this_machine_is_so_again(server, tmp_path, tiny_judge_folder, capsys):
    folder = written(tmp_path / "run", [[["w1 " * 600, "w2", "w3"]]], judge_model_name=str(tiny_judge_folder))
    n = len(failed_in(folder))
    assert n == 4
    assert rejudged(folder) == 0
    assert server.seen == []
    assert "0 of 4 answered, 4 without a verdict\n" in capsys.readouterr().out
    assert [line["failure"] for line in lines_of(folder)] == ["too long for the judge's context"] * 4
    assert Rejudged(folder).counts() == {"n_asked_again": 4, "n_answered": 0, "n_still_failed": 4}


# Of a ledger.


def scored(texts, **options):
    options = {"criteria": 'The "better"\none.', "judge": "gpt-4o", "ledger": "l.sqlite"} | options
    with Scorer(**options) as scorer:
        found = scorer.score(HOSTILE, texts)
        return found, scorer.spent.calls


def rows(path="l.sqlite"):
    with closing(sqlite3.connect(path)) as file:
        return dict(file.execute("SELECT key, question FROM asked").fetchall())


TEXTS = ["good " + HOSTILE, "best " + HOSTILE, "weak"]


@pytest.mark.parametrize("options", [{}, {"votes": 3}], ids=str)
def test_the_same_scorer_afterwards_costs_nothing(server, fails, tmp_path, capsys, options):
    _, paid = scored(TEXTS, ledger="whole.sqlite", **options)
    kinds = (GIVEN_UP, OTHER, status(500))
    fails(lambda a, b: kinds[rank(a)] if rank(a) < rank(b) else None)
    spoilt, _ = scored(TEXTS, **options)
    assert len(spoilt.failures) == 3
    votes = options.get("votes", 1)
    open_ = [json.loads(q) for q in rows().values() if "restated" not in q]
    assert len(open_) == 3 * votes
    assert {q["judge"] for q in open_} == {"gpt-4o"}
    fails()
    assert main(["rejudge", "--ledger", "l.sqlite", "--dry_run"]) == 0
    assert server.seen == []
    assert main(["rejudge", "--ledger", "l.sqlite"]) == 0
    n = 3 * votes
    assert len(server.replies_asked) == n
    said = capsys.readouterr().out
    name = f"openai:gpt-4o@{server.url}"
    assert f"{n} failed judgements of the ledger l.sqlite would be asked again of {name}" in said
    assert f"{n} of {n} answered, 0 without a verdict ({n} calls" in said
    assert "more cannot be asked" not in said
    fails()
    found, spent = scored(TEXTS, **options)
    assert (spent, server.replies_asked) == (0, [])
    assert found.failures == ()
    whole, _ = scored(TEXTS, ledger="whole.sqlite", **options)
    assert found.rewards.tolist() == whole.rewards.tolist()
    assert [q for q in rows().values() if "restated" not in q] == [], "the texts are gone from it"
    assert paid == 6 * votes


def test_a_text_against_itself_and_ties_keep_their_keys(server, fails, tmp_path):
    """Nothing comes of any question; each is asked again once, under the key under which the judge looks for it."""
    fails(lambda a, b: GIVEN_UP)
    objective = replace(contest("a", "b").objective, ties=True)
    asked = [contest("same", "same", "other"), contest("same", "other", objective=objective)]

    def judge(ledger, pool, **options):
        return ChatJudge("my judge", pool.get("gpt-4o"), methods=["text"], ledger=ledger, **options)

    with SqliteLedger("l.sqlite") as ledger, ModelPool() as pool:
        judge(ledger, pool).judge(asked)
        fails()
        with ModelPool() as other:
            (again,) = failures(ledger.unanswered(), "my judge").again
            assert (len(again.questions), again.methods) == (6, ("text",))
            again.ask(other.get(again.judge), ledger, b"another")
        assert len(server.replies_asked) == 6, "what two matches share is asked once"
        known = judge(ledger, pool).recall(asked)
        assert [v is not None and v.p_first is not None for found in known for v in found] == [True] * 8
        fails()
        judge(ledger, pool).judge(asked)
        assert server.replies_asked == []


def test_what_still_fails_stays_and_a_budget_keeps_what_was_paid(server, fails, tmp_path, capsys):
    fails(lambda a, b: GIVEN_UP)
    scored(TEXTS)
    assert main(["rejudge", "--ledger", "l.sqlite"]) == 0
    assert "0 of 6 answered, 6 without a verdict" in capsys.readouterr().out
    fails()
    assert main(["rejudge", "--ledger", "l.sqlite", "--budget_calls", "2"]) == 1
    assert len(rows()) == 4
    assert "--budget_calls 2 is reached" in capsys.readouterr().out
    assert main(["rejudge", "--ledger", "l.sqlite"]) == 0
    assert len(server.replies_asked) == 6
    assert rows() == {}
    assert main(["rejudge", "--ledger", "l.sqlite"]) == 0
    assert "nobody is asked" in capsys.readouterr().out


def test_each_judge_is_asked_by_its_own_name(server, fails, tmp_path, capsys):
    fails(lambda a, b: GIVEN_UP)
    names = ["gpt-4o", f"openai:gpt-4o-mini@{server.url}"]
    for name in names:
        scored(TEXTS[:2], judge=name)
    fails()
    assert main(["rejudge", "--ledger", "l.sqlite", "--judge_model_name", names[1]]) == 0
    assert {seen.body["model"] for seen in server.replies_asked} == {"gpt-4o-mini"}
    assert len(server.replies_asked) == 2
    assert main(["rejudge", "--ledger", "l.sqlite"]) == 0
    assert [seen.body["model"] for seen in server.replies_asked[2:]] == ["gpt-4o"] * 2
    for name in names:
        assert scored(TEXTS[:2], judge=name)[1] == 0


def test_a_judge_that_is_gone_holds_up_no_other(server, fails, tmp_path, capsys):
    """And who has nothing left to be asked is no error, by whichever of its names."""
    fails(lambda a, b: GIVEN_UP)
    with FakeOpenAI(answer=better, fault_for=Faulty(lambda a, b: GIVEN_UP)) as other:
        gone = f"openai:gpt-4o-mini@{other.url}"
        for name in (gone, "gpt-4o"):
            scored(TEXTS[:2], judge=name)
    fails()
    assert main(["rejudge", "--ledger", "l.sqlite"]) == 1
    out = capsys.readouterr().out
    assert f"{gone} is left out: " in out
    assert "2 of 4 answered, 2 without a verdict" in out
    for name in ("gpt-4o", "openai:gpt-4o", f"openai:gpt-4o@{server.url}"):
        assert main(["rejudge", "--ledger", "l.sqlite", "--judge_model_name", name]) == 0
        assert "has no failed judgement that is unanswered; nobody is asked" in capsys.readouterr().out
    assert main(["rejudge", "--ledger", "l.sqlite", "--judge_model_name", gone]) == 2
    assert len(server.replies_asked) == 2


def test_a_kill_between_a_reply_that_cannot_be_read_and_the_second_keeps_the_question(tmp_path, monkeypatch):
    def write(call, sheet):
        if "could not be read" in call.chat[-1]["content"]:
            raise KeyboardInterrupt
        return "Both."

    with SqliteLedger(tmp_path / "l") as ledger:
        model = Writing(write, methods=["text"])
        model.identity = "openai:gpt-4o@http://127.0.0.1:1/v1"
        judge = ChatJudge("gpt-4o", model, ledger=ledger)
        with pytest.raises(KeyboardInterrupt):
            judge.judge([contest("good", "bad")])
        (again,) = failures(ledger.unanswered()).again
        assert {(q.first, q.second) for q in again.questions} <= {("good", "bad"), ("bad", "good")}
        assert failures(ledger.unanswered()).n_without_question == 0
        model.write = lambda call, sheet: sheet.answer("good" in sheet.texts[0])
        again.ask(model, ledger, b"secret")
        assert failures(ledger.unanswered()).n == 0
        asked = len(model.calls)
        judge.judge([contest("good", "bad")])
        assert len(model.calls) <= asked + 1, "what was never asked at all"


def earlier(path):
    """A ledger as an earlier softgrpo has left it: no table of questions."""
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("DROP TABLE asked")


def test_a_ledger_of_an_earlier_version_is_taken_over_and_its_failures_are_said(server, fails, tmp_path, capsys):
    fails(lambda a, b: (GIVEN_UP, OTHER)[rank(a)] if rank(a) < rank(b) and rank(a) < 2 else None)
    scored(TEXTS)
    earlier("l.sqlite")
    fails()
    assert main(["rejudge", "--ledger", "l.sqlite"]) == 0
    assert server.seen == []
    assert "nobody is asked\n4 more cannot be asked here, kept without their question" in capsys.readouterr().out
    _, spent = scored(TEXTS)
    assert spent == 2, "who asked them asks what never came; what could not be read twice stays"
    with closing(sqlite3.connect("l.sqlite")) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (VERSION,) == (1,)


def test_what_an_earlier_version_answers_meanwhile_is_cleared_away(server, fails, tmp_path):
    fails(lambda a, b: GIVEN_UP)
    scored(TEXTS)
    assert len(rows()) == 6
    with closing(sqlite3.connect("l.sqlite", isolation_level=None)) as file:  # it knows nothing of the second table
        file.execute("UPDATE judgements SET p_first=1.0, text='K', failure=''")
    with SqliteLedger("l.sqlite") as ledger:
        assert ledger.unanswered() == []
    assert rows() == {}


def test_other_words_and_judges_that_no_name_loads_are_said_and_skipped(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    asked = Asked(judge="m", template="1", criteria="c", question=HOSTILE, first=HOSTILE, second="b")
    known = "openai:gpt-4o@http://127.0.0.1:1/v1"
    with SqliteLedger("l.sqlite") as ledger:
        for key, judge, question in (
            ("a", known, asked),
            ("b", "fake:writing@nowhere", replace(asked, template="2")),
            ("c", "embedded:prompt#0123", None),
        ):
            kept = question and question.to_dict()
            ledger.put(key, LedgerEntry(text="", failure="503", judge=judge, usage=ONE, asked=kept))
        assert {u.key: u.asked and Asked.of(u.asked) for u in ledger.unanswered()}["a"] == asked
    assert main(["rejudge", "--ledger", "l.sqlite"]) == 0
    said = capsys.readouterr().out
    assert "1 more cannot be asked here, asked in words that are no longer in use" in said
    assert "1 more cannot be asked here, of judges that no name loads" in said
    assert "without their question" not in said, "a judge on this machine was never asked by a service"


@pytest.mark.parametrize("damage", ["no json", "[1]", '{"judge": 3}', '"text"'])
def test_a_damaged_question_is_one_clear_line(tmp_path, monkeypatch, capsys, damage):
    monkeypatch.chdir(tmp_path)
    with SqliteLedger("l.sqlite") as ledger:
        ledger.put("k", LedgerEntry(text="", failure="503", judge="openai:m@http://127.0.0.1:1/v1", asked={}))
    with closing(sqlite3.connect("l.sqlite", isolation_level=None)) as file:
        file.execute("UPDATE asked SET question=?", (damage,))
    assert main(["rejudge", "--ledger", "l.sqlite"]) == 2
    error = capsys.readouterr().err
    assert "ledger" in error
    assert error.count("\n") == 1


def test_a_question_is_kept_with_its_failure_and_leaves_with_the_verdict(tmp_path):
    failed = LedgerEntry(text="", failure="503", judge="j", usage=Usage(requests=1), asked={"first": HOSTILE})
    with SqliteLedger(tmp_path / "l") as ledger:
        ledger.put("k", failed)
        assert ledger.get(["k"])["k"] == replace(failed, asked=None)
        assert [u.asked for u in ledger.unanswered()] == [{"first": HOSTILE}]
        ledger.put("k", LedgerEntry(text="K", p_first=1.0, judge="j"))
        assert ledger.unanswered() == []
        ledger.put("k", failed)
        assert ledger.unanswered() == [], "a failure that comes late replaces no verdict"
    assert rows(tmp_path / "l") == {}


def test_a_judges_reply_that_is_no_text_is_a_failure_like_others(server, fails, tmp_path):
    server.answer = lambda messages: "K\ud800"
    found, _ = scored(TEXTS[:2])
    assert len(found.failures) == 2
    server.answer = better
    fails()
    assert main(["rejudge", "--ledger", "l.sqlite"]) == 0
    assert scored(TEXTS[:2])[0].failures == ()
