"""verl's reward function against a real server, as verl calls it."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
import re

import numpy as np
import pytest
from aiohttp import web

from softgrpo import Scorer, UserError
from softgrpo.integrations import serve_client, verl
from tests.serving.running import serving


def longer(prompt, first, second):
    return 0.9 if len(first) > len(second) else 0.1


def free(judge=longer, **options):
    return Scorer(criteria="The better answer gives a reason.", judge=judge, **options)


def reward(url, text, *, size="3", extra=None, **kwargs):
    extra = {"question": "Why?", "index": np.int64(4), "split": "train"} if extra is None else extra
    bound = functools.partial(verl.compute_score, url=url, size=size, splits=["train"], deadline_s="20", **kwargs)
    return bound(data_source="d", solution_str=text, ground_truth="", extra_info=extra, reward_router_address=None)


def gathered(*coroutines):
    async def run():
        try:
            return await asyncio.gather(*coroutines)
        finally:
            await serve_client.session().close()

    return asyncio.run(run())


def test_samples_of_a_prompt_meet_in_every_epoch():
    assert inspect.iscoroutinefunction(verl.compute_score)
    with serving(free()) as url:
        for _ in range(2):
            found = gathered(*(reward(url, text) for text in ("a", "bb", "a")))
            expected = free().score("Why?", ["a", "a", "bb"]).rewards.tolist()
            assert sorted(one["score"] for one in found) == pytest.approx(sorted(expected))
            assert found[1] == {"score": pytest.approx(1.2), "judged": 1.0, "tournament": pytest.approx(1.2)}


def test_a_prompt_may_be_a_chat_in_an_array():
    chat = np.array([{"role": "user", "content": "Why?"}], dtype=object)
    with serving(free()) as url:
        found = gathered(*(reward(url, t, size=2, extra={"prompt": chat}, question="prompt") for t in ("a", "bb")))
    assert [one["score"] for one in found] == pytest.approx([-1.2, 1.2])


def test_without_a_reward_all_is_finite_and_has_the_same_names(monkeypatch):
    def silent(prompt, first, second):
        return None

    monkeypatch.setattr(verl, "JUDGING_S", -19.0)
    with serving(free(silent)) as url:
        found = gathered(*(reward(url, text, size=2) for text in ("a", "bb")))
    assert found == [{"score": 0.0, "judged": 0.0, "tournament": 0.0}] * 2
    assert all(math.isfinite(value) for one in found for value in one.values())


def test_what_is_validated_is_not_sent():
    nowhere = "http://127.0.0.1:9"
    (found,) = gathered(reward(nowhere, "a", extra={"question": "Why?", "split": "test"}))
    assert found == {"score": 0.0, "judged": 0.0, "tournament": 0.0}


def test_a_missing_column_is_named():
    with pytest.raises(UserError, match=r"^extra_info has no 'question' \(it has index, split\); name "):
        gathered(reward("http://127.0.0.1:9", "a", extra={"index": 1, "split": "train"}))


def test_what_the_server_refuses_is_an_error_with_its_words():
    with (
        serving(free(), max_group=2) as url,
        pytest.raises(UserError, match="422: size: a group of 3 is larger"),
    ):
        gathered(reward(url, "a"))
    with serving(free(), token="t") as url, pytest.raises(UserError, match="401: send the server's token"):
        gathered(reward(url, "a", token_env="NOT_SET_HERE"))


def test_it_waits_for_a_server_that_comes_back(monkeypatch, tmp_path):
    """The judge is out of reach once, and the request is held in slices."""
    from softgrpo.models.api.errors import APIStop

    monkeypatch.setattr(serve_client, "HELD_S", 0.3)
    monkeypatch.setenv("SOFTGRPO_SERVE_TOKEN", "t")
    errors = [APIStop("out of reach")]

    class Judge:
        name, scores_texts = "j", False

        def judge(self, contests):
            from softgrpo.records import Verdict

            if errors:
                raise errors.pop()
            return [tuple(Verdict(match=m, p_first=0.5, how="p") for m in c.matches) for c in contests]

    async def run(url):
        first = asyncio.ensure_future(reward(url, "a", size=2))
        await asyncio.sleep(1)
        found = await asyncio.gather(first, reward(url, "b", size=2))
        await serve_client.session().close()
        return found

    with serving(free(Judge()), token="t") as url:
        found = asyncio.run(run(url))
    assert [one["judged"] for one in found] == [1.0, 1.0]


# --- wrong arguments


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8009", "localhost:8009", "ftp://a", "http://", "http://:8009", "http://a:x", "http://[::1", None],
)
def test_what_is_no_url_is_said_at_once(url):
    with pytest.raises(UserError, match=r"^url .* is no http:// or https:// URL; give one, as http://127"):
        gathered(reward(url, "a"))


@pytest.mark.parametrize("size", ["eight", "", None, 1, "1", 2.5, "nan", "inf", True])
def test_what_is_no_size_is_said(size):
    with pytest.raises(UserError, match=r"^size .* is no whole number of at least 2; give one"):
        gathered(reward("http://127.0.0.1:9", "a", size=size))


@pytest.mark.parametrize("deadline_s", ["soon", None, 0, -1, "nan", "inf", 1e6, 10**400])
def test_what_is_no_deadline_is_said(deadline_s):
    one = verl.compute_score("d", "a", extra_info={}, url="http://127.0.0.1:9", size=2, deadline_s=deadline_s)
    with pytest.raises(UserError, match=r"^deadline_s .* is no number of seconds up to 86400; give one above 0"):
        gathered(one)


@pytest.mark.parametrize("question", [object(), {1, 2}, b"Why?", [{"role": object()}], float("nan"), {(1, 2): "a"}])
def test_what_is_no_question_is_named(question):
    with pytest.raises(UserError, match=r"^extra_info\['question'\] is a \w+ that is neither text, JSON nor an array"):
        gathered(reward("http://127.0.0.1:9", "a", extra={"question": question, "split": "train"}))


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, "<html>Welcome</html>", "answers 200 without a reward: that is another server; give url="),
        (200, "[1]", "answers 200 without a reward"),
        (200, '{"ok": true}', "answers 200 without a reward"),
        (200, "", "answers 200 without a reward"),
        (404, "<html>Not Found</html>", "answers 404: no word of why; is it softgrpo serve?"),
    ],
)
def test_another_server_is_said_at_once(status, body, words):
    async def run():
        async def answer(_):
            return web.Response(status=status, text=body, content_type="text/html")

        app = web.Application()
        app.router.add_post("/v1/cohort", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            host, port = runner.addresses[0]
            await asyncio.wait_for(reward(f"http://{host}:{port}", "a"), 10)
        finally:
            await serve_client.session().close()
            await runner.cleanup()

    with pytest.raises(UserError, match=re.escape(words)):
        asyncio.run(run())


def test_a_token_is_sent_without_the_white_space_around_it(monkeypatch):
    monkeypatch.setenv("MINE", " t\n")
    with serving(free(), token="t") as url:
        found = gathered(*(reward(url, text, size=2, token_env="MINE") for text in ("a", "bb")))
    assert [one["judged"] for one in found] == [1.0, 1.0]
