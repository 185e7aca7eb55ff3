"""A judge that is away for a while: its groups are answered, kept nowhere, and judged when somebody asks again."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from softgrpo import Scorer
from softgrpo.integrations import serve_client, verl
from softgrpo.records import ScoredGroup, Verdict
from softgrpo.serving.cohorts import Cohorts
from softgrpo.serving.kept import KeptCohorts
from softgrpo.serving.rewards import is_unjudged, rewards_of
from tests.fakes.builders import group
from tests.serving.running import client, serving
from tests.serving.test_cohorts import run, sample
from tests.serving.test_hosts import query
from tests.serving.test_http import asked, free, longer, member, together
from tests.serving.test_verl import reward

BOTH = member("a", "a"), member("b", "bb")


class Away:
    """Fails the first groups it is given, in words that repeat a text."""

    name, scores_texts = "away", False

    def __init__(self, n: int) -> None:
        self.n, self.groups = n, 0

    def judge(self, contests):
        self.groups += len(contests)
        is_away = self.groups <= self.n
        return [tuple(self._verdict(c, m, is_away) for m in c.matches) for c in contests]

    def _verdict(self, contest, match, is_away):
        first, second = contest.texts[match.first], contest.texts[match.second]
        if is_away or "secret" in first + second:
            return Verdict(match=match, p_first=None, how="text", failure=f"cannot read {first} and {second}")
        return Verdict(match=match, p_first=longer("", first, second), how="text")


def test_what_nobody_judged_is_told_and_judged_when_somebody_asks_again():
    judge = Away(1)

    async def each(post):
        first, second = await together(post, *BOTH), await together(post, *BOTH)
        page = await (await post.session.get(post.url + "/metrics")).text()
        return first, second, await together(post, *BOTH), page

    with serving(free(judge)) as url:
        first, second, third, page = asked(url, lambda post: setattr(post, "url", url) or each(post))
    for status, found in first:
        assert (status, found["reward"], found["neutral_reward"], found["n_judged"]) == (200, None, 0.0, 0)
        assert found["again"] is True
        assert found["failure"].startswith("2 of its 2 judgements failed: cannot read")
    assert [found["reward"] for _, found in second] == pytest.approx([-1.2, 1.2])
    assert not any(found["again"] for _, found in second)
    assert (third, judge.groups) == (second, 2)
    for line in (
        'softgrpo_cohorts_total{outcome="unjudged"} 1.0',
        'softgrpo_cohorts_total{outcome="judged"} 1.0',
        'softgrpo_groups_total{outcome="unjudged"} 1.0',
        'softgrpo_groups_total{outcome="rewarded"} 1.0',
    ):
        assert line in page
    assert 'softgrpo_groups_total{outcome="unrewarded"}' not in page


def test_after_a_restart_it_is_judged_again(tmp_path):
    file = str(tmp_path / "c.sqlite")
    with serving(free(Away(9)), cohorts=file) as url:
        asked(url, lambda post: together(post, *BOTH))
    with serving(free(Away(0)), cohorts=file) as url:
        found = asked(url, lambda post: together(post, *BOTH))
    assert [one["reward"] for _, one in found] == pytest.approx([-1.2, 1.2])


@pytest.mark.parametrize(("texts", "n_judged"), [(["", " "], 2), ([None, None], 0), ([None, "a"], 0)])
def test_what_would_be_the_same_again_is_kept(tmp_path, texts, n_judged):
    """All forfeit, or nothing was delivered: no judge that is back changes that."""
    bodies = [member(i, text) for i, text in enumerate(texts)]
    file = str(tmp_path / "c.sqlite")
    with serving(free(), cohorts=file) as url:
        found = asked(url, lambda post: together(post, *bodies))
    with serving(free(), cohorts=file) as url:
        ((_, again),) = asked(url, lambda post: together(post, bodies[1]))
    assert found[1][1]["failure"].startswith(again["failure"])
    assert {(status, one["n_judged"], one["again"]) for status, one in found} == {(200, n_judged, False)}


def test_the_file_keeps_how_many_judgements_failed_and_not_the_judges_words(tmp_path):
    file, bodies = (
        str(tmp_path / "c.sqlite"),
        [member(i, text, size=5) for i, text in enumerate(("a", "bb", "ccc", "dddd", "secret"))],
    )
    with serving(free(Away(0)), cohorts=file) as url:
        first = asked(url, lambda post: together(post, *bodies))
        there = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    with serving(free(Away(9)), cohorts=file) as url:
        again = asked(url, lambda post: together(post, *bodies))
    assert first[4][1]["failure"].startswith("8 of its 8 judgements failed: cannot read")
    assert again[4][1]["failure"] == "8 of its 8 judgements failed"
    assert [one["reward"] for _, one in again] == [one["reward"] for _, one in first]
    assert [one["reward"] is None for _, one in first] == [False] * 4 + [True]
    assert b"judgements failed" in there
    assert b"secret" not in there
    assert b"cannot read" not in there


# --- without HTTP


def in_vain(times):
    """A judge of `Cohorts` that takes a second and fails so often."""
    left = [times]

    async def judge(prompt, completions):
        await asyncio.sleep(1)
        left[0] -= 1
        one, other = free(Away(9 if left[0] >= 0 else 0)), group(completions)
        return one.score(prompt, [c.text for c in other.completions])

    return judge


def test_it_is_remembered_for_a_deadline_and_no_longer():
    async def each():
        here = Cohorts(in_vain(1), KeptCohorts(":memory:"), deadline_s=20)
        found = await asyncio.gather(*(here.ask(sample(m, m)) for m in ("a", "bb")))
        sizes = [len(here)]
        await asyncio.sleep(21)
        return {one.again for one in found}, [*sizes, len(here)], here.kept.newest("c")

    assert run(each()) == ({True}, [1, 0], None)


def test_whoever_was_told_to_ask_again_hears_what_came_of_it_before_it_is_judged_anew():
    async def each():
        here = Cohorts(in_vain(1), KeptCohorts(":memory:"))
        states = [await here.ask(sample(m, m), wait_s=0) for m in ("a", "bb")]
        await asyncio.sleep(2)
        heard = [await here.ask(sample(m, m), wait_s=0) for m in ("a", "bb")]
        states.append(await here.ask(sample("a", "a"), wait_s=0))
        return states, [one.again for one in heard], (await here.ask(sample("a", "a"))).reward

    assert run(each()) == (["collecting", "judging", "judging"], [True, True], pytest.approx(-1.2))


def test_a_reward_of_the_tasks_own_that_gives_no_number_is_no_fault_of_the_judge():
    scored = free(Away(0)).score("Why?", ["a", "bb"])
    spoilt = ScoredGroup(**{name: getattr(scored, name) for name in ("group", "verdicts", "standings")},
                         reward_parts={}, rewards=np.full(2, np.nan))  # fmt: skip
    assert not is_unjudged(spoilt)
    assert [one.again for one in rewards_of(spoilt)] == [False, False]


# --- trainers


def test_verl_waits_for_a_judge_that_comes_back():
    judge = Away(2)

    async def each(url):
        found = await asyncio.gather(*(reward(url, text, size=2) for text in ("a", "bb")))
        await serve_client.session().close()
        return found

    with serving(free(judge)) as url:
        found = asyncio.run(each(url))
    assert [one["score"] for one in found] == pytest.approx([-1.2, 1.2])
    assert [one["judged"] for one in found] == [1.0, 1.0]
    assert judge.groups == 3


def test_verl_takes_a_cohort_that_is_over_as_it_is(monkeypatch):
    """Its siblings never came: asking again would change nothing."""
    monkeypatch.setattr(verl, "JUDGING_S", 100.0)

    async def each(url):
        found = await reward(url, "a", size=2)
        await serve_client.session().close()
        return found

    with serving(free(), cohort_deadline_s=0.3) as url:
        assert asyncio.run(asyncio.wait_for(each(url), 10))["judged"] == 0.0


def test_of_an_unjudged_group_openrlhf_is_told_so_and_an_equal_text_is_a_sample_of_the_next_one():
    judge = Away(1)

    async def each(url):
        async with client(url) as post:
            send = lambda *texts: asyncio.gather(*(post("/openrlhf?size=2", query(t)) for t in texts))  # noqa: E731
            return await send("It rained.", "Why"), await send("It rained.", "It rained all night.")

    with serving(free(judge), cohort_deadline_s=20) as url:
        first, second = asyncio.run(each(url))
    assert [(one["rewards"], one["extra_logs"]) for _, one in first] == [([0.0], {"judged": [0.0]})] * 2
    assert [one["rewards"][0] for _, one in second] == pytest.approx([-1.2, 1.2])
    assert judge.groups == 2


def test_the_scorer_is_the_one_that_says_so():
    assert is_unjudged(Scorer(criteria="c", judge=lambda *_: None).score("p", ["a", "b"]))
    assert not is_unjudged(Scorer(criteria="c", judge=longer).score("p", ["a", "b"]))
