"""`AnthropicModel` with the real SDK against a real socket."""

from __future__ import annotations

import json
import logging

import pytest

from softgrpo.errors import UserError
from softgrpo.model_interface import load_model
from softgrpo.models.api.anthropic import AnthropicModel
from softgrpo.models.api.client import APIStop
from softgrpo.models.names import parse
from softgrpo.records import Sampling
from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.api_server import CUT, DROP, EMPTY, PAGE, TRUNCATE, hang, status

KEY = "sk-right-key-0123456789"
CHAT = [{"role": "system", "content": "You judge."}, {"role": "user", "content": "Which one?"}]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def make():
    opened = []

    def build(model: dict | None = None, name: str = "claude-haiku-4-5", **server):
        fake = FakeAnthropic(**server)
        api = AnthropicModel(parse(f"anthropic:{name}@{fake.url}"), **{"backoff": 0.01, **(model or {})})
        opened.extend([api, fake])
        return fake, api

    yield build
    for each in opened:
        each.close()


def test_a_reply(make):
    fake, api = make(answer="The first.")
    (reply,) = api.ask([CHAT], max_tokens=5)
    assert (reply.text, reply.failure, reply.logprobs, reply.finish_reason) == ("The first.", "", None, "stop")
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.requests) == (4, 2, 1)
    body = fake.replies_asked[0].body
    assert body["system"] == "You judge."
    assert body["messages"] == CHAT[1:]
    assert body["max_tokens"] == 5
    assert body["temperature"] == 0.0


def test_many_at_once_in_order(make):
    fake, api = make({"max_concurrency": 4}, answer=lambda messages: messages[-1]["content"], delay=0.02)
    chats = [[{"role": "user", "content": str(i)}] for i in range(12)]
    got = api.generate(chats, Sampling(n=2, max_tokens=5))
    assert [[c.text for c in row] for row in got] == [[str(i)] * 2 for i in range(12)]
    assert 2 <= fake.peak <= 4


def test_cut_off(make):
    _, api = make(answer="one two three")
    (row,) = api.generate([CHAT], Sampling(max_tokens=2))
    assert (row[0].text, row[0].finish_reason) == ("one two", "length")


def test_json_schema(make):
    _, api = make()
    schema = {"type": "object", "properties": {"winner": {"enum": ["A", "B"]}}}
    assert json.loads(api.ask([CHAT], max_tokens=20, schema=schema)[0].text) == {"winner": "A"}


def test_passing_faults_are_tried_again(make):
    fake, api = make()
    for fault in [status(500), status(529), status(429, retry_after="0.05"), DROP, CUT, TRUNCATE, PAGE, EMPTY]:
        fake.faults.append(fault)
        reply = api.ask([CHAT], max_tokens=5)[0]
        assert (reply.text, reply.failure, reply.usage.requests) == ("Yes.", "", 2), fault


def test_no_answer_in_time_is_tried_again(make):
    _, api = make({"timeout": 0.2}, faults=[hang()])
    assert api.ask([CHAT], max_tokens=5)[0].text == "Yes."


def test_a_refused_sampling_parameter_is_learned_once(make):
    fake, api = make(refuses={"temperature"})
    api.ask([CHAT], max_tokens=5)
    api.ask([CHAT], max_tokens=5)
    assert ["temperature" in seen.body for seen in fake.replies_asked] == [True, False, False]
    assert api.refused == {"temperature"}


def test_what_is_required_is_never_left_out(make):
    fault = status(400, "invalid_request_error", "max_tokens: 99999 > 8192, which is the maximum allowed")
    fake, api = make(fault_for=lambda _: fault)
    assert "max_tokens: 99999" in api.ask([CHAT], max_tokens=99999)[0].failure
    assert len(fake.replies_asked) == 1
    assert not api.refused


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (status(401, "authentication_error", "invalid key"), "ANTHROPIC_API_KEY"),
        (status(400, "invalid_request_error", "Your credit balance is too low to use the API"), "add credit"),
        (status(404, "not_found_error", "model: claude-x"), "check the model's name"),
    ],
)
def test_a_clear_stop(make, fault, words):
    _, api = make({"max_concurrency": 1}, faults=[None, fault])
    with pytest.raises(APIStop, match=words) as stop:
        api.ask([CHAT] * 3, max_tokens=5)
    assert [reply and reply.text for reply in stop.value.replies] == ["Yes.", None, None]


def test_the_key_is_shown_nowhere(make, monkeypatch, caplog):
    wrong = "AnotherShape987654"
    monkeypatch.setenv("ANTHROPIC_API_KEY", wrong)
    caplog.set_level(logging.DEBUG)
    _, api = make()
    for call in (api.check, lambda: api.ask([CHAT], max_tokens=5)):
        with pytest.raises(APIStop) as stop:
            call()
        assert "401" in str(stop.value)
        assert wrong not in str(stop.value)
    assert wrong not in caplog.text + repr(api) + str(vars(api))


def test_check(make):
    fake, api = make(aliases=("claude-sonnet",))
    assert api.check() == []
    assert AnthropicModel(parse(f"anthropic:claude-sonnet@{fake.url}/v1")).check() == []
    with pytest.raises(UserError, match=r"'claude-haiku-4-6' is not among .* did you mean claude-haiku-4-5"):
        AnthropicModel(parse(f"anthropic:claude-haiku-4-6@{fake.url}")).check()
    fake.models["claude-haiku-4-5"] = {"lifecycle": "deprecated", "retires_at": "2027-03-01T00:00:00Z"}
    assert "2027-03-01" in api.check()[0]


def test_load_model_reads_the_address(make, monkeypatch):
    fake, _ = make()
    monkeypatch.setenv("ANTHROPIC_BASE_URL", fake.url)
    api = load_model("claude-haiku-4-5")
    assert isinstance(api, AnthropicModel)
    assert api.check() == []
    api.close()
