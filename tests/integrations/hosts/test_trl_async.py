"""TRL's asynchronous rollout worker in its spawned process: whole groups, several before the judge at once."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from accelerate import PartialState
from datasets import Dataset
from transformers import AutoTokenizer
from trl.chat_template_utils import qwen3_chat_template
from trl.experimental.async_grpo import async_rollout_worker

from softgrpo import Scorer, UserError
from softgrpo.integrations.trl_async import judge_side_by_side
from tests.conftest import build_tiny
from tests.integrations.hosts.trl_run import Scripted, share

G, GROUPS, SECONDS = 4, 6, 2.0


class Slow(Scripted):
    """Takes its time over the first match of each group, and notes when it began."""

    def __init__(self, path, fails=0.0):
        super().__init__(fails)
        self.path, self.heard = str(path), set()

    def __call__(self, prompt, first, second):
        if prompt not in self.heard:
            self.heard.add(prompt)
            with open(self.path, "a") as file:
                file.write(f"{time.time()}\n")
            time.sleep(SECONDS)
        return super().__call__(prompt, first, second)


class Handler(BaseHTTPRequestHandler):
    """As much of a vLLM server as the worker asks for: a few tokens, which follow from the prompt and a count."""

    protocol_version = "HTTP/1.1"
    count = 0

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            Handler.count += 1
            number = Handler.count
        tokens = [6 + int(40 * share(str(asked["prompt"]), str(number), str(i))) for i in range(4)]
        body = json.dumps({"choices": [{"token_ids": [*tokens, 1], "logprobs": {"token_logprobs": [-1.0] * 5}}]})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    there = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    there.lock = threading.Lock()
    threading.Thread(target=there.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{there.server_port}"
    there.shutdown()


def run(server, tmp_path, monkeypatch, fails):
    PartialState()  # as the trainer does, before its worker logs
    monkeypatch.setattr(async_rollout_worker, "is_vllm_available", lambda: True)  # there is none to import here
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    prompts = [[{"role": "user", "content": f"w{i}"}] for i in range(GROUPS)]
    tokenizer = AutoTokenizer.from_pretrained(build_tiny(tmp_path / "tiny"))
    tokenizer.chat_template = qwen3_chat_template  # one whose replies TRL can take apart
    reward = Scorer(criteria="The better text.", judge=Slow(tmp_path / "began", fails)).for_trl(asynchronous=True)
    worker = async_rollout_worker.AsyncRolloutWorker(
        model_name="tiny",
        dataset=Dataset.from_list([{"prompt": p, "number": i} for i, p in enumerate(prompts)]),
        reward_funcs=[reward],
        processing_class=tokenizer,
        eos_token_ids=[1],
        num_generations=G,
        max_inflight_tasks=G * GROUPS,
        vllm_server_url=server,
        max_tokens=5,
    )
    trainer = SimpleNamespace(rollout_worker=worker, accelerator=SimpleNamespace(is_main_process=True))
    judge_side_by_side(trainer, groups_at_once=GROUPS)
    worker.start()
    try:
        samples = [worker.rollout_buffer.get(timeout=60) for _ in range(G * GROUPS)]
        worker.check_health(60)
    finally:
        worker.stop()
    began = [float(line) for line in (tmp_path / "began").read_text().split()][:GROUPS]
    return samples, max(began) - min(began)


@pytest.mark.parametrize("fails", [0.0, 0.3])
def test_groups_are_judged_side_by_side_and_right(server, tmp_path, monkeypatch, fails):
    samples, spread = run(server, tmp_path, monkeypatch, fails)
    assert spread < 3 * SECONDS, "one after the other they begin ten seconds apart"
    groups = defaultdict(list)
    for sample in samples:
        groups[sample.group_id].append(sample)
    n_missing = 0
    for group in groups.values():
        assert len(group) == G
        texts = [[m["content"] for m in s.completion][-1] for s in group]
        scored = Scorer(criteria="The better text.", judge=Scripted(fails)).score(group[0].prompt, texts)
        known = np.isfinite(scored.rewards)
        n_missing += (~known).sum()
        advantages = np.array([s.advantage for s in group])
        assert (advantages[~known] == 0).all()
        if known.sum() > 1:
            r = scored.rewards[known]
            assert advantages[known] == pytest.approx((r - r.mean()) / (r.std() + 1e-8), abs=1e-4)
    assert (n_missing > 0) == (fails > 0)


def test_another_worker_is_refused():
    own = SimpleNamespace(rollout_worker=object(), accelerator=SimpleNamespace(is_main_process=True))
    with pytest.raises(UserError, match="rollout_worker is a object; only TRL's own"):
        judge_side_by_side(own)
    judge_side_by_side(SimpleNamespace(rollout_worker=None, accelerator=SimpleNamespace(is_main_process=False)))
