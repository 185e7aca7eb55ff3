"""verifiers itself: real episodes against a local server, whose attempts meet in a tournament."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import itertools
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import httpx
import numpy as np
import pytest
import verifiers.v1 as vf

import softgrpo
from softgrpo import Scorer, UserError
from softgrpo.integrations.groups import neutral_rewards
from softgrpo.integrations.verifiers import TournamentEnv, TournamentEnvConfig, asked
from tests.fakes.api_server import status
from tests.fakes.chat_models import read
from tests.fakes.openai_server import FakeOpenAI

ROOT = Path(__file__).parents[3]
ANSWERS = ["Rain.", "It rained all night.", "It is wet because it rained.", "Wet because because."]


class OneReply(vf.Harness[vf.HarnessConfig]):
    """One model call without a program, which verifiers allows as long as it goes through its interception."""

    APPENDS_SYSTEM_PROMPT, EXECUTES_CODE, NEEDS_CONTAINER = True, False, False

    async def launch(self, ctx, trace, runtime, endpoint, secret, mcp_urls, data):
        system, prompt = self.resolve_prompt(data)
        chat = [vf.UserMessage(content=prompt)] if isinstance(prompt, str) else prompt
        turns = [{"role": m.role, "content": m.content} for m in chat]
        messages = [*([{"role": "system", "content": system}] if system else []), *turns]
        async with httpx.AsyncClient() as client:
            answer = await client.post(
                f"{endpoint}/chat/completions",
                json={"model": ctx.model, "messages": messages},
                headers={"Authorization": f"Bearer {secret}"},
            )
        return vf.ProgramResult(exit_code=int(answer.status_code != 200), stdout="", stderr=answer.text)


class Rows(vf.Taskset[vf.Task, vf.TasksetConfig]):
    """One row of each shape."""

    def load(self):
        yield vf.Task(vf.TaskData(prompt="Why is it wet?"))
        chat = [vf.UserMessage(content="Hi"), vf.AssistantMessage(content="Yes?"), vf.UserMessage(content="Why?")]
        yield vf.Task(vf.TaskData(prompt=chat, system_prompt="Be brief."))
        yield vf.Task(vf.TaskData())


def longer(prompt, first, second):
    return len(first) / (len(first) + len(second))


def scorer(judge=longer):
    return Scorer(criteria="Longer is better.", judge=judge)


@pytest.fixture(autouse=True)
def plugins(monkeypatch):
    """Modules as a user's would be found: a harness, a taskset, and the two lines of the adapter's page."""
    for name, exported in (("one_reply", OneReply), ("rows", Rows), ("tournament", TournamentEnv)):
        module = types.ModuleType(name)
        module.__all__ = [exported.__name__]
        setattr(module, exported.__name__, exported)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    monkeypatch.setenv("FAKE_KEY", "sk-right-key-0123456789")


@pytest.fixture
def server():
    texts = itertools.cycle(ANSWERS)
    with FakeOpenAI(answer=lambda messages: next(texts)) as server:
        yield server


def environment(make=scorer, **settings):
    """The environment as verifiers loads it from a configuration; `make` in place of what the configuration says."""
    config = vf.resolve_env_config(
        {
            "id": "tournament",
            "taskset": {"id": "rows"},
            "n": 4,
            "agent": {"harness": {"id": "one-reply"}, "runtime": {"type": "subprocess"}},
            **settings,
        }
    )
    env = vf.load_environment(config)
    if make is not None:
        env.make_scorer = make
    return env


def played(env, server, row=0):
    """One whole episode by verifiers' own machinery."""
    client = vf.EvalClientConfig(base_url=server.url, api_key_var="FAKE_KEY")

    async def play():
        async with env.serving():
            (slot,) = env.slots(list(env.taskset)[row])
            return await env.run_slot(slot, vf.ModelContext(model="gpt-4o-mini", client=client))

    return asyncio.run(play())


def recorded(episode):
    return [trace.rewards["tournament"].score for trace in episode.traces]


def test_the_rewards_are_those_of_the_scorer_itself(server):
    episode = played(environment(), server)
    assert episode.ok, episode.errors
    replies = [trace.last_reply for trace in episode.traces]
    assert sorted(replies) == sorted(ANSWERS)
    direct = scorer().score("Why is it wet?", replies)
    assert recorded(episode) == direct.rewards.tolist()
    assert [t.reward for t in episode.traces] == direct.rewards.tolist()
    for trace, part, stderr in zip(episode.traces, direct.reward_parts["answer"], direct.stderrs, strict=True):
        assert trace.metrics == {"tournament_judged": 1, "tournament_answer": part, "tournament_stderr": stderr}


def test_a_weight_beside_the_tasks_own(server):
    episode = played(environment(weight=0.5), server)
    direct = scorer().score("Why is it wet?", [t.last_reply for t in episode.traces])
    assert [t.reward for t in episode.traces] == (direct.rewards / 2).tolist()


def test_the_judge_is_told_what_the_agents_are_asked(server):
    told = []
    env = environment(lambda: scorer(lambda prompt, first, second: told.append(prompt) or 0.5))
    assert played(env, server, row=1).ok
    assert [m["content"] for m in server.seen[-1].body["messages"]] == ["Be brief.", "Hi", "Yes?", "Why?"]
    assert set(told) == {"user: Hi\n\nassistant: Yes?\n\nuser: Why?"}


def test_a_fifth_of_the_judgements_fails(server):
    """Over some judges: an attempt without a reward has the mean of the others, and says so."""
    missing = 0
    for seed in range(25):

        def judge(prompt, first, second, seed=seed):
            pair = "|".join(sorted((first, second)))
            return None if np.random.default_rng([seed, *pair.encode()]).random() < 0.2 else longer("", first, second)

        episode = played(environment(lambda judge=judge: scorer(judge)), server)
        direct = scorer(judge).score("Why is it wet?", [t.last_reply for t in episode.traces])
        known = np.isfinite(direct.rewards)
        missing += (~known).sum()
        if not known.any():
            assert not episode.ok
            continue
        assert recorded(episode) == neutral_rewards(direct)
        assert [t.metrics["tournament_judged"] for t in episode.traces] == known.tolist()
        advantages = np.array(recorded(episode)) - np.mean(recorded(episode))
        assert np.abs(advantages[~known]).max(initial=0) < 1e-12
        assert advantages[known] == pytest.approx(direct.rewards[known] - direct.rewards[known].mean())
    assert missing


def test_where_nobody_was_judged_the_episode_fails_and_nothing_is_recorded(server):
    episode = played(environment(lambda: scorer(lambda *_: None)), server)
    assert not episode.ok
    (error,) = episode.errors
    assert error.type == "EnvError"
    assert "none of 4 attempts could be judged (the judge gave no verdict); nothing is recorded" in error.message
    assert all(not trace.rewards and not trace.metrics for trace in episode.traces)


def test_verifiers_own_retry_plays_it_again(server):
    asked_of = itertools.count()
    judge = lambda prompt, first, second: None if next(asked_of) < 12 else longer("", first, second)  # noqa: E731
    episode = played(environment(lambda: scorer(judge), retries={"max_retries": 1}), server)
    assert episode.ok
    assert len(server.replies_asked) == 8
    assert sorted(recorded(episode)) == pytest.approx(sorted(scorer().score("Why?", ANSWERS).rewards))


def test_an_attempt_that_failed_was_not_delivered(server):
    server.faults.extend([None, status(400, "invalid_value", "no")])
    episode = played(environment(), server)
    assert [t.ok for t in episode.traces] == [True, False, True, True]
    replies = [t.last_reply if t.ok else None for t in episode.traces]
    direct = scorer().score("Why is it wet?", replies)
    assert np.isnan(direct.rewards).tolist() == [False, True, False, False]
    assert recorded(episode) == neutral_rewards(direct)
    assert [t.metrics["tournament_judged"] for t in episode.traces] == [1, 0, 1, 1]
    assert not episode.ok, "as verifiers has it for an episode with a failed attempt"


def test_a_prompt_that_is_none(server):
    episode = played(environment(), server, row=2)
    assert "the task has no prompt, and a judge must know what was asked" in episode.last_error.message
    with pytest.raises(UserError, match="no prompt"):
        asked(vf.TaskData())


def test_what_the_tasksets_own_fields_say_reaches_rewards_from_code():
    class Debate(vf.TaskData):
        side: str = "PRO"

    row = asked(Debate(prompt="Why?", id="q1"))
    assert row == {"side": "PRO", "id": "q1", "messages": row["messages"]}
    sided = Scorer(criteria="x", judge=longer, rewards={"sided": lambda p, c: float(p.meta["side"] == "PRO")})
    assert sided.score(row, ["a", "b"]).reward_parts["sided"].tolist() == [1, 1]
    assert sided.score(row, ["a", "b"]).group.prompt.id == "q1"


def test_a_scorer_for_all_episodes_which_is_closed_at_the_end(server):
    made, closed = [], []

    def make():
        made.append(scorer())
        made[-1].close = lambda: closed.append(True)
        return made[-1]

    env = environment(make)
    client = vf.EvalClientConfig(base_url=server.url, api_key_var="FAKE_KEY")

    async def play():
        async with env.serving():
            ctx = vf.ModelContext(model="gpt-4o-mini", client=client)
            task = next(iter(env.taskset))
            return await asyncio.gather(*(env.run_slot(slot, ctx) for slot in env.slots(task, 3)))

    assert all(episode.ok for episode in asyncio.run(play()))
    assert (len(made), closed) == (1, [True])


def test_a_scorer_that_cannot_be_is_said_before_an_attempt(server):
    with pytest.raises(UserError, match=r"exactly one of task=\.\.\. and criteria"):
        played(environment(None), server)
    assert not server.seen


def test_the_configuration_names_the_arguments_of_a_scorer():
    config = environment(None, scorer={"criteria": "Longer.", "judge": "embedded", "format": "none"}).config
    assert isinstance(config, TournamentEnvConfig)
    assert config.scorer.criteria == "Longer."
    theirs = inspect.signature(softgrpo.Scorer.__init__).parameters
    for name, field in type(config.scorer).model_fields.items():
        default = theirs[name].default
        assert field.get_default(call_default_factory=True) == ({} if name == "weights" else default)
    with pytest.raises(ValueError, match="greater than or equal to 2"):
        environment(None, n=1)


def test_a_judge_by_name_from_the_configuration(server, monkeypatch, tmp_path):
    """The local server is policy and judge; as a judge it reads its prompt as it is specified."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", server.key)
    texts = itertools.cycle(ANSWERS)

    def answer(messages):
        if len(messages) == 1:
            return next(texts)
        sheet = read(messages)
        return sheet.answer(sheet.texts[0] > sheet.texts[1])

    server.answer = answer
    settings = {"criteria": "Longer.", "judge": "gpt-4o", "ledger": str(tmp_path / "v.sqlite"), "budget_calls": 12}
    env = environment(None, scorer=settings)
    episode = played(env, server)
    assert episode.ok, episode.errors
    ranked = sorted(episode.traces, key=lambda t: t.last_reply)
    assert [t.reward for t in ranked] == pytest.approx([-1.5, -0.5, 0.5, 1.5], abs=0.05)
    assert len(server.replies_asked) == 4 + 12
    assert (tmp_path / "v.sqlite").exists()


def test_the_example_as_it_stands(server):
    example = importlib.import_module("verifiers_env")
    agent = {"harness": {"id": "one-reply"}, "runtime": {"type": "subprocess"}}
    config = vf.resolve_env_config({"taskset": {"id": "verifiers-env"}, "n": 4, "agent": agent})
    env = vf.load_environment(config)
    assert type(env) is example.Tournament
    episode = played(env, server)
    assert episode.ok, episode.errors
    direct = Scorer(criteria="The better answer gives reasons.", judge=example.gives_reasons)
    replies = [t.last_reply for t in episode.traces]
    assert recorded(episode) == direct.score("Why is the sky blue?", replies).rewards.tolist()
    best = max(episode.traces, key=lambda t: t.reward)
    assert best.last_reply == "Wet because because."


def test_from_the_command_line(tmp_path):
    """What the adapter's page says to write and to call, up to the first model call."""
    two_lines = 'from softgrpo.integrations.verifiers import TournamentEnv\n__all__ = ["TournamentEnv"]\n'
    (tmp_path / "tournament.py").write_text(two_lines)
    flags = "verifiers-env --env.id tournament --env.n 3 --env.scorer.judge gpt-4o --env.scorer.budget-usd 2"
    flags += " --env.agent.harness.id null --env.agent.runtime.type subprocess --dry-run --no-push --run.name dry"
    command = "from verifiers.v1.cli.eval.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, *flags.split(), "--env.scorer.criteria", "The better reason."],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "examples"), str(tmp_path)])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (written,) = tmp_path.rglob("eval.json")
    env = json.loads(written.read_text())["env"]
    assert (env["id"], env["n"], env["taskset"]["id"]) == ("tournament", 3, "verifiers-env")
    assert env["scorer"]["criteria"] == "The better reason."
    assert (env["scorer"]["judge"], env["scorer"]["budget_usd"]) == ("gpt-4o", 2.0)


def test_no_torch():
    script = "import sys, softgrpo.integrations.verifiers, softgrpo.scorer; print('torch' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout == "False\n", done.stderr
