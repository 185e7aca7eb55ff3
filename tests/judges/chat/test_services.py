"""An API judge with the real SDKs against real sockets: the best way to ask is found, whatever the service refuses."""

from __future__ import annotations

import json
import math

import pytest

from softgrpo.judges.chat.judge import ChatJudge
from softgrpo.models.api.anthropic import AnthropicModel
from softgrpo.models.api.openai import OpenAIModel
from softgrpo.models.names import parse
from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.builders import contest
from tests.fakes.chat_models import DictLedger, read
from tests.fakes.openai_server import FakeOpenAI

TEXTS = ("good", "bad", "ugly")


@pytest.fixture
def services(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    opened = []

    def serve(kind, **options):
        fake = kind(**options)
        variable, build = {
            FakeOpenAI: ("OPENAI_API_KEY", lambda: OpenAIModel(parse(f"openai:gpt-4o@{fake.url}"), backoff=0.01)),
            FakeAnthropic: (
                "ANTHROPIC_API_KEY",
                lambda: AnthropicModel(parse(f"anthropic:claude-haiku-4-5@{fake.url}"), backoff=0.01),
            ),
        }[kind]
        monkeypatch.setenv(variable, fake.key)
        model = build()
        opened.extend([model, fake])
        return fake, model

    yield serve
    for each in opened:
        each.close()


def better(messages):
    sheet = read(messages)
    return sheet.answer("good" in sheet.texts[0])


def weighed(messages):
    sheet = read(messages)
    return {sheet.answer("good" in sheet.texts[0]): math.log(0.9), sheet.answer("good" not in sheet.texts[0]): -3.0}


def judged(model, **options):
    judge = ChatJudge("api", model, **options)
    (verdicts,) = judge.judge([contest(*TEXTS)])
    won = {(v.match.first, v.match.second): v.p_first for v in verdicts}
    assert won[0, 1] > 0.5 > won[1, 0]
    assert won[0, 2] > 0.5 > won[2, 0]
    return judge, verdicts


def test_decisions(services):
    def decides(messages, choices):
        first, second = read(messages).labels
        p = 0.8 if "good" in read(messages).texts[0] else 0.1
        assert choices == [first, second]
        return {first: p, second: 1 - p}

    fake, model = services(FakeOpenAI, decides=decides)
    _, verdicts = judged(model, methods=["decisions", "logprobs"])
    assert verdicts[0].p_first == pytest.approx(0.8)
    assert {seen.path for seen in fake.replies_asked} == {"/v1/decisions"}


def test_no_decisions_then_log_probabilities(services):
    fake, model = services(FakeOpenAI, answer=better, logprobs=weighed)
    _, verdicts = judged(model, methods=["decisions", "logprobs"])
    assert [seen.path for seen in fake.replies_asked] == ["/v1/decisions"] + ["/v1/chat/completions"] * 6
    p = 0.9 / (0.9 + math.exp(-3))
    assert verdicts[0].p_first == pytest.approx(p)
    assert verdicts[0].mass == pytest.approx(0.9 + math.exp(-3))


def test_no_log_probabilities_then_a_schema(services):
    def answer(messages):
        label = better(messages)
        return json.dumps({"better": label}) if fake.seen[-1].body.get("response_format") else label

    fake, model = services(FakeOpenAI, answer=answer, refuses={"logprobs", "top_logprobs"})
    model.max_concurrency = 1
    judge, verdicts = judged(model)
    assert judge.methods.left == ["json", "text"]
    assert {v.how for v in verdicts} == {"text"}
    assert "response_format" in fake.replies_asked[-1].body


def test_nothing_but_words(services):
    fake, model = services(FakeOpenAI, answer=better, refuses={"logprobs", "top_logprobs", "response_format", "seed"})
    judge, verdicts = judged(model)
    assert judge.methods.left == ["text"]
    assert all(v.p_first in (0, 1) for v in verdicts)
    assert sum(v.usage.requests for v in verdicts) == len(fake.replies_asked)


def test_anthropic_by_schema(services):
    fake, model = services(FakeAnthropic, answer=lambda messages: json.dumps({"better": _label(fake, messages)}))
    model.max_concurrency = 1
    judge, _ = judged(model)
    assert judge.methods.left == ["json", "text"]
    assert fake.replies_asked[-1].body["output_config"]["format"]["schema"]["properties"]["better"]["enum"]


def test_anthropic_in_words_with_votes(services):
    fake, model = services(FakeAnthropic, answer=lambda messages: _label(fake, messages), refuses={"output_config"})
    model.max_concurrency = 1
    _, verdicts = judged(model, votes=3)
    assert {v.reply for v in verdicts} >= {"3/3", "0/3"}


def _label(fake, messages):
    system = fake.replies_asked[-1].body["system"]
    return better([{"role": "system", "content": system}, *messages])


def test_what_a_ledger_knows_is_asked_of_no_service(services):
    ledger = DictLedger()
    fake, model = services(FakeOpenAI, answer=better, logprobs=weighed)
    _, before = judged(model, ledger=ledger)
    asked = len(fake.replies_asked)
    _, after = judged(model, ledger=ledger, secret=b"another run")
    assert len(fake.replies_asked) == asked == len(ledger.entries) == 6
    assert [(v.p_first, v.mass, v.reply) for v in before] == [(v.p_first, v.mass, v.reply) for v in after]
    assert sum(v.usage.requests for v in after) == 0
