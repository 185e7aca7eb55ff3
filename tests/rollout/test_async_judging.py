"""What is sampled ahead, and what a run with a slow judge is like: never two updates behind, and resumed exactly."""

from __future__ import annotations

import itertools
import os
import re
import threading
import time

import pytest

from softgrpo import evaluator
from softgrpo.cli import run
from softgrpo.files import read_lines
from softgrpo.rollout.async_judging import AsyncJudging
from tests.fakes.builders import group
from tests.fakes.chat_models import read
from tests.fakes.openai_server import FakeOpenAI
from tests.training.runs import flags, start, steady

FORMED = "<reasoning>\nbecause\n</reasoning>\n<answer>\nw1 w2\n</answer>"


def ahead(score=lambda k, arrivals: [(k, arrivals.left)], *, staleness=1, threaded=True):
    return AsyncJudging(score, lambda: {"seen": 1}, staleness=staleness, threaded=threaded)


def give(line, k, groups):
    """Groups that were sampled before."""
    line.sample(k, len(groups), enumerate(groups))


@pytest.mark.parametrize("threaded", [False, True])
def test_on_policy_nothing_is_sampled_ahead(threaded):
    line = ahead(staleness=0, threaded=threaded)
    for k in (1, 2, 3):
        assert line.missing(k, last=3) == [k]
        give(line, k, [group(["a"])])
        judged = line.take(k)
        assert (judged.scored, judged.state) == ([(k, 1)], {"seen": 1})
        assert line.pending() == {}


def test_one_iteration_is_sampled_ahead_and_never_two():
    line = ahead()
    sampled = []
    for k in (1, 2, 3):
        new = line.missing(k, last=3)
        sampled.append(new)
        for i in new:
            give(line, i, [group(["a"])])
        line.take(k)
    assert sampled == [[1, 2], [3], []]


def test_a_service_works_while_the_next_iteration_is_sampled():
    begun, go_on = threading.Event(), threading.Event()

    def slow(k, groups):
        begun.set()
        assert go_on.wait(5)
        return [k]

    line = ahead(slow)
    give(line, 1, [])
    assert begun.wait(5), "judging began before anybody waited for it"
    go_on.set()
    assert line.take(1).scored == [1]


def test_a_group_is_judged_while_others_are_sampled():
    seen = threading.Semaphore(0)

    def judge(k, arrivals):
        found = []
        while not arrivals.complete:
            new = arrivals.take(wait=True)
            found += new
            for _ in new:
                seen.release()
        return found

    def sampled():
        groups = [group(["a"], id="0"), group(["b"], id="1")]
        for i in (1, 0):
            yield i, groups[i]
            assert seen.acquire(timeout=5), "the group was with the judge before the next one was sampled"

    line = ahead(judge, staleness=0)
    line.sample(1, 2, sampled())
    judged = line.take(1)
    assert [i for i, _ in judged.scored] == [1, 0]
    assert judged.seconds < 5


def test_the_judge_does_not_wait_for_groups_that_will_never_come():
    line = ahead(lambda k, arrivals: [arrivals.take(wait=True) for _ in range(2)], staleness=0)

    def interrupted():
        yield 1, group(["a"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        line.sample(1, 2, interrupted())
    with pytest.raises(RuntimeError, match="sampling ended"):
        line.take(1)


def test_what_the_judge_raises_is_raised_where_it_is_awaited():
    def refused(k, groups):
        raise ValueError("the key is refused")

    line = ahead(refused)
    give(line, 1, [])
    with pytest.raises(ValueError, match="refused"):
        line.take(1)


def test_what_waits_is_kept_whole_and_given_again():
    def taken(k, arrivals):
        return [group for _, group in arrivals.take(wait=True)]

    before, after = ahead(taken), ahead(taken)
    sampled = [group(["one", "two"], id="p"), group(["three", "four"], id="q")]
    give(before, 4, sampled)
    after.restore(before.pending(), lambda k: [g.prompt for g in sampled])
    assert after.missing(4, last=9) == [5]
    assert after.take(4).scored == sampled


def answer(messages):
    """The judge prefers more different words, and takes a moment."""
    if "You compare two texts" not in messages[0]["content"]:
        return FORMED
    time.sleep(0.01)
    sheet = read(messages)
    first, second = (len(set(text.split())) for text in sheet.texts)
    return sheet.answer(first > second)


def test_a_stale_run_killed_and_resumed_is_the_run_that_was_never_killed(tmp_path, tiny_folder):
    with FakeOpenAI(answer=answer) as server:
        env = os.environ | {"OPENAI_API_KEY": server.key, "OPENAI_BASE_URL": server.url, "NO_PROXY": "127.0.0.1"}
        options = dict(judge_model_name="gpt-4o", compare_model_name="gpt-4o-mini", num_train_iters=12)
        options |= dict(
            max_staleness=1,
            gradient_accumulation_steps=1,
            judge_calls_per_group=6,
            schedule="adaptive",
            canary_rate=0.4,
        )
        whole, folder = tmp_path / "whole", tmp_path / "killed"
        output, _ = (process := start(flags(whole, tiny_folder, tiny_folder, **options), env=env)).communicate()
        assert process.returncode == 0, output
        asked = [*flags(folder, tiny_folder, tiny_folder, **options), "--resume"]
        process = start(asked, env=env)
        while not (line := process.stdout.readline()).startswith("step 5/"):
            assert line or process.poll() is None
        process.kill()
        process.communicate()
        output, _ = (process := start(asked, env=env)).communicate()
        assert process.returncode == 0, output
        assert "resumed at step" in output
        assert steady(folder) == steady(whole)
        metrics = read_lines(whole / "metrics.jsonl")
        assert all(m["time_wait"] <= m["time_judge"] + 0.5 for m in metrics)
        assert any(m.get("grad_norm") for m in metrics)


def test_a_step_tells_what_was_known_after_its_groups(tmp_path, tiny_folder, monkeypatch, capsys):
    """However far the judge has come with the next iteration's groups meanwhile: here it is always ahead."""
    known, take, count = {}, AsyncJudging.take, itertools.count(1)

    def taken(self, k):
        judged = take(self, k)
        known[k] = judged.state["canaries"]
        for future in self.futures.values():
            future.result(60)
        return judged

    def fails(self, group):
        if not self.canary_rate:  # an evaluation's pairs
            return {}
        self.complaints = {**self.complaints, f"reward {next(count)}": "no such word"}
        return {}

    monkeypatch.setattr(AsyncJudging, "take", taken)
    monkeypatch.setattr(evaluator.Evaluator, "_extra", fails)
    monkeypatch.setattr(evaluator, "judged_text", lambda text, *_: f"something of {text}")
    with FakeOpenAI(answer=answer) as server:
        monkeypatch.setenv("OPENAI_API_KEY", server.key)
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        options = dict(judge_model_name="gpt-4o", compare_model_name="gpt-4o-mini", num_train_iters=5)
        options |= dict(max_staleness=1, canary_rate=0.5)
        assert run("train", flags(tmp_path / "run", tiny_folder, tiny_folder, **options)) == 0
    told = [line["n_canaries"] for line in read_lines(tmp_path / "run" / "metrics.jsonl")]
    assert told == [sum(tally["n"] for tally in known[k].values()) for k in range(1, 6)]
    assert told == sorted(set(told)), "each iteration had some"
    said = re.findall(r"^(?:reward 'reward \d|step \d(?=/))", capsys.readouterr().out, re.MULTILINE)
    assert said == [words for k in range(1, 6) for words in (f"reward 'reward {k}", f"step {k}")]
