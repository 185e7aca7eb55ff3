"""`OpenAIModel` with the real SDK against a real socket."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import math
import os
import signal
import sys
import threading
import time

import pytest

from softgrpo.errors import UserError
from softgrpo.model_interface import ModelPool
from softgrpo.models.api.attempts import Call
from softgrpo.models.api.client import NO_DECISIONS, APIStop
from softgrpo.models.api.errors import BudgetReached
from softgrpo.models.api.openai import OpenAIModel
from softgrpo.models.names import parse
from softgrpo.records import Sampling
from softgrpo.spending.budget import Budget
from tests.fakes.api_server import CUT, DROP, EMPTY, PAGE, TRUNCATE, hang, status
from tests.fakes.openai_server import FakeOpenAI

KEY = "sk-right-key-0123456789"
CHATS = [[{"role": "user", "content": f"say {i}"}] for i in range(40)]


def last_word(messages):
    return messages[-1]["content"].split()[-1]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def make():
    """A server and a model that talks to it."""
    opened = []

    def build(model: dict | None = None, name: str = "gpt-4o", **server):
        fake = FakeOpenAI(**server)
        api = OpenAIModel(parse(f"openai:{name}@{fake.url}"), **{"backoff": 0.01, **(model or {})})
        opened.extend([api, fake])
        return fake, api

    yield build
    for each in opened:
        each.close()


def ask(api, n=1, **options):
    return api.ask(CHATS[:n], **{"max_tokens": 5, **options})


def test_many_at_once_in_order_and_bounded(make):
    fake, api = make({"max_concurrency": 8}, answer=last_word, delay=0.02)
    assert [reply.text for reply in ask(api, 40)] == [str(i) for i in range(40)]
    assert 2 <= fake.peak <= 8


def test_generate_asks_n_times_with_seeds_of_their_own(make):
    fake, api = make(answer=last_word)
    got = api.generate(CHATS[:2], Sampling(n=3, temperature=0.7, max_tokens=9, prefill="<reasoning>"))
    assert [[c.text for c in row] for row in got] == [["0"] * 3, ["1"] * 3]
    bodies = [seen.body for seen in fake.replies_asked]
    assert len({body["seed"] for body in bodies}) == 6
    assert all(body["temperature"] == 0.7 and body["max_tokens"] == 9 for body in bodies)
    assert all("prefill" not in json.dumps(body) and "<reasoning>" not in json.dumps(body) for body in bodies)
    again = sorted(body["seed"] for body in bodies)
    api.generate(CHATS[:2], Sampling(n=3, temperature=0.7, max_tokens=9))
    assert sorted(seen.body["seed"] for seen in fake.replies_asked[6:]) == again


def test_cut_off_and_usage(make):
    _, api = make(answer="one two three four")
    (row,) = api.generate(CHATS[:1], Sampling(max_tokens=3))
    assert (row[0].text, row[0].finish_reason) == ("one two three", "length")
    assert (api.usage.input_tokens, api.usage.output_tokens, api.usage.requests) == (2, 3, 1)


def test_logprobs_of_the_first_token(make):
    _, api = make(answer="A", logprobs=lambda _: {"A": -0.1, "B": -2.5})
    assert ask(api)[0].logprobs == {"A": -0.1, "B": -2.5}


def test_json_schema(make):
    fake, api = make()
    schema = {"type": "object", "properties": {"winner": {"enum": ["A", "B"]}}}
    reply = ask(api, schema=schema, max_tokens=20)[0]
    assert json.loads(reply.text) == {"winner": "A"}
    assert reply.logprobs is None
    assert fake.replies_asked[0].body["response_format"]["json_schema"]["schema"] == schema


def test_passing_faults_are_tried_again(make):
    faults = [*map(status, (500, 503, 529, 429, 408)), DROP, CUT, TRUNCATE, PAGE, EMPTY]
    fake, api = make()
    for fault in faults:
        fake.faults.append(fault)
        reply = ask(api)[0]
        assert (reply.text, reply.failure, reply.usage.requests) == ("Yes.", "", 2), fault
    assert len(fake.replies_asked) == 2 * len(faults) == api.usage.requests


def test_no_answer_in_time_is_tried_again(make):
    _, api = make({"timeout": 0.2}, faults=[hang()])
    assert ask(api)[0].text == "Yes."


def test_retry_after_is_kept_and_holds_back_every_call(make):
    fake, api = make({"max_concurrency": 4}, faults=[status(429, retry_after="0.6")], delay=0.05)
    assert all(reply.text for reply in ask(api, 40))  # 0.5 s without the fault
    late = [seen.at - fake.replies_asked[0].at for seen in fake.replies_asked]
    assert not [t for t in late if 0.3 < t < 0.6]  # until 0.3: what was under way when the limit became known
    assert sum(t >= 0.6 for t in late) > 20


def test_other_faults_hold_back_nobody_else(make):
    fake, api = make({"max_concurrency": 2}, faults=[status(500, retry_after="0.5")])
    began = time.monotonic()
    assert all(reply.text for reply in ask(api, 12))
    assert sum(seen.at - began < 0.5 for seen in fake.replies_asked) == 12


def test_a_call_that_keeps_failing_is_data(make):
    _, api = make({"max_attempts": 3}, fault_for=lambda seen: status(500) if "say 1" in str(seen.body) else None)
    good, bad = ask(api, 2)
    assert good.text == "Yes."
    assert bad.text == ""
    assert bad.failure == "500 scripted fault"
    assert bad.usage.requests == 3
    (row,) = api.generate(CHATS[1:2], Sampling(n=1))
    assert (row[0].text, row[0].finish_reason) == ("", "failed")


def test_an_empty_reply_is_asked_for_once_more_only(make):
    fake, api = make(fault_for=lambda _: EMPTY)
    reply = ask(api)[0]
    assert reply.failure == "empty reply"
    assert len(fake.replies_asked) == 2
    assert reply.usage.input_tokens == 4  # both were paid


def test_a_request_that_is_wrong_in_itself_is_not_repeated(make):
    fake, api = make(fault_for=lambda _: status(400, "context_length_exceeded", "too many tokens in messages"))
    assert "too many tokens" in ask(api)[0].failure
    assert len(fake.replies_asked) == 1


def test_refused_parameters_are_learned_once(make):
    fake, api = make(answer="A", refuses={"max_tokens", "temperature", "logprobs", "seed"})
    assert all(reply.text == "A" for reply in ask(api, 20))
    assert api.refused >= {"max_tokens", "temperature", "logprobs"}
    n = len(fake.replies_asked)
    assert n <= 20 + 3 * 16  # at most one refusal for each call in flight
    ask(api, 20)
    assert len(fake.replies_asked) == n + 20
    assert set(fake.replies_asked[-1].body) == {"model", "messages", "max_completion_tokens"}


def test_the_limit_is_learned_the_other_way_round(make, monkeypatch):
    monkeypatch.setattr(OpenAIModel, "_host", "api.openai.com")
    fake, api = make(refuses={"max_completion_tokens"})
    assert ask(api)[0].text == "Yes."
    assert ["max_completion_tokens" in seen.body for seen in fake.replies_asked] == [True, False]


def test_fewer_logprobs_where_the_server_gives_fewer(make):
    fake, api = make(most_logprobs=5, logprobs=lambda _: {"A": -0.1})
    assert ask(api)[0].logprobs == {"A": -0.1}
    assert [seen.body["top_logprobs"] for seen in fake.replies_asked] == [20, 5]


def test_a_limit_that_is_too_large_is_not_learned(make):
    fault = status(400, "", "max_tokens is too large: 99999. This model supports at most 16384 tokens")
    fake, api = make(fault_for=lambda _: fault)
    assert "too large" in ask(api)[0].failure
    assert not api.refused
    assert len(fake.replies_asked) == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (status(401, "invalid_api_key", "wrong"), "OPENAI_API_KEY"),
        (status(429, "insufficient_quota", "You exceeded your current quota"), "add credit"),
        (status(402, "", "Insufficient credits"), "add credit"),
        (status(404, "model_not_found", "no such model"), "check the model's name"),
        (status(429, "", "daily limit", retry_after="86400"), "run again in 86400 s"),
    ],
)
def test_a_clear_stop_keeps_what_was_answered(make, fault, words):
    fake, api = make({"max_concurrency": 1}, faults=[None, None, fault])
    with pytest.raises(APIStop, match=words) as stop:
        ask(api, 10)
    assert isinstance(stop.value, UserError)
    assert "\n" not in str(stop.value)
    assert [reply and reply.text for reply in stop.value.replies] == ["Yes.", "Yes."] + [None] * 8
    assert len(fake.replies_asked) == 3


def test_the_key_is_shown_nowhere(make, monkeypatch, caplog):
    wrong = "sk-another-key-that-is-wrong"
    monkeypatch.setenv("OPENAI_API_KEY", wrong)
    caplog.set_level(logging.DEBUG)
    fake, api = make(faults=[None, None, status(500, "", f"echo {wrong}")])
    for call in (api.check, lambda: ask(api)):
        with pytest.raises(APIStop) as stop:
            call()
        assert "401" in str(stop.value)
        assert wrong not in str(stop.value) + repr(stop.value)
        assert stop.value.__cause__ is None
    assert wrong not in caplog.text
    assert wrong not in repr(api)
    assert wrong not in str(vars(api))
    assert any(wrong in seen.headers["authorization"] for seen in fake.seen)


def test_a_failure_does_not_repeat_a_key(make):
    _, api = make({"max_attempts": 1}, faults=[status(500, "", f"echo {KEY}")])
    assert ask(api)[0].failure == "500 echo ***"


def test_check(make):
    fake, api = make()
    assert ["2027-01-14" in line for line in api.check()] == [True]
    fake.models["gpt-9"] = {"shutdown_date": "2030-02-03"}
    assert "2030-02-03" in OpenAIModel(parse(f"openai:gpt-9@{fake.url}")).check()[0]
    assert not fake.replies_asked  # nothing is paid for
    with pytest.raises(UserError, match=r"'gpt-4p' is not among the 3 models .* did you mean gpt-4o"):
        OpenAIModel(parse(f"openai:gpt-4p@{fake.url}")).check()


def test_a_service_is_not_asked_for_what_it_does_not_list(make, monkeypatch):
    fake, api = make(name="gpt-4p")
    monkeypatch.setattr(api, "provider", dataclasses.replace(api.provider, base_url=fake.url))
    with pytest.raises(UserError, match="did you mean gpt-4o"):
        api.check()
    assert not fake.replies_asked


def test_check_asks_a_server_that_lists_nothing(make):
    fake, api = make(lists_models=False)
    assert len(api.check()) == 1 == len(fake.replies_asked)
    fake.key = "sk-another"
    with pytest.raises(UserError, match="OPENAI_API_KEY"):
        api.check()


def test_what_a_check_asks_is_within_the_budget(make):
    fake, api = make(name="gpt-9")  # a server of one's own, which lists another
    api.budget = Budget(calls=0)
    with pytest.raises(BudgetReached, match="--budget_calls 0 is reached"):
        api.check()
    assert not fake.replies_asked
    fake, api = make(lists_models=False, faults=[status(500), None])
    api.budget = Budget(calls=5)
    api.check()
    assert api.budget.spent.calls == len(fake.replies_asked) == 2


def test_check_of_a_server_that_fails_or_is_not_there(make):
    fake, api = make(name="m", lists_models=False, fault_for=lambda _: status(400, "", "no template"))
    with pytest.raises(UserError, match="it does not answer: 400 no template"):
        api.check()
    fake.close()
    with pytest.raises(UserError, match=r"does not answer .*; start the server") as error:
        OpenAIModel(parse(f"openai:m@{fake.url}"), backoff=0.01).check()
    assert "\n" not in str(error.value)


def test_names_that_servers_spell_their_own_way(make, monkeypatch):
    fake, _ = make(models=("llama3:latest", "models/gemini-x"))
    for variable in ("OLLAMA_API_KEY", "GEMINI_API_KEY", "LLAMA_API_KEY"):
        monkeypatch.setenv(variable, KEY)
    assert OpenAIModel(parse(f"ollama:llama3@{fake.url}")).check() == []
    assert OpenAIModel(parse(f"gemini:gemini-x@{fake.url}")).check() == []
    monkeypatch.setattr(FakeOpenAI, "_chat", lambda self, body: {"choices": [{"message": {"content": "Hi"}}]})
    assert "lists only gemini-x, llama3" in OpenAIModel(parse(f"llamacpp:any@{fake.url}")).check()[0]


def test_under_a_running_loop_and_from_threads(make):
    _, api = make(answer=last_word)

    async def caller():
        return [reply.text for reply in ask(api, 3)]

    assert asyncio.run(caller()) == ["0", "1", "2"]
    found = []
    threads = [threading.Thread(target=lambda: found.append([r.text for r in ask(api, 9)])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[str(i) for i in range(9)]] * 4


@pytest.fixture
def interruptible():
    """Ctrl-C raises, also where the suite was started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_stops_promptly(make, interruptible):
    fake, api = make({"max_concurrency": 2}, fault_for=lambda _: hang(20))
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        ask(api, 20)
    assert time.monotonic() - began < 2
    time.sleep(0.1)
    assert len(fake.replies_asked) == 2  # the others were never sent
    fake.fault_for = None
    assert ask(api)[0].text == "Yes."


def test_a_missing_sdk_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(UserError, match=r"pip install 'softgrpo\[openai\]'"):
        OpenAIModel(parse("gpt-4o"))


def test_a_pool_shares_one_model_and_reads_the_address(make, monkeypatch):
    fake, _ = make()
    monkeypatch.setenv("OPENAI_BASE_URL", fake.url)
    models = ModelPool(max_concurrency=3)
    api = models.get("gpt-4o-mini")
    assert isinstance(api, OpenAIModel)
    assert api is models.get("openai:gpt-4o-mini")
    assert (api.name, api.max_concurrency) == ("gpt-4o-mini", 3)
    assert ask(api)[0].text == "Yes."
    models.close()
    assert ask(api)[0].text == "Yes.", "asked again, it opens new connections"
    models.close()


def test_decisions(make):
    fake, api = make(decides=lambda messages, choices: dict(zip(choices, (0.8, 0.2), strict=True)))
    chat = [{"role": "system", "content": "Judge."}, {"role": "user", "content": "K or T?"}]
    (reply,) = api.run([Call(chat=chat, max_tokens=9, temperature=0.0, choices=("K", "T"))])
    assert (reply.text, reply.failure, reply.usage.input_tokens, reply.usage.requests) == ("K", "", 4, 1)
    assert reply.logprobs == pytest.approx({"K": math.log(0.8), "T": math.log(0.2)})
    assert fake.replies_asked[0].path == "/v1/decisions"
    assert fake.replies_asked[0].body["input"] == chat


def test_a_service_without_decisions_goes_on(make):
    _, api = make()
    call = Call(chat=CHATS[0], max_tokens=9, temperature=0.0, choices=("K", "T"))
    replies = api.run([call, Call(chat=CHATS[0], max_tokens=9, temperature=0.0)])
    assert replies[0].failure.startswith(NO_DECISIONS)
    assert replies[1].text == "Yes."


def test_only_openai_itself_is_asked_for_decisions(make, monkeypatch):
    _, api = make()
    assert api.methods == ("logprobs", "json", "text")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert OpenAIModel(parse("gpt-4o")).methods[0] == "decisions"
    monkeypatch.delattr("openai.AsyncOpenAI.decisions")
    assert "decisions" not in OpenAIModel(parse("gpt-4o")).methods
