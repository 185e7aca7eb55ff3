"""What the adapters have in common: groups found in a batch, and what a host is told of a scored one."""

from __future__ import annotations

import math
from itertools import groupby
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgrpo import Scorer
from softgrpo.integrations.groups import (
    in_groups,
    judge_health,
    measures,
    met,
    neutral_rewards,
    plain,
    rewards_or_none,
)
from tests.fakes.builders import reply
from tests.fakes.judges import failing, skill_judge

NAN = float("nan")


def rewarded(*rewards):
    return SimpleNamespace(rewards=np.array(rewards))


@pytest.mark.parametrize(
    ("keys", "size", "groups"),
    [
        ("", None, []),
        ("", 4, []),
        ("a", None, ["a"]),
        ("aaaa", 4, ["aaaa"]),
        ("aaaa", 2, ["aa", "aa"]),  # one prompt twice
        ("aabbcc", None, ["aa", "bb", "cc"]),
        ("aaaabb", None, ["aa", "aa", "bb"]),  # what both runs share
        ("aaabbbc", None, ["aaa", "bbb", "c"]),  # the most frequent
        ("aaaaabb", None, ["aaaaa", "bb"]),
        ("aabb", 4, ["aa", "bb"]),  # a size that does not come out even
        ("aabb", 3, ["aa", "bb"]),
        ("abab", None, ["a", "b", "a", "b"]),  # only neighbours are a group
        ("abcd", 4, ["abcd"]),  # each prompt has something of its own
        ("abcabc", 3, ["abc", "abc"]),
        ("aabbcc", 3, ["aa", "bb", "cc"]),  # an evaluation with groups of two
    ],
)
def test_worked_groups(keys, size, groups):
    assert [keys[rows.start : rows.stop] for rows in in_groups(keys, size)] == groups


@given(keys=st.lists(st.integers(0, 3)), size=st.none() | st.integers(1, 6))
def test_groups_are_a_partition_and_each_has_one_key_or_the_size_that_was_given(keys, size):
    groups = in_groups(keys, size)
    assert [i for rows in groups for i in rows] == list(range(len(keys)))
    one_key = all(len({keys[i] for i in rows}) == 1 for rows in groups)
    assert one_key or (size and all(len(rows) == size for rows in groups))


@given(prompts=st.lists(st.integers(0, 3), min_size=1, max_size=8), size=st.integers(2, 6), told=st.booleans())
def test_groups_of_one_size_are_found_where_neighbours_differ(prompts, size, told):
    """Told the size they are found even where they do not."""
    if not told:
        prompts = [prompt for prompt, _ in groupby(prompts)]
    keys = [prompt for prompt in prompts for _ in range(size)]
    expected = [range(i * size, (i + 1) * size) for i in range(len(prompts))]
    assert in_groups(keys, size if told else None) == expected


@given(size=st.integers(2, 6), counts=st.lists(st.integers(1, 3), min_size=1, max_size=5))
def test_groups_of_one_prompt_that_follow_each_other_are_of_what_all_share(size, counts):
    """Where prompts repeat, the size that all runs have in common; a shorter group never joins two prompts."""
    keys = [number for number, count in enumerate(counts) for _ in range(count * size)]
    found = {len(rows) for rows in in_groups(keys)}
    assert found == {size * math.gcd(*counts)}


@given(st.lists(st.floats(-5, 5) | st.just(NAN), min_size=1, max_size=8))
def test_a_missing_reward_is_the_mean_of_the_others(rewards):
    neutral = neutral_rewards(rewarded(*rewards))
    known = [r for r in rewards if math.isfinite(r)]
    mean = sum(known) / len(known) if known else 0
    assert all(type(r) is float for r in neutral)
    assert sum(neutral) / len(neutral) == pytest.approx(mean), "the baseline is that of the others"
    for given_, told in zip(rewards, neutral, strict=True):
        assert told == pytest.approx(mean if math.isnan(given_) else given_)


def test_a_host_that_divides_by_the_standard_deviation_finds_it_a_little_smaller():
    """Of eight with one missing by a factor of 0.93, as the page on other trainers says."""
    rewards = np.array([1.5, -0.3, 0.2, -1.5, 0.9, 0.1, -0.7, NAN])
    told = np.std(neutral_rewards(rewarded(*rewards)), ddof=1)
    assert told / np.nanstd(rewards, ddof=1) == pytest.approx(math.sqrt(6 / 7))
    assert round(math.sqrt(6 / 7), 2) == 0.93


def test_missing_rewards_for_a_host_that_knows_them():
    assert rewards_or_none(rewarded(1.0, NAN, -0.5)) == [1.0, None, -0.5]


def test_measures_and_health_of_groups():
    """Two texts of three are judged at all; in the second group nobody fails."""
    part = Scorer(criteria="x", judge=failing(lambda a, b: "mute" in (a, b)), min_judged=0.3)
    first, second = part.score_groups([("Go.", ["a", "bbb", "mute"]), ("Go.", ["a", "bbb", "cc"])])
    assert measures(first) == [
        {"judged": 1, "answer": first.rewards[0]}, {"judged": 1, "answer": first.rewards[1]}, {"judged": 0}
    ]  # fmt: skip
    health = judge_health([first, second])
    assert (health["groups"], health["unjudged"], health["without_reward"], health["forfeits"]) == (2, 4, 1, 0)
    assert health["answer"] == pytest.approx(0), "of five judged texts; each tournament is about zero"
    assert health["position_bias"] == pytest.approx(0)
    assert all(type(value) is float for value in health.values())


def test_what_is_not_known_of_a_group_is_left_out():
    mute = Scorer(criteria="x", judge=failing()).score("Go.", ["a", "b"])
    assert measures(mute) == [{"judged": 0}, {"judged": 0}]
    assert judge_health([mute]) == {"groups": 1, "unjudged": 2, "forfeits": 0, "without_reward": 2}
    assert judge_health([]) == {"groups": 0, "unjudged": 0, "forfeits": 0, "without_reward": 0}


def test_a_forfeit_is_judged():
    scored = Scorer(task="debate", judge=skill_judge({"good": 1.0})).score(
        {"motion": "Cities should ban cars", "side": "PRO"}, [reply("good"), "no tags"]
    )
    assert [m["judged"] for m in measures(scored)] == [1, 1]
    assert measures(scored)[1]["answer"] == -1.5
    assert judge_health([scored])["forfeits"] == 1


def test_how_a_text_fared():
    scored = Scorer(criteria="x", judge=skill_judge({"a": 0, "b": 1}, hard=True)).score("Go.", ["a", "b"])
    assert [met(scored.verdicts, i) for i in range(2)] == ["1: 0.00 0.00", "0: 1.00 1.00"]
    assert met((), 0) == ""


def test_plain_columns():
    nested = {"a": [1, {"b": None}], 3: "c"}
    assert plain({"x": nested, "y": {"z": [1]}, 4: True}) == {"y": {"z": [1]}, "4": True}
