"""Calls under fire, with the real SDK against a real socket: what is told when, how many at once, what is held back."""

from __future__ import annotations

import threading
import time

import pytest

from softgrpo.models.api.calls import most_tokens
from softgrpo.models.api.errors import APIStop, BudgetReached
from softgrpo.models.api.openai import OpenAIModel
from softgrpo.models.names import parse
from softgrpo.spending.budget import Budget, Spent
from tests.fakes.api_server import CUT, DROP, EMPTY, TRUNCATE, hang, status
from tests.fakes.openai_server import FakeOpenAI

CHATS = [[{"role": "user", "content": f"say {i}"}] for i in range(60)]


@pytest.fixture
def make(monkeypatch):
    opened = []
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def build(model: dict | None = None, **server):
        fake = FakeOpenAI(**server)
        monkeypatch.setenv("OPENAI_API_KEY", fake.key)
        api = OpenAIModel(parse(f"openai:gpt-4o@{fake.url}"), **{"backoff": 0.01, **(model or {})})
        opened.extend([api, fake])
        return fake, api

    yield build
    for each in opened:
        each.close()


def ask(api, n=1, **options):
    return api.ask(CHATS[:n], **{"max_tokens": 5, **options})


def test_each_reply_is_told_when_it_arrives(make):
    told, release = {}, threading.Event()

    def slow_last(messages):
        if messages[-1]["content"] == "say 9":
            release.wait(5)
        return messages[-1]["content"].split()[-1]

    def tell(i, reply):
        told[i] = reply.text
        if len(told) == 9:
            release.set()  # the last one answers only when the others have been told

    _, api = make(answer=slow_last, fault_for=lambda seen: None)
    replies = ask(api, 10, on_reply=tell)
    assert told == {i: str(i) for i in range(10)} == dict(enumerate(r.text for r in replies))


def test_replies_are_told_before_a_stop_and_failed_calls_too(make):
    told = {}
    _, api = make(
        {"max_concurrency": 1, "max_attempts": 1}, faults=[None, status(500), status(401, "invalid_api_key", "wrong")]
    )
    with pytest.raises(APIStop):
        ask(api, 5, on_reply=lambda i, reply: told.setdefault(i, (reply.text, reply.failure)))
    assert told == {0: ("Yes.", ""), 1: ("", "500 scripted fault")}


def test_what_a_listener_raises_ends_the_batch(make):
    fake, api = make({"max_concurrency": 2}, delay=0.05)

    def full(i, reply):
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        ask(api, 40, on_reply=full)
    time.sleep(0.2)
    assert len(fake.replies_asked) <= 4
    assert ask(api)[0].text == "Yes.", "its slots are free again"


def test_a_listener_that_blocks_holds_back_calls_and_lets_no_request_time_out(make):
    """Each reply takes longer to keep than a request may take; no more wait to be kept than may be under way."""
    fake, api = make({"max_concurrency": 3, "timeout": 0.3}, delay=0.1)
    kept, waiting = [], []

    def keep(i, reply):
        assert threading.current_thread().name.startswith("softgrpo-aside")
        time.sleep(0.35)
        kept.append(i)
        waiting.append(len(fake.replies_asked) - len(kept))

    replies = ask(api, 7, on_reply=keep)
    assert [r.failure for r in replies] == [""] * 7
    assert sorted(kept) == list(range(7))
    assert len(fake.replies_asked) == 7
    assert max(waiting) == 2, "and the one that is kept"


def test_after_an_error_of_the_listener_the_replies_behind_it_are_left(make):
    _, api = make({"max_concurrency": 8})
    tried = []

    def slow_and_full(i, reply):
        tried.append(i)
        time.sleep(0.3)
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        ask(api, 8, on_reply=slow_and_full)
    time.sleep(0.5)
    assert len(tried) == 1


def test_fewer_at_once_after_a_rate_limit_and_more_again(make):
    """The server takes four at once; more get a 429."""
    under_way, peaks, lock = [0], [], threading.Lock()

    def answer(messages):
        time.sleep(0.01)
        with lock:
            under_way[0] -= 1
        return "Yes."

    def too_many(seen):
        with lock:
            peaks.append(under_way[0] + 1)
            if under_way[0] >= 4:
                return status(429, retry_after_ms="20")
            under_way[0] += 1
        return None

    fake, api = make({"max_concurrency": 16}, answer=answer, fault_for=too_many)
    assert all(reply.text == "Yes." for reply in ask(api, 60))
    refused = sum(seen.fault is not None for seen in fake.replies_asked)
    assert max(peaks[:16]) > 4
    assert max(peaks[len(peaks) // 2 :]) <= 8, "it has learned"
    assert refused < 30
    assert api.usage.requests == 60 + refused


def test_overloaded_asks_for_fewer_and_a_server_error_does_not(make):
    fake, api = make({"max_concurrency": 8}, faults=[status(500)] * 3)
    ask(api, 3)
    assert api._opened[2].size == 8
    fake.faults.append(status(529))
    ask(api)
    assert api._opened[2].size < 5


def test_a_rate_limit_is_no_fault_of_the_call(make):
    _, api = make({"max_attempts": 2, "backoff": 0.001}, faults=[status(429, retry_after_ms="5")] * 9)
    reply = ask(api)[0]
    assert (reply.text, reply.usage.requests) == ("Yes.", 10)


def test_a_rate_limit_that_does_not_end_stops_the_run(make):
    _, api = make({"backoff": 0.05, "max_wait": 0.3}, fault_for=lambda _: status(429))
    with pytest.raises(APIStop, match="rate limit"):
        ask(api, 3)


def test_after_a_stop_for_a_long_limit_the_next_batch_is_asked_at_once(make):
    _, api = make(faults=[status(429, "", "daily limit", retry_after="86400")])
    with pytest.raises(APIStop, match="run again in 86400 s"):
        ask(api)
    assert ask(api)[0].text == "Yes."


def test_a_call_that_waits_leaves_its_slot_to_others(make):
    fake, api = make({"max_concurrency": 1}, faults=[status(500, retry_after="1.5")])
    assert all(reply.text for reply in ask(api, 10))
    first, *others, again = fake.replies_asked
    assert len(others) == 9
    assert again.body == first.body
    assert max(seen.at for seen in others) < first.at + 1.5 <= again.at


# The budget.


def test_the_budget_is_kept_to_the_call(make):
    faults = [status(500), None, DROP, None, status(429, retry_after_ms="1")]
    fake, api = make({"max_concurrency": 8}, faults=faults, delay=0.01)
    api.budget, told = Budget(calls=30), {}
    with pytest.raises(BudgetReached, match="--budget_calls 30 is reached") as stop:
        ask(api, 60, on_reply=told.setdefault)
    assert len(fake.replies_asked) == 30 == api.budget.spent.calls
    answered = {i: r for i, r in enumerate(stop.value.replies) if r is not None}
    assert told == answered
    assert len(answered) == 27
    assert not api.budget.is_waiting
    with pytest.raises(BudgetReached):
        ask(api)
    assert len(fake.replies_asked) == 30


def test_tokens_are_used_up_although_more_is_held_back_for_each_attempt(make):
    """A reply takes 3 tokens of a reservation of more than 100; ten in flight would hold back all there is."""
    fake, api = make({"max_concurrency": 16}, delay=0.005)
    api.budget = Budget(tokens=300)
    with pytest.raises(BudgetReached, match="--budget_tokens 300"):
        ask(api, 60)
    assert api.budget.spent.tokens == 3 * len(fake.replies_asked) <= 300
    most = most_tokens(fake.replies_asked[0].body) + 5
    assert api.budget.spent.tokens > 300 - most - 3


def test_what_was_reserved_in_one_budget_is_settled_in_it(make):
    """Whoever comes next gives the model another budget, while calls are under way."""
    _, api = make(delay=0.3)
    first, second = Budget(calls=5), Budget(calls=5)
    api.budget = first
    asking = threading.Thread(target=ask, args=(api, 3))
    asking.start()
    while first.held.calls < 3:
        time.sleep(0.005)
    api.budget = second
    asking.join()
    assert (first.spent.calls, first.is_waiting) == (3, False)
    assert (second.spent, second.held) == (Spent(), Spent())


def test_two_models_share_one_budget(make):
    fakes, apis = zip(*[make({"max_concurrency": 4}) for _ in range(2)], strict=True)
    budget = Budget(calls=25)
    for api in apis:
        api.budget = budget
    results = []

    def work(api):
        try:
            ask(api, 20)
        except BudgetReached as stop:
            results.append(stop)

    threads = [threading.Thread(target=work, args=(api,)) for api in apis]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(len(fake.replies_asked) for fake in fakes) == 25
    assert results


@pytest.mark.parametrize(
    ("fault", "is_billed"),
    [(hang(), True), (DROP, True), (CUT, True), (TRUNCATE, True), (status(500), False), (status(429), False)],
)
def test_an_attempt_that_may_have_been_billed_counts_in_full(make, fault, is_billed):
    fake, api = make({"timeout": 0.2}, faults=[fault])
    api.budget = Budget()
    assert ask(api)[0].text == "Yes."
    most = most_tokens(fake.replies_asked[0].body) + 5
    assert api.budget.spent.calls == 2
    assert api.budget.spent.tokens == 3 + (most if is_billed else 0)


def test_an_empty_reply_counts_as_what_it_took_and_no_usage_as_the_most(make, monkeypatch):
    _, api = make(faults=[EMPTY])
    api.budget = Budget()
    ask(api)
    assert api.budget.spent.tokens == 6
    fake, api = make()
    monkeypatch.setattr(FakeOpenAI, "_chat", lambda self, body: {"choices": [{"message": {"content": "Hi"}}]})
    api.budget = Budget()
    ask(api)
    assert api.budget.spent.tokens == most_tokens(fake.replies_asked[0].body) + 5


def test_a_server_that_is_not_there_takes_no_tokens(make):
    fake, api = make({"max_attempts": 2})
    fake.close()
    api.budget = Budget()
    assert ask(api)[0].failure.startswith("no connection")
    assert (api.budget.spent.calls, api.budget.spent.tokens) == (2, 0)
