"""A server no one here wrote: the embedded model behind `transformers serve`, as judge and as opponent."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from softgrpo.cli import run
from softgrpo.files import read_lines
from softgrpo.judges.by_name import load_judge
from softgrpo.models import loading
from softgrpo.models.names import parse
from tests.fakes.builders import contest

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def served():
    """`openai:FOLDER@URL` of the embedded model on a port of this machine."""
    folder = loading.locate(parse("embedded"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "transformers.cli.transformers",
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    process = subprocess.Popen(command, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
                break
            except OSError:
                assert process.poll() is None, "transformers serve has ended"
                time.sleep(1)
        yield f"openai:{folder}@http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(30)


def test_judge_and_opponent_behind_a_server(served, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none-needed")
    folder = tmp_path / "run"
    flags = (
        "--model_name embedded --num_train_iters 1 --num_chains 3 --max_completion_length 64 --eval_prompts 2 "
        "--eval_iterations 1 --gradient_accumulation_steps 1 --learning_rate 1e-5 --num_shots 1"
    ).split()
    roles = ["--judge_model_name", served, "--compare_model_name", served, "--output_dir", str(folder)]
    assert run("train", [*flags, *roles]) == 0
    opponent = read_lines(folder / "evaluations" / "opponent.jsonl")
    assert len(opponent) == 2
    assert all(c["text"] and c["finish_reason"] in ("stop", "length") for o in opponent for c in o["completions"])
    verdicts = [v for line in read_lines(folder / "groups" / "step_000001.jsonl") for v in line["verdicts"]]
    asked = [v for v in verdicts if v["how"] == "text"]
    for verdict in asked:  # a 135M model seldom says one letter: what it says is counted, never guessed
        assert (verdict["p_first"] in (0, 1)) == (verdict["failure"] == "")
    evaluation = json.loads(next((folder / "evaluations").glob("step_000001.*.json")).read_text())
    assert evaluation["n_pairs"] + evaluation["n_unjudged"] == 2


def test_a_judge_behind_a_server(served, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none-needed")
    judge = load_judge(served)
    texts = ("Trams carry more people than cars do, and need less room.", "Cars are bad. Cars are bad.", "Because.")
    (verdicts,) = judge.judge([contest(*texts)])
    assert len(verdicts) == 6
    assert all((v.p_first is None) == bool(v.failure) for v in verdicts)
    assert all("one of" in v.failure for v in verdicts if v.failure), "it answers, if not always with a letter"
    assert all(v.usage.requests and v.usage.input_tokens for v in verdicts)
    assert sum(v.usage.output_tokens for v in verdicts) <= 16 * sum(v.usage.requests for v in verdicts)
    assert judge.methods.left == ["text"], "this server knows neither log-probabilities nor schemas"
