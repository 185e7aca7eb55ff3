"""Which way to ask is left, and how long a reply may be."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from softgrpo.judges.chat.elicitation import MAX_TOKENS, Elicitation, Method
from softgrpo.judges.chat.parse import Reading

SOFT = Reading(p_first=0.7, how="log_odds", text="K", logprobs={"first": -0.4})
HARD = Reading(p_first=1.0, how="text", text="K")
JSON = Reading(p_first=1.0, how="text", text=' {"better": "K"}')
NONE = Reading(p_first=None, how="text", text="well", failure="not one of")


@pytest.mark.parametrize(
    ("left", "readings", "after", "settled"),
    [
        (["logprobs", "json", "text"], [HARD, SOFT], ["logprobs", "json", "text"], True),
        (["logprobs", "json", "text"], [HARD, NONE], ["json", "text"], False),
        (["json", "text"], [JSON], ["json", "text"], True),
        (["json", "text"], [HARD], ["text"], False),
        (["text"], [NONE], ["text"], True),
        (["logprobs", "text"], [], ["logprobs", "text"], False),
    ],
)
def test_what_replies_teach(left, readings, after, settled):
    means = Elicitation(left)
    means.learn(readings, means.now())
    assert (means.left, means.settled) == (after, settled)
    assert means.now() == Method(name=after[0], is_known=settled, is_last=len(after) == 1)


def test_what_is_settled_stays():
    means = Elicitation(["logprobs", "text"])
    asked = means.now()
    means.learn([SOFT], asked)
    means.learn([HARD, NONE], asked)
    means.drop(asked)
    assert means.left == ["logprobs", "text"]


def test_what_is_said_of_a_way_that_is_gone_teaches_nothing_of_another():
    """Two threads have asked for decisions, and then for log-probabilities, before either of them had a reply."""
    means = Elicitation(["decisions", "logprobs", "json", "text"])
    one, other = means.now(), means.now()
    means.drop(one)
    means.drop(other)
    assert means.left == ["logprobs", "json", "text"]
    one, other = means.now(), means.now()
    means.learn([HARD], one)
    means.learn([HARD], other)
    means.learn([SOFT], other)
    assert (means.left, means.settled) == (["json", "text"], False)


def test_what_many_threads_learn_at_once():
    means = Elicitation(["decisions", "logprobs", "json", "text"])
    start = threading.Barrier(8)

    def ask(_):
        start.wait(20)
        while not means.settled:
            way = means.now()
            means.raise_limit(way)
            if way.name == "decisions":
                means.drop(way)
            else:
                means.learn([JSON if way.name == "json" else HARD], way)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    assert (means.left, means.settled) == (["json", "text"], True)


def test_the_last_way_is_never_dropped():
    means = Elicitation(["text"])
    means.drop(means.now())
    assert means.left == ["text"]


@pytest.mark.parametrize(
    ("way", "field", "value"),
    [
        ("decisions", "choices", ("K", "T")),
        ("logprobs", "logprobs", True),
        ("json", "schema", {"enum": ["K", "T"], "type": "string"}),
        ("text", None, None),
    ],
)
def test_the_form_of_a_call(way, field, value):
    call = Method(name=way).call([{"role": "user", "content": "?"}], ("K", "T"), 0.5)
    own = set(call) - {"chat", "max_tokens", "temperature"}
    assert own == ({field} if field else set())
    if field == "schema":
        assert call["schema"]["properties"]["better"] == value
    elif field:
        assert call[field] == value


def test_the_limit_goes_up_step_by_step_and_stays():
    means = Elicitation(["text"])
    first = means.now()
    for tried, after in zip(MAX_TOKENS, (*MAX_TOKENS[1:], MAX_TOKENS[-1]), strict=True):
        assert means.now().max_tokens == tried
        means.raise_limit(means.now())
        assert means.max_tokens == after
    means.raise_limit(first)
    assert means.max_tokens == MAX_TOKENS[-1]


@pytest.mark.parametrize(
    ("failure", "text", "finish_reason", "too_short"),
    [
        ("empty reply: the token limit was spent before any text; raise it", "", "length", True),
        ("no answer in time", "", "stop", False),
        ("", "<think>both", "length", True),
        ("", "<think>both", "stop", False),
        ("", "I think that both", "length", False),
    ],
)
def test_too_short(failure, text, finish_reason, too_short):
    reading = Reading(p_first=None, how="text", text=text, failure=failure)
    assert Method(name="text").too_short(failure, reading, finish_reason) == too_short
    assert not Method(name="text", max_tokens=MAX_TOKENS[-1]).too_short(failure, reading, finish_reason)
