"""A scorer is sent to other processes, as trainers do with what they roll out: there it is made again."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from softgrpo import Scorer
from softgrpo.model_interface import ModelPool
from softgrpo.spending.ledger import SqliteLedger
from tests.fakes.chat_models import read
from tests.fakes.openai_server import FakeOpenAI

ROOT = Path(__file__).parents[2]
TEXTS = ["Rain.", "It rained all night.", "It is wet because it rained.", ""]
JUDGE = """
def longer(prompt, first, second):
    return len(first) / (len(first) + len(second))
"""
CHILD = """
import json, multiprocessing, pickle, sys

def scored(pickled, prompt, texts):
    scorer = pickle.loads(pickled)
    group = scorer.score(prompt, texts)
    return group.rewards.tolist(), scorer.spent.calls

if __name__ == "__main__":
    pickled, prompt, texts = bytes.fromhex(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(json.dumps(pool.apply(scored, (pickled, prompt, texts))))
"""


@pytest.fixture
def judge(tmp_path, monkeypatch):
    """A function of a module, which another process finds by its name."""
    (tmp_path / "a_judge.py").write_text(JUDGE)
    (tmp_path / "child.py").write_text(CHILD)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "a_judge", raising=False)
    import a_judge

    return a_judge.longer


def in_spawned(folder, scorer, prompt, texts):
    """Rewards and calls of the same scorer in a process that shares nothing with this one."""
    command = [sys.executable, str(folder / "child.py"), pickle.dumps(scorer).hex(), prompt, json.dumps(texts)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_scores_the_same_in_a_spawned_process(judge, tmp_path):
    scorer = Scorer(criteria="Longer is better.", judge=judge, judge_calls_per_group=8, seed=3)
    rewards, _ = in_spawned(tmp_path, scorer, "Why?", TEXTS)
    np.testing.assert_array_equal(rewards, scorer.score("Why?", TEXTS).rewards)


def test_a_task_and_its_weights_go_along(judge, tmp_path):
    scorer = Scorer(task="comedy", judge=judge, weights={"tag_count": 0})
    again = pickle.loads(pickle.dumps(scorer))
    assert again.task == scorer.task
    assert again.evaluator.weights == scorer.evaluator.weights
    prompt = scorer.task.train[0].text
    rewards, _ = in_spawned(tmp_path, scorer, prompt, TEXTS)
    np.testing.assert_array_equal(rewards, scorer.score(prompt, TEXTS).rewards)


def test_what_was_learned_of_the_judge_goes_along(judge):
    def first_is_better(prompt, first, second):
        return 0.9

    scorer = Scorer(criteria="x", judge=judge)
    biased = Scorer(criteria="x", judge=first_is_better, judge_calls_per_group=3)
    for _ in range(3):
        biased.score("Why?", TEXTS)
    scorer.restore(biased.state())
    assert pickle.loads(pickle.dumps(scorer)).state() == scorer.state() != Scorer(criteria="x", judge=judge).state()


def test_a_ledger_by_its_path_is_shared_and_a_budget_is_not(judge, tmp_path, monkeypatch):
    """The judge is a local server: what this process has paid for the other one knows, and its budget is whole."""

    def answer(messages):
        sheet = read(messages)
        return sheet.answer(len(sheet.texts[0]) > len(sheet.texts[1]))

    with FakeOpenAI(answer=answer) as server:
        monkeypatch.setenv("OPENAI_API_KEY", server.key)
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with Scorer(criteria="x", judge="gpt-4o", ledger=tmp_path / "v.sqlite", budget_calls=12) as scorer:
            here = scorer.score("Why?", TEXTS[:3])
            assert scorer.spent.calls == 6
            rewards, calls = in_spawned(tmp_path, scorer, "Why?", TEXTS[:3])
            np.testing.assert_array_equal(rewards, here.rewards)
            assert calls == 0
            rewards, calls = in_spawned(tmp_path, scorer, "How?", [*TEXTS[:3], "So."])
            assert (calls, np.isfinite(rewards).all()) == (12, True)
            assert scorer.spent.calls == 6


def test_a_judge_without_a_name_stays():
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(Scorer(criteria="x", judge=lambda prompt, first, second: 0.5))


def test_a_shared_pool_stays():
    with ModelPool() as pool, pytest.raises(TypeError, match=r"a shared ModelPool stays in its process; leave models="):
        pickle.dumps(Scorer(criteria="x", judge=max, models=pool))


def test_an_open_ledger_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk")
    with SqliteLedger(tmp_path / "l.sqlite") as ledger:
        scorer = Scorer(criteria="x", judge="gpt-4o", ledger=ledger)
        with pytest.raises(TypeError, match=r"an open SqliteLedger stays in its process; give the file's path"):
            pickle.dumps(scorer)
