"""Which way to ask is left, and how long a reply may be."""

from __future__ import annotations

import pytest

from softgrpo.judging.means import MAX_TOKENS, Means
from softgrpo.judging.verdicts import Reading

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
    means = Means(left)
    means.learn(readings)
    assert (means.left, means.settled) == (after, settled)


def test_what_is_settled_stays():
    means = Means(["logprobs", "text"])
    means.learn([SOFT])
    means.learn([HARD, NONE])
    assert means.left == ["logprobs", "text"]


def test_the_last_way_is_never_dropped():
    means = Means(["text"])
    means.drop()
    assert means.left == ["text"]


@pytest.mark.parametrize(
    ("left", "field", "value"),
    [
        (["decisions"], "choices", ("K", "T")),
        (["logprobs"], "logprobs", True),
        (["json"], "schema", {"enum": ["K", "T"], "type": "string"}),
        (["text"], None, None),
    ],
)
def test_the_form_of_a_call(left, field, value):
    call = Means(left).call([{"role": "user", "content": "?"}], ("K", "T"), 0.5)
    own = set(call) - {"chat", "max_tokens", "temperature"}
    assert own == ({field} if field else set())
    if field == "schema":
        assert call["schema"]["properties"]["better"] == value
    elif field:
        assert call[field] == value


def test_the_limit_goes_up_step_by_step_and_stays():
    means = Means(["text"])
    for tried, after in zip(MAX_TOKENS, (*MAX_TOKENS[1:], MAX_TOKENS[-1]), strict=True):
        means.raise_limit(tried)
        assert means.max_tokens == after
    means.raise_limit(MAX_TOKENS[0])
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
    means = Means(["text"])
    assert means.too_short(failure, reading, finish_reason) == too_short
    means.max_tokens = MAX_TOKENS[-1]
    assert not means.too_short(failure, reading, finish_reason)
