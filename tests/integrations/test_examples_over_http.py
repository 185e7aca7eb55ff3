"""The examples for hosts that reach the scorer over HTTP, run as they stand, with stand-ins for the hosts' trainers:
each asks for rewards as its host does, and writes down what it gets."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from softgrpo import Scorer
from tests.fakes.chat_models import read
from tests.fakes.openai_server import FakeOpenAI
from tests.serving.running import serving

ROOT = Path(__file__).parents[2]
PROMPTS = ["What is 2 + 2?", "Why is the sky blue?"]
VERL = """
import asyncio, importlib, json, random, sys
asked = dict(argument.lstrip("+").split("=", 1) for argument in sys.argv[1:])
named = "reward.custom_reward_function."
module = importlib.import_module(asked[named + "path"].removeprefix("pkg://"))
function = getattr(module, asked[named + "name"])
told = named + "reward_kwargs."
given = {k.removeprefix(told): v for k, v in asked.items() if k.startswith(told)}
n = int(asked["actor_rollout_ref.rollout.n"])
samples = [(p, "so " * i + "it is") for p in PROMPTS for i in range(n)]
order = random.sample(range(len(samples)), len(samples))

async def score(i, split="train"):
    question, text = samples[i]
    extra = {"split": split, "index": i // n, "question": question, "num_turns": None, "rollout_reward_scores": {}}
    return await function(data_source="d", solution_str=text, ground_truth="4", extra_info=extra, **given)

async def run():
    validation = await score(0, "test")
    found = dict(zip(order, await asyncio.gather(*map(score, order))))
    return {"validation": validation, "train": [found[i] for i in range(len(samples))], "n": n}

print(json.dumps(asyncio.run(run())))
"""
OPENRLHF = """
import argparse, asyncio, json, random
import aiohttp
parser = argparse.ArgumentParser()
parser.add_argument("--rollout.n_samples_per_prompt", type=int)
parser.add_argument("--reward.remote_url")
asked = vars(parser.parse_known_args()[0])
n = asked["rollout.n_samples_per_prompt"]
render = "<|im_start|>user\\n{}<|im_end|>\\n<|im_start|>assistant\\n".format
samples = [(render(p), "so " * i + "it is") for p in PROMPTS for i in range(n)]
order = random.sample(range(len(samples)), len(samples))

async def score(i):
    prompt, text = samples[i]
    payload = {"query": [prompt + text + "<|im_end|>"], "prompts": [prompt], "labels": [""]}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=180)) as session:
        async with session.post(asked["reward.remote_url"], json=payload) as response:
            response.raise_for_status()
            return await response.json()

async def run():
    found = dict(zip(order, await asyncio.gather(*map(score, order))))
    return {"train": [found[i] for i in range(len(samples))], "n": n}

print(json.dumps(asyncio.run(run())))
"""


def longer(messages):
    sheet = read(messages)
    return sheet.answer(len(sheet.texts[0]) > len(sheet.texts[1]))


def expected(n):
    """Of n texts, each longer than the one before, under a judge that is as sure of the longer one as the server's."""
    sure = math.exp(-0.01)
    texts = ["so " * i + "it is" for i in range(n)]
    judge = lambda prompt, a, b: sure if len(a) > len(b) else 1 - sure  # noqa: E731
    return Scorer(criteria="c", judge=judge).score("?", texts).rewards.tolist()


def run_script(tmp_path, package, module, code):
    host = tmp_path / "host" / package / module.split(".")[0]
    host.mkdir(parents=True)
    for folder in (host, host.parent):
        (folder / "__init__.py").write_text("")
    (host / f"{module.split('.')[1]}.py").write_text(f"PROMPTS = {PROMPTS!r}\n{code}")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with FakeOpenAI(answer=longer) as judge:
        env = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": f"{tmp_path / 'host'}{os.pathsep}{ROOT}",
            "PORT": str(port),
            "JUDGE": f"openai:gpt-4o@{judge.url}",
            "OPENAI_API_KEY": judge.key,
            "NO_PROXY": "127.0.0.1",
        }
        script = ROOT / "examples" / f"{package}.sh"
        done = subprocess.run(["bash", str(script)], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "verdicts.sqlite").exists()
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_verl(tmp_path):
    found = run_script(tmp_path, "verl", "trainer.main_ppo", VERL)
    assert found["validation"] == {"score": 0.0, "judged": 0.0, "tournament": 0.0}
    assert [one["score"] for one in found["train"]] == pytest.approx(2 * expected(found["n"]))
    assert all(one["judged"] == 1 and one["tournament"] == one["score"] for one in found["train"])


def test_openrlhf(tmp_path):
    found = run_script(tmp_path, "openrlhf", "cli.train_ppo_ray", OPENRLHF)
    assert [one["rewards"] for one in found["train"]] == [[pytest.approx(r)] for r in 2 * expected(found["n"])]
    assert all(one["scores"] == one["rewards"] and one["extra_logs"]["judged"] == [1.0] for one in found["train"])


def test_nemo_gym():
    says_why = lambda prompt, a, b: 0.5 + 0.4 * (("since" in a) - ("since" in b))  # noqa: E731
    with serving(Scorer(criteria="Right and brief.", judge=says_why)) as url:
        command = [sys.executable, str(ROOT / "examples" / "nemo_gym.py"), url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[-0.6, -0.6, 1.2]\n", done.stderr
