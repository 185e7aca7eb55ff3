"""TRL itself, in one process and in two: rewards of whole groups, judged once, and what TRL makes of a missing one."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from softgrpo.evaluator import Evaluator
from softgrpo.judges.callable import CallableJudge
from softgrpo.records import Group
from softgrpo.scoring_task import scoring_task
from softgrpo.spending.ledger import SqliteLedger
from softgrpo.tasks.chats import PromptReader, as_completion
from tests.conftest import build_tiny
from tests.fakes.chat_models import read
from tests.fakes.openai_server import FakeOpenAI
from tests.integrations.hosts import trl_run

RUN = Path(trl_run.__file__)
ROOT = RUN.parents[3]
G = trl_run.G


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    there = tmp_path_factory.mktemp("trl")
    build_tiny(there / "tiny")
    return there


def run(folder, name, processes, **options):
    out = folder / name
    out.mkdir()
    command = [sys.executable, str(RUN), str(out), json.dumps(options)]
    if processes > 1:
        command[1:2] = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--master_port", "0",
                        "--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0", str(RUN)]  # fmt: skip
    env = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads((out / f"rank{rank}.json").read_text()) for rank in range(processes)]


def batches(ranks):
    """Each batch of all processes together: prompts, texts, and TRL's rewards and advantages."""
    for parts in zip(*(rank["seen"] for rank in ranks), strict=True):
        assert all(part["rewards"] == pytest.approx(parts[0]["rewards"], nan_ok=True) for part in parts)
        join = lambda name: [x for part in parts for x in part[name]]  # noqa: B023, E731
        yield join("prompts"), join("completions"), np.array(parts[0]["rewards"]), np.array(join("advantages"))


def own_rewards(prompts, completions, fails):
    """What the function behind our own loop makes of the same groups."""
    task = scoring_task(None, trl_run.CRITERIA, rewards={"brief": trl_run.brief})
    evaluator = Evaluator(task, CallableJudge(trl_run.Scripted(fails)), task.weights)
    read = PromptReader(task).read
    groups = [
        Group(prompt=read(prompts[i]), prompt_ids=(), completions=tuple(map(as_completion, completions[i : i + G])))
        for i in range(0, len(prompts), G)
    ]
    return np.concatenate([scored.rewards for scored in evaluator.score_groups(groups)])


@pytest.mark.parametrize(
    ("processes", "options"),
    [
        (1, {"rows": 8, "fails": 0.0}),
        (1, {"rows": 8, "fails": 0.2, "shape": "chat"}),
        (2, {"rows": 6, "fails": 0.0, "shape": "chat"}),  # the middle group lies on both
        (2, {"rows": 6, "fails": 0.2}),
        (2, {"rows": 8, "fails": 0.2, "given": True}),
    ],
)
def test_the_rewards_of_every_group_are_those_of_our_own_loop(folder, processes, options):
    ranks = run(folder, f"{processes}_{'_'.join(map(str, options.values()))}", processes, **options)
    n_missing = 0
    for prompts, completions, rewards, advantages in batches(ranks):
        assert len(prompts) == processes * options["rows"]
        for i in range(0, len(prompts), G):
            assert all(prompts[j] == prompts[i] for j in range(i, i + G))
        assert rewards == pytest.approx(own_rewards(prompts, completions, options["fails"]), abs=1e-5, nan_ok=True)
        missing = np.isnan(rewards)
        n_missing += missing.sum()
        assert (advantages[missing] == 0).all()
        for i in range(0, len(rewards), G):
            known = rewards[i : i + G][~missing[i : i + G]]
            if len(known) > 1:  # the baseline of those that are judged is what it is without the others
                expected = (known - known.mean()) / (known.std(ddof=1) + 1e-4)
                assert advantages[i : i + G][~missing[i : i + G]] == pytest.approx(expected, abs=1e-3)
    assert (n_missing > 0) == (options["fails"] > 0)
    for rank in ranks:
        assert rank["moved"] != 0
        assert rank["names"] == ["softgrpo"]
        logged = [line for line in rank["history"] if "judge/groups" in line]
        assert [line["judge/groups"] for line in logged] == [processes * options["rows"] / G] * 3
        assert all({"judge/answer", "judge/brief", "judge/unjudged", "judge/stderr"} <= line.keys() for line in logged)
        assert (sum(line["judge/unjudged"] for line in logged) > 0) == (options["fails"] > 0)
        assert all(len(fared.split(";")) == G - 1 for fared in rank["verdicts"])
    assert (folder / f"{processes}_{'_'.join(map(str, options.values()))}" / "saved" / "config.json").exists()


def test_an_evaluation_has_groups_of_its_own_and_a_last_batch_that_is_smaller(folder):
    """Five prompts of two completions on two processes of six rows: TRL fills the last batch up from the front."""
    ranks = run(folder, "evaluation", 2, rows=6, fails=0.0, given=True, evaluate=True)
    seen = list(batches(ranks))[3:]
    assert seen
    for prompts, completions, rewards, _ in seen:
        for key, rows in groupby(range(len(prompts)), key=lambda i: prompts[i]):
            rows = list(rows)
            assert len(rows) % 2 == 0, key
            for i in rows[::2]:
                a, b = (trl_run.share(completions[j]) for j in (i, i + 1))
                p = 1 / (1 + math.exp(3 * (b - a)))
                expected = [1.5 * (2 * p - 1), 1.5 * (1 - 2 * p)]
                texts = completions[i : i + 2]
                if texts[0].strip() and texts[1].strip() and texts[0] != texts[1]:
                    parts = [e - 0.01 * len(t) for e, t in zip(expected, texts, strict=True)]
                    assert rewards[i : i + 2] == pytest.approx(parts, abs=1e-5)


def test_what_goes_wrong_in_the_judging_process_ends_all_of_them(folder):
    out = folder / "wrong"
    out.mkdir()
    script = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from tests.integrations.hosts import trl_run
class Broken:
    def score_groups(self, groups): raise RuntimeError("the judge's house burns")
trl_run.scorer = lambda fails: type("S", (), {{"for_trl": lambda self, **o: __import__("softgrpo.integrations.trl",
    fromlist=["TournamentReward"]).TournamentReward(Broken())}})()
from pathlib import Path
trl_run.main(Path({str(out)!r}), rows=6, fails=0.0)
"""
    (folder / "broken.py").write_text(script)
    env = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv_backend", "c10d",
               "--rdzv_endpoint", "127.0.0.1:0", str(folder / "broken.py")]  # fmt: skip
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "the judge's house burns" in done.stderr


def test_the_example_runs_as_it_stands(folder):
    """Two steps of eight completions: every pair in both orders is a call, and the ledger has each once."""
    here = folder / "example"
    here.mkdir()
    with FakeOpenAI(answer=lambda messages: read(messages).answer(len(messages[1]["content"]) % 2 > 0)) as server:
        command = [sys.executable, str(ROOT / "examples" / "trl_grpo.py"), "--model", str(folder / "tiny"),
                   "--judge", f"openai:gpt-4o@{server.url}", "--max_steps", "2", "--cpu"]  # fmt: skip
        env = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "OPENAI_API_KEY": server.key}
        done = subprocess.run(command, env=env, cwd=here, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    n_calls = int(done.stdout.splitlines()[-1].split()[0])
    with SqliteLedger(here / "verdicts.sqlite") as ledger:
        (bill,) = ledger.spent().values()
    assert bill.judgements == bill.usage.requests == n_calls > 50
    assert (here / "trl-lines" / "config.json").exists()
    assert "judge/answer" in done.stdout
    assert "judge/brief" in done.stdout
