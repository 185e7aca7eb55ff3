"""Two threads and one judge: what one of them finds out of a service misleads the other about nothing."""

from __future__ import annotations

import itertools
import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from softgrpo.evaluator import Evaluator
from softgrpo.judges.chat.judge import PROBES, ChatJudge
from softgrpo.models.api.attempts import Reply
from softgrpo.models.api.client import NO_DECISIONS
from softgrpo.models.api.openai import OpenAIModel
from softgrpo.models.names import parse
from softgrpo.spending.ledger import SqliteLedger
from tests.fakes.builders import completion, contest, group, prompt, reply, task
from tests.fakes.chat_models import ONE, Writing, read
from tests.fakes.openai_server import FakeOpenAI

WEIGHTS = {"answer": 1.0, "strict_format": 0.0, "soft_format": 0.0, "tag_count": 0.0}
GROUPS = [group([reply("x" * (i + 1) + id) for i in range(4)], id=id) for id in "ab"]  # 24 judgements
PROMPTS = [prompt(id=str(i), subject=str(i)) for i in range(9)]  # 18
OURS, THEIRS = ([[completion(reply(f"{who} {i}"))] for i in range(9)] for who in ("ours", "theirs"))
ALL = 24 + 18


def better(messages):
    """The longer text is the better one."""
    sheet = read(messages)
    return sheet.answer(len(sheet.texts[0]) > len(sheet.texts[1]))


def weighed(messages):
    sheet = read(messages)
    p = 1 / (1 + math.exp(len(sheet.texts[1]) - len(sheet.texts[0])))
    return {sheet.labels[0]: math.log(p), sheet.labels[1]: math.log(1 - p)}


class Paired(FakeOpenAI):
    """The first requests wait for each other, two and two. Knows no decisions, and schemas where it is asked by one."""

    def __init__(self, *, pairs, **options):
        self.left, self.barrier = iter(range(2 * pairs)), threading.Barrier(2, timeout=20)
        super().__init__(answer=better, **options)

    def respond(self, seen):
        if seen.method == "POST" and next(self.left, None) is not None:
            self.barrier.wait()
        return super().respond(seen)

    def _text(self, body):
        label = super()._text(body)
        return json.dumps({"better": label}) if body.get("response_format") else label


def judged(tmp_path, monkeypatch, ask, *, pairs, methods, **options):
    """The judge, the requests it took, and the verdicts on the groups and on an evaluation that `ask` has asked for."""
    with Paired(pairs=pairs, **options) as server, SqliteLedger(tmp_path / f"{pairs}.sqlite") as ledger:
        monkeypatch.setenv("OPENAI_API_KEY", server.key)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        model = OpenAIModel(parse(f"openai:gpt-4o@{server.url}"), backoff=0.01)
        judge = ChatJudge("api", model, methods=methods, ledger=ledger)
        evaluator = Evaluator(task(), judge, WEIGHTS)
        scored, met = ask(
            lambda: evaluator.score_groups(GROUPS, seed=1), lambda: evaluator.meetings(PROMPTS, OURS, THEIRS)
        )
        assert not server.barrier.broken
        assert ledger.spent()[model.identity].judgements == ALL
        model.close()
    verdicts = [v for each in (*scored, *met) for v in each.verdicts]
    return judge, server.replies_asked, [(v.match, v.p_first, v.how, v.failure, v.mass) for v in verdicts]


def in_turn(*asked):
    return [ask() for ask in asked]


def at_once(*asked):
    with ThreadPoolExecutor(2) as pool:
        return [future.result(60) for future in [pool.submit(ask) for ask in asked]]


@pytest.mark.parametrize(
    ("methods", "refuses", "left"),
    [
        (["decisions", "logprobs", "json", "text"], (), ["logprobs", "json", "text"]),
        (["logprobs", "json", "text"], ("logprobs", "top_logprobs"), ["json", "text"]),
    ],
)
def test_nothing_is_lost_and_nothing_downgraded(tmp_path, monkeypatch, methods, refuses, left):
    options = dict(methods=methods, refuses=refuses, logprobs=weighed)
    _, _, alone = judged(tmp_path, monkeypatch, in_turn, pairs=0, **options)
    judge, requests, found = judged(tmp_path, monkeypatch, at_once, pairs=2, **options)
    assert (judge.methods.left, judge.methods.settled) == (left, True)
    assert found == alone
    assert len(found) == ALL
    assert all(p is not None for _, p, *_ in found)
    assert len(requests) <= ALL + 2 * PROBES, "no more than the probes' questions were asked in vain"


def test_an_endpoint_that_is_not_there_is_forgiven_though_another_thread_has_found_it_out():
    """The other thread asks and learns while the first one's request is under way."""
    refused = Reply(failure=f"{NO_DECISIONS}: 404 Not found", usage=ONE)
    others = iter([[contest("xxx", "yy")]])

    def write(call, sheet):
        for other in others:
            judge.judge(other)
        label = sheet.answer(len(sheet.texts[0]) > len(sheet.texts[1]))
        return refused if call.choices else Reply(text=label, logprobs={label: -0.1}, usage=ONE)

    judge = ChatJudge("api", Writing(write, methods=["decisions", "logprobs", "text"]))
    (verdicts,) = judge.judge([contest("x", "yy", "zzz")])
    assert [v.failure for v in verdicts] == [""] * 6
    assert judge.methods.left == ["logprobs", "text"]


def test_a_limit_that_another_thread_has_raised_meanwhile_is_used():
    """What is cut off at a limit that is the highest by now is asked again, not failed."""
    others = iter([[contest("xxx", "yy")]])
    cut = Reply(failure="empty reply: the token limit was spent before any text; raise it", usage=ONE)

    def write(call, sheet):
        for other in others:
            judge.judge(other)
        return cut if call.max_tokens < 2048 else sheet.answer(True)

    judge = ChatJudge("api", Writing(write, methods=["text"]))
    (verdicts,) = judge.judge([contest("x", "yy")])
    assert [v.failure for v in verdicts] == ["", ""]


class Held(Writing):
    """Waits before its `n`-th round."""

    def __init__(self, write, n):
        super().__init__(write)
        self.n, self.begun, self.go_on = n, threading.Event(), threading.Event()
        self.lock = threading.Lock()

    def run(self, calls, on_reply=None):
        with self.lock:
            n = len(self.rounds) + 1
            replies = super().run(calls, on_reply)
        if n == self.n:
            self.begun.set()
            assert self.go_on.wait(20)
        return replies


def test_while_one_thread_finds_out_the_other_floods_nobody():
    """The last question that goes alone is under way: nobody knows yet how to ask."""
    count = itertools.count(1)

    def write(call, sheet):
        if next(count) < PROBES:
            return Reply(failure="no answer in time", usage=ONE)
        label = sheet.answer(True)
        return Reply(text=label, logprobs={label: -0.1}, usage=ONE)

    model = Held(write, PROBES)
    judge = ChatJudge("api", model)
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(judge.judge, [contest(*"abcde")])
        assert model.begun.wait(20)
        other = pool.submit(judge.judge, [contest(*"fghij")])
        with pytest.raises(TimeoutError):
            other.result(0.3)
        assert model.rounds == [1] * PROBES
        model.go_on.set()
        assert {v.how for v in other.result(20)[0]} == {"log_odds"}
        one.result(20)
    assert sorted(model.rounds) == [1] * PROBES + [20 - PROBES, 20]


def test_so_few_questions_go_alone_whoever_asks():
    model = Held(lambda *_: Reply(failure="no answer in time", usage=ONE), 0)
    judge = ChatJudge("api", model)
    with ThreadPoolExecutor(4) as pool:
        texts = [f"{a}{b}" for a in "abcd" for b in "efghi"]
        done = [pool.submit(judge.judge, [contest(*texts[i : i + 5])]) for i in range(0, 20, 5)]
        assert all(future.result(20) for future in done)
    assert sum(n == 1 for n in model.rounds) == PROBES
    assert sum(model.rounds) == 80


def test_an_interrupted_question_keeps_nobody_waiting():
    def write(call, sheet):
        raise KeyboardInterrupt

    model = Writing(write)
    judge = ChatJudge("api", model)
    for _ in range(PROBES):
        with pytest.raises(KeyboardInterrupt):
            judge.judge([contest("a", "b")])
    model.write = lambda call, sheet: sheet.answer(True)
    with ThreadPoolExecutor(1) as pool:
        (verdicts,) = pool.submit(judge.judge, [contest("a", "b")]).result(20)
    assert [v.p_first for v in verdicts] == [1.0, 1.0]
