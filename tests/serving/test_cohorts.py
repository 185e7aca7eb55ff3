"""Cohorts without HTTP: judged once, everybody answered, whatever comes in whatever order."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softgrpo.errors import UserError
from softgrpo.records import ScoredGroup
from softgrpo.serving.cohorts import Cohorts
from softgrpo.serving.kept import KeptCohorts
from softgrpo.serving.rewards import Reward
from softgrpo.serving.samples import Conflict, Sample, Stopping, Unjudged
from tests.fakes.builders import group


class Clock(asyncio.SelectorEventLoop):
    """Time that jumps to the next thing that waits for it."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        coming = [t._when for t in self._scheduled if not t._cancelled]  # type: ignore[attr-defined]
        if not self._ready and coming:  # type: ignore[attr-defined]
            self.now = max(self.now, min(coming))
        super()._run_once()  # type: ignore[misc]


def run(coroutine):
    with asyncio.Runner(loop_factory=Clock) as runner:
        return runner.run(coroutine)


class Judge:
    """A reward is a text's length, less the mean of its group; takes a second."""

    def __init__(self, *errors: Exception) -> None:
        self.seen: list[tuple[Any, list[Any]]] = []
        self.done: list[tuple[Any, list[Any]]] = []
        self.errors = list(errors)

    async def __call__(self, prompt: Any, completions: list[Any]) -> ScoredGroup:
        self.seen.append((prompt, completions))
        await asyncio.sleep(1)
        if self.errors:
            raise self.errors.pop(0)
        self.done.append((prompt, completions))
        rewards = np.array([len(text) for text in completions], float)
        return ScoredGroup(
            group=group(completions), verdicts=(), standings={}, reward_parts={}, rewards=rewards - rewards.mean()
        )


def sample(member="a", text="x", cohort="c", size=2, prompt="Why?", **rest):
    return Sample(
        cohort=cohort, member=member, size=size, prompt=prompt, asked=prompt, completion=text, text=text, **rest
    )


def cohorts(judge, **options):
    return Cohorts(judge, KeptCohorts(":memory:"), **options)


async def later(seconds, coroutine):
    await asyncio.sleep(seconds)
    return await coroutine


def rewards(found):
    return [reward.reward for reward in found]


def test_members_that_have_come_are_judged_once_in_the_order_of_their_names():
    async def asked():
        judge = Judge()
        here = cohorts(judge)
        members = {"10": "xxx", "9": "x", "b": "xx"}
        asks = [here.ask(sample(name, text, size=3)) for name, text in members.items()]
        found = await asyncio.gather(*asks, later(0.5, here.ask(sample("9", "x", size=3))))
        again = await here.ask(sample("b", "xx", size=3))
        return judge.seen, rewards([*found, again]), len(here)

    seen, found, left = run(asked())
    assert seen == [("Why?", ["x", "xxx", "xx"])]
    assert found == [1, -1, 0, -1, 0]
    assert left == 0


def test_a_cohort_whose_time_is_up_fails_and_stays_so():
    async def asked():
        judge, counted = Judge(), []
        here = cohorts(judge, deadline_s=600, count=lambda *what: counted.append(what))
        one = here.ask(sample("a", size=3))
        two = later(50, here.ask(sample("b", size=3, deadline_s=100)))
        again = later(90, here.ask(sample("a", size=3, deadline_s=600)))  # which makes it no longer
        late = later(101, here.ask(sample("c", size=3)))
        found = await asyncio.gather(one, two, again, late)
        return found, judge.seen, asyncio.get_running_loop().time(), counted

    found, seen, now, counted = run(asked())
    assert {reward.failure for reward in found} == {"2 of 3 members came within 100 s"}
    assert {(reward.reward, reward.neutral_reward) for reward in found} == {(None, 0.0)}
    assert (seen, now) == ([], 101)
    assert counted.count(("cohort", "expired")) == counted.count(("member", "late")) == 1


@pytest.mark.parametrize(
    ("second", "word"),
    [
        (dict(text="other"), "another completion"),
        (dict(size=3), "a size of 2, not 3"),
        (dict(prompt="What?"), "another prompt"),
        (dict(member="b", size=3), "a size of 2, not 3"),
        (dict(member="b", prompt="What?"), "another prompt"),
    ],
)
@pytest.mark.parametrize("ended", [False, True])
def test_what_does_not_go_together_is_a_conflict(second, word, ended):
    async def asked():
        here = cohorts(Judge(), deadline_s=5)
        waiting = asyncio.ensure_future(here.ask(sample("a")))
        await asyncio.sleep(6 if ended else 0)
        with pytest.raises(Conflict, match=word):
            await here.ask(sample(**second))
        await waiting

    run(asked())


def test_a_stranger_to_a_full_cohort_is_a_conflict_before_and_after_it_is_judged():
    async def asked():
        here = cohorts(Judge())
        both = asyncio.gather(here.ask(sample("a")), here.ask(sample("b")))
        for seconds in (0.5, 2):
            await asyncio.sleep(seconds)
            with pytest.raises(Conflict, match="all 2 members"):
                await here.ask(sample("c"))
        return rewards(await both)

    assert run(asked()) == [0, 0]


def test_a_higher_attempt_retires_an_older_one():
    async def asked():
        judge = Judge()
        here = cohorts(judge)
        old = asyncio.ensure_future(here.ask(sample("a")))
        new = asyncio.gather(*(later(1, here.ask(sample(m, m, attempt=1))) for m in ("a", "bb")))
        found = [await old, *await new]
        with pytest.raises(Conflict, match="given way to attempt 1"):
            await here.ask(sample("a"))
        return found, judge.seen

    (old, *new), seen = run(asked())
    assert (old.reward, old.failure) == (None, "attempt 0 has given way to attempt 1")
    assert rewards(new) == [-0.5, 0.5]
    assert seen == [("Why?", ["a", "bb"])]


def test_a_judgement_of_a_retired_attempt_is_not_kept():
    async def asked():
        here = cohorts(Judge())
        old = asyncio.gather(here.ask(sample("a")), here.ask(sample("b")))
        new = asyncio.gather(*(later(0.5, here.ask(sample(m, m, attempt=1))) for m in ("a", "bb")))
        return [r.failure for r in await old], rewards(await new), here.kept.find("c", 0, "a")

    assert run(asked()) == (["attempt 0 has given way to attempt 1"] * 2, [-0.5, 0.5], None)


def test_rolling_cohorts_follow_each_other():
    async def asked():
        judge = Judge()
        here = cohorts(judge)
        names = ["a", "b", "c", "d", "e"]
        asks = [here.ask(sample(n, "x" * i, rolling=True, deadline_s=9)) for i, n in enumerate(names)]
        found = await asyncio.gather(*asks)
        again = await asyncio.gather(*(here.ask(sample(n, "x" * i, rolling=True)) for i, n in enumerate(names)))
        assert again == found
        new = await asyncio.gather(*(here.ask(sample(n, rolling=True)) for n in ("f", "g")))
        with pytest.raises(Conflict):
            await here.ask(sample("a", "other", rolling=True))
        return found, new, [texts for _, texts in judge.seen]

    found, new, seen = run(asked())
    assert rewards(found) == [-0.5, 0.5, -0.5, 0.5, None]
    assert found[-1].failure == "1 of 2 members came within 9 s"
    assert rewards(new) == [0, 0]
    assert seen == [["", "x"], ["xx", "xxx"], ["x", "x"]]


def test_an_error_goes_to_all_and_whoever_asks_again_is_judged():
    async def asked():
        judge = Judge(UserError("no"))
        here = cohorts(judge)
        found = await asyncio.gather(*(here.ask(sample(m, m)) for m in ("a", "bb")), return_exceptions=True)
        again = await asyncio.gather(here.ask(sample("bb", "bb")), here.ask(sample("a", "a")))
        return found, again, len(judge.seen)

    found, again, times = run(asked())
    assert [type(error.cause) for error in found] == [UserError, UserError]
    assert (rewards(again), times) == ([0.5, -0.5], 2)


def test_a_failed_cohort_is_not_kept_for_ever():
    async def asked():
        here = cohorts(Judge(ValueError()), deadline_s=20)
        await asyncio.gather(*(here.ask(sample(m)) for m in "ab"), return_exceptions=True)
        sizes = [len(here)]
        await asyncio.sleep(21)
        return [*sizes, len(here)]

    assert run(asked()) == [1, 0]


def test_whoever_will_not_wait_is_told_how_it_stands():
    async def asked():
        here = cohorts(Judge())
        states = [await here.ask(sample("a", "a"), wait_s=0), await here.ask(sample("a", "a"), wait_s=3)]
        states += [await here.ask(sample("b", "bbb"), wait_s=0.5)]
        return [*states, (await here.ask(sample("a", "a"), wait_s=1)).reward]

    assert run(asked()) == ["collecting", "collecting", "judging", -1]


def test_a_client_that_leaves_takes_nothing_along():
    async def asked():
        here = cohorts(Judge())
        gone = [asyncio.ensure_future(here.ask(sample(m, m))) for m in ("a", "bb")]
        await asyncio.sleep(0.5)
        for task in gone:
            task.cancel()
        await asyncio.sleep(1)
        return rewards([await here.ask(sample(m, m)) for m in ("a", "bb")]), len(here._judge_group.seen)

    assert run(asked()) == ([-0.5, 0.5], 1)


def test_the_end_of_the_server_is_told_to_all_and_what_is_judged_is_kept():
    async def asked():
        judge = Judge()
        here = cohorts(judge)
        asks = [here.ask(sample(m, m)) for m in ("a", "bb")] + [here.ask(sample("a", cohort="other"))]
        waiting = asyncio.gather(*asks, return_exceptions=True)
        await asyncio.sleep(0.5)
        here.stop()
        found = await waiting
        with pytest.raises(Unjudged):
            await here.ask(sample("a", cohort="third"))
        assert await here.drain(5)
        return found, here.kept.find("c", 0, "bb")

    found, kept = run(asked())
    assert [type(error.cause) for error in found] == [Stopping] * 3
    assert kept.reward.reward == 0.5


# --- what outlives the process


def test_a_file_answers_members_that_were_never_answered(tmp_path):
    async def asked(judge, *members):
        with contextlib.closing(KeptCohorts(tmp_path / "c.sqlite")) as kept:
            here = Cohorts(judge, kept)
            return await asyncio.gather(*(here.ask(sample(m, m)) for m in members))

    first = run(asked(Judge(), "a", "bb"))
    judge = Judge()
    assert run(asked(judge, "bb")) == first[1:]
    assert judge.seen == []


def test_another_judge_finds_nothing_of_the_first_ones(tmp_path):
    one = KeptCohorts(tmp_path / "c.sqlite", serves="one")

    async def asked():
        here = Cohorts(Judge(), one)
        await asyncio.gather(*(here.ask(sample(m)) for m in "ab"))

    run(asked())
    assert one.find("c", 0, "a")
    one.close()
    other = KeptCohorts(tmp_path / "c.sqlite", serves="other")
    assert other.find("c", 0, "a") is other.newest("c") is None


def test_what_is_old_or_too_much_is_dropped(monkeypatch):
    from softgrpo.serving import kept as module
    from softgrpo.serving.kept import Ended

    now = [0.0]
    monkeypatch.setattr(module.time, "time", lambda: now[0])
    kept = KeptCohorts(":memory:", hours=1, most=3)
    for i in range(5):
        now[0] = i
        kept.keep(str(i), Ended(attempt=0, round=0, size=2, prompt=""), {"m": ("t", Reward(reward=0.0))})
    kept.sweep()
    assert [kept.newest(str(i)) is not None for i in range(5)] == [False, False, True, True, True]
    now[0] = 3603.5
    kept.sweep()
    assert [kept.find(str(i), 0, "m") is not None for i in range(5)] == [False] * 4 + [True]


def test_a_file_of_something_else_is_left_alone(tmp_path):
    import sqlite3

    path = tmp_path / "mine.sqlite"
    with sqlite3.connect(path) as file:
        file.execute("CREATE TABLE mine (a)")
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"mine\.sqlite: is a database of something else"):
        KeptCohorts(path)
    assert path.read_bytes() == before
    (tmp_path / "text").write_text("no database, but long enough to be looked at" * 50)
    with pytest.raises(UserError, match="name another file with --cohorts"):
        KeptCohorts(tmp_path / "text")


def test_a_file_is_one_servers_and_free_when_that_is_gone(tmp_path):
    first = KeptCohorts(tmp_path / "c.sqlite")
    with pytest.raises(UserError, match=r"c\.sqlite: another server has this file; stop that one, or name another"):
        KeptCohorts(tmp_path / "c.sqlite")
    KeptCohorts(tmp_path / "other.sqlite").close()
    first.close()
    KeptCohorts(tmp_path / "c.sqlite").close()
    KeptCohorts(":memory:"), KeptCohorts(":memory:")
    assert not Path(":memory:.lock").exists()


def test_what_was_judged_is_not_replaced_by_what_expired():
    from softgrpo.serving.kept import Ended

    kept = KeptCohorts(":memory:")
    ended = dict(attempt=0, round=0, size=2, prompt="")
    expired = Ended(failure="1 of 2 members came", **ended), {"m": ("t", Reward(reward=None))}
    kept.keep("c", *expired)
    kept.keep("c", Ended(**ended), {"m": ("t", Reward(reward=1.0))})
    kept.keep("c", *expired)
    assert kept.newest("c").failure == ""
    assert kept.find("c", 0, "m").reward.reward == 1.0


# --- any order


sends = st.tuples(
    st.sampled_from(["c", "d"]),
    st.sampled_from(["a", "b", "e"]),
    st.sampled_from(["x", "x", "x", "yy"]),
    st.sampled_from([2, 2, 2, 3]),
    st.sampled_from([0, 0, 0, 1]),
    st.sampled_from([0.0, 0.0, 0.4, 1.1, 7.0]),
)


@settings(max_examples=150, deadline=None)
@given(script=st.lists(sends, max_size=24), rolling=st.booleans(), error=st.booleans())
def test_whatever_comes_everybody_is_answered_and_nothing_is_judged_twice(script, rolling, error):
    async def asked():
        judge = Judge(*([ValueError("x")] if error else []))
        here = cohorts(judge, deadline_s=5)
        tasks = []
        for cohort, member, text, size, attempt, pause in script:
            # a text says whose it is
            text = f"{cohort}{member}{attempt}{text}"
            one = sample(member, text, cohort, size, prompt=cohort, attempt=attempt, rolling=rolling)
            tasks.append((one, asyncio.ensure_future(here.ask(one))))
            await asyncio.sleep(pause)
        await asyncio.sleep(1000)
        assert len(here) == 0, "nothing stays open"
        found = [(one, task.exception() or task.result()) for one, task in tasks]  # InvalidStateError: a hang
        return judge.done, found

    done, found = run(asked())
    for prompt, texts in done:
        assert len(set(texts)) == len(texts) >= 2
        assert all(text.startswith(prompt) for text in texts)
    groups = [tuple(texts) for _, texts in done]
    judged = [text for texts in groups for text in texts] if rolling else [texts[0][:3:2] for texts in groups]
    assert len(judged) == len(set(judged)), "a member once; where nothing rolls, an attempt of a cohort once"
    answers: dict[str, set[Any]] = {}
    for one, answer in found:
        assert isinstance(answer, Reward | Conflict | Unjudged)
        if isinstance(answer, Reward) and answer.reward is not None:
            mine = [texts for texts in groups if one.text in texts]
            mean = [sum(map(len, texts)) / len(texts) for texts in mine]
            assert answer.reward in [len(one.text) - m for m in mean]
            answers.setdefault(one.cohort + one.text, set()).add(answer.reward)
        elif isinstance(answer, Reward):
            assert answer.failure
    assert all(len(rewards) == 1 for rewards in answers.values()), "a retry gets what the first was given"
