"""The server over real sockets: what it answers, what it refuses, and that others are served meanwhile."""

from __future__ import annotations

import asyncio
import json
import socket
import time

import aiohttp
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from softgrpo import Scorer, rank
from softgrpo.models.api.errors import APIStop, BudgetReached
from softgrpo.records import Verdict
from tests.serving.running import client, serving

TEXTS = ["It rained all night.", "It rained.", "Why not?"]
MOTION = {"motion": "Cities should ban cars", "side": "PRO"}


def longer(prompt, first, second):
    return 0.9 if len(first) > len(second) else 0.1


def free(judge=longer, **options):
    return Scorer(criteria="The better answer gives a reason.", judge=judge, **options)


@pytest.fixture(scope="module")
def url():
    with serving(free(), cohort_deadline_s=30, max_body_mb=2, max_text_chars=1000, max_group=8) as url:
        yield url


def asked(url, what):
    async def run():
        async with client(url) as post:
            return await what(post)

    return asyncio.run(run())


def member(name, text, cohort="c", size=2, prompt="Why?", **rest):
    return dict(cohort=cohort, member=name, size=size, prompt=prompt, completion=text, **rest)


# --- what is answered


def test_a_whole_group_is_scored_as_by_the_scorer_itself(url):
    status, found = asked(url, lambda post: post("/v1/score", prompt="Why?", completions=[*TEXTS, None]))
    scored = free().score("Why?", [*TEXTS, None])
    assert status == 200
    assert found["rewards"] == [*scored.rewards[:3].tolist(), None]
    assert found["neutral_rewards"] == [*scored.rewards[:3].tolist(), pytest.approx(scored.rewards[:3].mean())]
    assert found["reward_parts"]["answer"] == found["rewards"]
    assert found["failures"] == ["a completion was not delivered"] * 3
    assert (found["n_unjudged"], found["n_forfeits"], len(found["stderrs"])) == (3, 0, 4)
    assert found["spent"] == {"calls": 0, "tokens": 0, "usd": 0.0}


def test_a_group_of_which_nothing_could_be_judged_has_nulls_and_neutral_noughts():
    def silent(prompt, first, second):
        raise TimeoutError("no answer")

    with serving(free(silent)) as url:
        _, found = asked(url, lambda post: post("/v1/score", prompt="Why?", completions=["a", "b"]))
        both = asked(url, lambda post: together(post, member("a", "a"), member("b", "b")))
    assert (found["rewards"], found["neutral_rewards"], found["stderrs"]) == ([None] * 2, [0.0] * 2, [None] * 2)
    for status, one in both:
        assert (status, one["reward"], one["neutral_reward"], one["n_judged"]) == (200, None, 0.0, 0)
        assert one["failure"] == "2 of its 2 judgements failed: TimeoutError: no answer"


async def together(post, *bodies):
    return await asyncio.gather(*(post("/v1/cohort", body) for body in bodies))


def test_samples_that_come_one_by_one_are_scored_as_one_group(url):
    bodies = [member(i, text, "one by one", 3) for i, text in enumerate(TEXTS)]
    found = asked(url, lambda post: together(post, *reversed(bodies), bodies[0]))
    expected = free().score("Why?", TEXTS).rewards.tolist()
    assert [status for status, _ in found] == [200] * 4
    assert [answer["reward"] for _, answer in found] == [*reversed(expected), expected[0]]
    assert found[0][1] == {
        "cohort": "one by one",
        "attempt": 0,
        "member": 2,
        "reward": expected[2],
        "neutral_reward": expected[2],
        "stderr": pytest.approx(0, abs=1e-6),
        "reward_parts": {"answer": expected[2]},
        "failure": "",
        "n_judged": 3,
        "again": False,
    }


def test_a_task_is_served_with_its_parts():
    with serving(Scorer(task="debate", judge=longer)) as url:
        speech = "<reasoning>\nAir.\n</reasoning>\n<answer>\n{}\n</answer>".format
        chat = [{"role": "assistant", "content": speech("Cars.")}]
        _, found = asked(url, lambda post: post("/v1/score", prompt=MOTION, completions=[speech("Cars foul."), chat]))
        status, wrong = asked(url, lambda post: post("/v1/score", prompt={"motion": "x"}, completions=["a", "b"]))
    assert found["rewards"] == pytest.approx([1.2 + 1.5, -1.2 + 1.5])
    assert set(found["reward_parts"]) == {"answer", "strict_format", "soft_format", "tag_count"}
    assert status == 422
    assert "add 'side', one of PRO, CON" in wrong["detail"]


def test_polling_sees_a_cohort_collect_and_judge():
    def slow(prompt, first, second):
        time.sleep(0.2)
        return longer(prompt, first, second)

    async def polled(post):
        one, other = member("a", "a", wait_s=0.05), member("b", "bb", wait_s=0.05)
        seen = [await post("/v1/cohort", one), await post("/v1/cohort", other)]
        while (found := await post("/v1/cohort", one))[0] == 202:
            seen.append(found)
        return seen, found

    with serving(free(slow)) as url:
        seen, (status, found) = asked(url, polled)
    assert seen[:2] == [(202, {"state": "collecting"}), (202, {"state": "judging"})]
    assert (status, found["reward"]) == (200, -1.2)


def test_rankings_by_the_served_criteria_and_by_others(url):
    def shorter(prompt, first, second):
        return 1 - longer(prompt, first, second)

    status, found = asked(url, lambda post: post("/v1/rank", prompt="Why?", completions=TEXTS))
    ranking = rank("Why?", TEXTS, judge=longer)
    assert (status, found["order"], found["scores"]) == (200, ranking.order, ranking.scores.tolist())
    assert found["reliability"] == pytest.approx(1)
    seen = []

    class ByCriteria:
        name, scores_texts = "by criteria", False

        def judge(self, contests):
            seen.extend(c.objective.criteria for c in contests)
            rule = {"Short.": shorter}.get(contests[0].objective.criteria, longer)
            ask = lambda c, m: rule("", c.texts[m.first], c.texts[m.second])  # noqa: E731
            return [tuple(Verdict(match=m, p_first=ask(c, m), how="p") for m in c.matches) for c in contests]

    async def three(post):
        return [await post("/v1/rank", prompt="Why?", completions=TEXTS, criteria=c) for c in ("Short.", None, " ")]

    with serving(Scorer(task="debate", judge=ByCriteria(), format=None)) as other:
        (_, short), (_, own), (status, wrong) = asked(other, three)
    assert (short["order"], own["order"]) == ([2, 1, 0], [0, 1, 2])
    assert seen[0] == "Short."
    assert seen[1].startswith("Which speech argues its position")
    assert (status, wrong["detail"]) == (422, "criteria are empty; say what makes a text better")


def test_errors_of_judging_and_what_may_be_asked_again():
    class Broken:
        name, scores_texts = "broken", False
        errors = (
            BudgetReached("budget_calls 5 is reached"),
            APIStop("the key is refused"),
            KeyError("what a text says"),
        )

        def judge(self, contests):
            time.sleep(0.1)
            if self.errors:
                error, *self.errors = self.errors
                raise error
            return [tuple(Verdict(match=m, p_first=0.9, how="p") for m in c.matches) for c in contests]

    async def four(post):
        return [await together(post, member("a", "a"), member("b", "b")) for _ in range(4)]

    with serving(free(Broken())) as url:
        found = asked(url, four)
    told = [({status for status, _ in both}, both[0][1].get("detail")) for both in found]
    assert told == [
        ({402}, "budget_calls 5 is reached"),
        ({503}, "the key is refused"),
        ({500}, "KeyError in the server; its log says where"),
        ({200}, None),
    ]


def test_the_file_of_cohorts_holds_no_texts(tmp_path):
    with serving(free(), cohorts=str(tmp_path / "c.sqlite")) as url:
        found = asked(url, lambda post: together(post, member("a", "secret one"), member("b", "secret two")))
    with serving(free(), cohorts=str(tmp_path / "c.sqlite")) as url:
        again = asked(url, lambda post: together(post, member("b", "secret two")))
    assert again == found[1:]
    assert b"secret" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


# --- what is refused

LONG = [{"role": "user", "content": "secret" * 200}]


def compared(response):
    return {"conversation_history": LONG[:0], "response_objs": [{}, response]}


def said(content):
    return compared({"output": [{"type": "message", "content": content}]})


DEEP = "[" * 100_000 + "]" * 100_000
WRONG = {
    "no JSON": ("/v1/score", b'{"prompt": ', 400, "the body is no JSON"),
    "no UTF-8": ("/v1/score", b'{"prompt": "\xff"}', 400, "the body is no JSON"),
    "nothing": ("/v1/score", b"", 422, "body"),
    "a list": ("/v1/score", b"[]", 422, "the body is no JSON object"),
    "deep": ("/v1/score", DEEP.encode(), 400, "nested too deeply"),
    "deep within": ("/v1/cohort", json.dumps(member("a", "b")).replace('"Why?"', DEEP).encode(), 400, "too deeply"),
    "NaN": ("/v1/score", b'{"prompt": {"motion": NaN}, "completions": ["a", "b"]}', 400, "NaN"),
    "infinite": ("/v1/cohort", json.dumps(member("a", "b", wait_s=1)).replace(": 1}", ": 1e999}").encode(), 400, "NaN"),
    "endless": ("/v1/score", b'{"prompt": {"motion": -1e999}, "completions": ["a", "b"]}', 400, "NaN and infinity"),
    "raw halves": ("/v1/score", b'{"prompt": "\xed\xa0\x80", "completions": ["a", "b"]}', 400, "the body is no JSON"),
    "UTF-16": ("/v1/score", '{"prompt": "a", "completions": ["a", "b"]}'.encode("utf-16"), 400, "the body is no JSON"),
    "half a cohort": ("/v1/cohort", member("a", "secret", cohort="secret \ud800"), 422, "cohort: "),
    "half a member": ("/v1/cohort", member("secret \udfff", "secret"), 422, "member: "),
    "a large member": ("/v1/cohort", member(2**63 + 1, "secret"), 422, "member: "),
    "a low member": ("/v1/cohort", member(-(2**63) - 1, "secret"), 422, "member: "),
    "a huge deadline": ("/v1/cohort", member("a", "secret", deadline_s=10**400), 422, "deadline_s: "),
    "missing": ("/v1/score", {"completions": ["a", "b"]}, 422, "prompt: Field required"),
    "unknown": ("/v1/score", {"prompt": "a", "completions": ["a", "b"], "secret": 1}, 422, "a field that is not known"),
    "no list": ("/v1/score", {"prompt": "a", "completions": "secret"}, 422, "completions: Input should be a"),
    "one text": ("/v1/score", {"prompt": "a", "completions": ["secret"]}, 422, "give two or more"),
    "too many": ("/v1/score", {"prompt": "a", "completions": ["secret"] * 9}, 422, "completions: a group of 9"),
    "a number": ("/v1/score", {"prompt": "a", "completions": ["secret", 7]}, 422, "a completion is a int"),
    "a prompt": ("/v1/score", {"prompt": 7, "completions": ["secret", "b"]}, 422, "prompt is a int"),
    "a long text": ("/v1/score", {"prompt": "a", "completions": ["a", "secret" * 200]}, 413, "completions.1 has more"),
    "a long prompt": ("/v1/score", {"prompt": LONG, "completions": ["a", "b"]}, 413, "prompt has more than"),
    "a megabyte": ("/v1/score", {"prompt": "secret" * 170_000, "completions": ["a", "b"]}, 413, "prompt has more than"),
    "a large body": ("/v1/score", {"prompt": "secret" * 400_000, "completions": ["a", "b"]}, 413, "more than 2 MB"),
    "a seed": ("/v1/score", {"prompt": "a", "completions": ["a", "b"], "seed": "secret"}, 422, "seed: Input should be"),
    "size 1": ("/v1/cohort", member("a", "secret", size=1), 422, "size: Input should be greater than or equal to 2"),
    "size 9": ("/v1/cohort", member("a", "secret", size=9), 422, "size: a group of 9 is larger than 8"),
    "size in words": ("/v1/cohort", member("a", "secret", size="2"), 422, "size: Input should be a valid integer"),
    "a member": ("/v1/cohort", member(1.5, "secret"), 422, "member"),
    "true": ("/v1/cohort", member(True, "secret"), 422, "member"),
    "no cohort": ("/v1/cohort", member("a", "secret", cohort=""), 422, "cohort: String should have at least 1"),
    "a completion": ("/v1/cohort", member("a", {"secret": 1}), 422, "a completion is a dict"),
    "a deadline": ("/v1/cohort", member("a", "secret", deadline_s=-1), 422, "deadline_s: Input should be"),
    "an attempt": ("/v1/cohort", member("a", "secret", attempt=-1), 422, "attempt"),
    "one response": ("/compare", {"conversation_history": [], "response_objs": [{}]}, 422, "give two or more"),
    "an output": ("/compare", compared({"output": "secret"}), 422, "response_objs.1: its output is no list"),
    "items": ("/compare", compared({"output": ["secret"]}), 422, "response_objs.1: its output is no list of objects"),
    "a content": ("/compare", said({"secret": 1}), 422, "response_objs.1: its content of a message is no list"),
    "a part": ("/compare", said([{"type": "output_text", "text": ["secret"]}]), 422, "response_objs.1: its text of a"),
    "queries": ("/openrlhf?size=2", {"query": ["a", "b"], "prompts": ["a"]}, 422, "query has 2 texts and prompts 1"),
    "no size": ("/openrlhf", {"query": ["a"], "prompts": ["a"]}, 422, "size: Field required"),
    "no prompt": ("/openrlhf?size=2", {"query": ["secret"], "prompts": ["a"]}, 422, "query.0 does not begin with its"),
}  # fmt: skip


@pytest.mark.parametrize(("path", "body", "status", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_one_line_that_repeats_nothing(url, path, body, status, words):
    async def sent(post):
        began = time.perf_counter()
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await post.session.post(url + path, data=data, headers={"Content-Type": "application/json"})
        return answer.status, await answer.text(), time.perf_counter() - began

    found, text, seconds = asked(url, sent)
    assert (found, list(json.loads(text))) == (status, ["detail"])
    assert words in json.loads(text)["detail"]
    assert "secret" not in text
    assert seconds < 2


def test_a_form_is_told_what_to_send(url):
    async def sent(post):
        answer = await post.session.post(f"{url}/v1/score", data={"prompt": "a"})
        return answer.status, (await answer.json())["detail"]

    assert asked(url, sent) == (422, "the body is no JSON object; send one, with Content-Type: application/json")


def test_half_characters_and_control_characters_are_no_harm(url):
    texts = ["\ud800 a", "b \x00\x1b[2J", "\udfff\U0001f600 cc"]
    status, found = asked(url, lambda post: post("/v1/score", prompt="\ud83d?", completions=texts))
    assert status == 200
    assert len(found["rewards"]) == 3


def test_a_text_with_half_a_character_is_a_member_all_the_same(url):
    both = member("a", "\ud800", "halves of one"), member(2**63, "bb", "halves of one")
    found = asked(url, lambda post: together(post, *both))
    assert [one["reward"] for _, one in found] == pytest.approx([-1.2, 1.2])


def test_1_as_a_number_and_as_a_text_is_one_member(url):
    both = member(1, "a", "names"), member("1", "a", "names", wait_s=0.1)
    first, second = asked(url, lambda post: together(post, *(b | {"wait_s": 0.1} for b in both)))
    assert first == second == (202, {"state": "collecting"})


def test_a_chunked_body_is_counted_as_it_comes(url):
    async def chunks():
        for _ in range(40):
            yield b"x" * 100_000

    async def sent(post):
        answer = await post.session.post(f"{url}/v1/score", data=chunks(), headers={"Content-Type": "application/json"})
        return answer.status, (await answer.json())["detail"]

    status, detail = asked(url, sent)
    assert (status, detail.split(";")[0]) == (413, "the body has more than 2 MB")


def test_conflicts_are_told(url):
    async def sent(post):
        first = asyncio.ensure_future(post("/v1/cohort", member("a", "a", "conflicts", deadline_s=1)))
        await asyncio.sleep(0.1)
        wrong = [
            member("a", "other", "conflicts"),
            member("b", "b", "conflicts", size=3),
            member("b", "b", "conflicts", prompt="What?"),
        ]
        return await together(post, *wrong), await first

    found, (status, first) = asked(url, sent)
    assert [status for status, _ in found] == [409] * 3
    assert (status, first["failure"]) == (200, "1 of 2 members came within 1 s")


def test_others_are_served_while_a_client_dawdles_and_another_sends_too_much(url):
    """A body that comes byte by byte, connections that say nothing, and one that breaks off."""
    host, port = url.removeprefix("http://").split(":")
    socks = [socket.create_connection((host, int(port))) for _ in range(20)]
    head = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    for sock in socks[:10]:
        sock.sendall(head + b'{"prompt"')
    socks[0].close()

    async def sent(post):
        large = [post("/v1/score", prompt="x" * 1_900_000, completions=["a", "b"]) for _ in range(4)]
        fine = [post("/v1/score", prompt="Why?", completions=TEXTS) for _ in range(20)]
        return [status for status, _ in await asyncio.gather(*large, *fine)]

    began = time.perf_counter()
    assert asked(url, sent) == [413] * 4 + [200] * 20
    assert time.perf_counter() - began < 10
    for sock in socks:
        sock.close()


# --- who is let in


def test_a_token_is_wanted_everywhere_but_for_health():
    async def each(post):
        answers = []
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer gehe\xefm"}):
            for path in ("/v1/score", "/metrics", "/docs", "/openapi.json", "/nowhere"):
                answer = await post.session.get(url + path, headers=headers)
                answers.append((answer.status, answer.headers.get("WWW-Authenticate"), await answer.text()))
        health = await post.session.get(f"{url}/healthz")
        right = {"Authorization": "Bearer geheim"}
        scored = await post.session.post(
            f"{url}/v1/score", json={"prompt": "a", "completions": ["a", "b"]}, headers=right
        )
        return answers, health.status, scored.status

    with serving(free(), token="geheim") as url:
        answers, health, scored = asked(url, each)
    assert {(status, wanted) for status, wanted, _ in answers} == {(401, "Bearer")}
    assert not any("geheim" in text for _, _, text in answers)
    assert (health, scored) == (200, 200)


def test_a_page_of_another_site_is_not_let_in(url):
    async def each(post):
        body = {"prompt": "a", "completions": ["a", "b"]}
        found = []
        origins = (
            "https://evil.example",
            "null",
            "http://[::1",
            "http://[x]",
            "http://127.0.0.1:9",
            "http://localhost:9",
        )
        for origin in origins:
            found.append((await post.session.post(f"{url}/v1/score", json=body, headers={"Origin": origin})).status)
        return found

    assert asked(url, each) == [403] * 4 + [200] * 2


def test_whether_it_is_there_may_be_asked_without_a_body(url):
    async def each(post):
        answer = await post.session.head(f"{url}/healthz")
        return answer.status, await answer.read()

    assert asked(url, each) == (200, b"")


# --- what can be read of it


def test_what_is_turned_away_at_the_door_is_counted_under_the_path_that_was_asked():
    async def each(post):
        for path in ("/v1/score", "/metrics", "/secret/of/mine"):
            await post.session.post(url + path, json={})
        headers = {"Authorization": "Bearer t"}
        await post.session.post(f"{url}/v1/score", data=b"x" * 2_000_000, headers=headers)
        return await (await post.session.get(f"{url}/metrics", headers=headers)).text()

    with serving(free(), token="t", max_body_mb=1) as url:
        page = asked(url, each)
    lines = {line for line in page.splitlines() if line.startswith("softgrpo_requests_total")}
    assert lines == {
        f'softgrpo_requests_total{{path="{path}",status="{status}"}} 1.0'
        for path, status in [("/v1/score", 401), ("/metrics", 401), ("other", 401), ("/v1/score", 413)]
    }


def test_metrics_are_prometheus_own():
    async def each(post):
        await together(post, member("a", "a"), member("b", "bb"), member("a", "a"))
        await post("/v1/cohort", member("a", "a", "never", deadline_s=0.05))
        await post("/v1/score", prompt="Why?", completions=["a", None, "b"])
        await post("/v1/cohort", member("a", "a", "never", size=3))
        waiting = asyncio.ensure_future(post("/v1/cohort", member("a", "a", "open", deadline_s=1)))
        await asyncio.sleep(0.1)
        await post.session.get(f"{url}/not/{'x' * 50}")
        answer = await post.session.get(f"{url}/metrics")
        text = await answer.text()
        await waiting
        return answer.content_type, text

    with serving(free()) as url:
        kind, text = asked(url, each)
    found = {
        (s.name.removeprefix("softgrpo_"), *s.labels.values()): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }
    assert kind == "text/plain"
    expected = {
        ("groups_total", "rewarded"): 1,
        ("groups_total", "partly"): 1,
        ("completions_total",): 5,
        ("judgements_failed_total",): 2,
        ("cohorts_total", "judged"): 1,
        ("cohorts_total", "expired"): 1,
        ("members_total", "new"): 4,
        ("members_total", "retry"): 1,
        ("members_total", "conflict"): 1,
        ("open_cohorts",): 1,
        ("judging_seconds_count",): 2,
        ("spent_calls_total",): 0,
        ("requests_total", "/v1/cohort", "200"): 4,
        ("requests_total", "/v1/cohort", "409"): 1,
        ("requests_total", "other", "404"): 1,
    }
    assert {key: found.get(key) for key in expected} == expected


def test_the_description_is_whole_and_its_examples_are_answered(url):
    async def each(post):
        page = await (await post.session.get(f"{url}/openapi.json")).json()
        docs = await post.session.get(f"{url}/docs")
        health = await (await post.session.get(f"{url}/healthz")).json()
        return page, docs.status, health

    page, docs, health = asked(url, each)
    assert set(page["paths"]) >= {
        "/v1/score",
        "/v1/rank",
        "/v1/cohort",
        "/compare",
        "/openrlhf",
        "/healthz",
        "/metrics",
    }
    assert (docs, health) == (200, {"status": "ok", "judge": "longer", "task": "criteria"})
    schemas = page["components"]["schemas"]
    body = {
        name: field["examples"][0]
        for name, field in schemas["ScoreRequest"]["properties"].items()
        if "examples" in field
    }
    assert asked(url, lambda post: post("/v1/score", body))[0] == 200
    for path, methods in page["paths"].items():
        for method in methods.values():
            assert method["summary"], path
            assert method.get("description"), path


def test_an_app_may_be_mounted_in_another_one():
    import uvicorn
    from fastapi import FastAPI

    from softgrpo.serving import app_for

    scorer, outer = free(), FastAPI()
    inner = app_for(scorer, token="t")
    outer.mount("/judge", inner)

    async def run():
        server = uvicorn.Server(uvicorn.Config(outer, port=0, log_level="warning", ws="none"))
        task = asyncio.ensure_future(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        base = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        async with aiohttp.ClientSession() as session:
            health = (await session.get(f"{base}/judge/healthz")).status
            body = {"prompt": "a", "completions": ["a", "b"]}
            without = (await session.post(f"{base}/judge/v1/score", json=body)).status
            with_it = (
                await session.post(f"{base}/judge/v1/score", json=body, headers={"Authorization": "Bearer t"})
            ).status
        server.should_exit = True
        await task
        inner.state.service.close()
        return health, without, with_it

    assert asyncio.run(run()) == (200, 401, 200)


# --- many at once


def test_64_cohorts_of_16_by_16_clients_in_any_order():
    """Some members are sent twice, some never come; the others are not kept waiting by them."""
    rng = np.random.default_rng(7)
    size, n = 16, 64
    skill = {f"{c}/{m}": float(rng.normal()) for c in range(n) for m in range(size)}
    judged: list[int] = []

    def by_skill(prompt, first, second):
        return float(1 / (1 + np.exp(skill[second] - skill[first])))

    scorer = free(by_skill)
    ask = scorer.evaluator.judge.judge
    scorer.evaluator.judge.judge = lambda contests: judged.extend(len(c.matches) for c in contests) or ask(contests)
    never = {key for key in skill if rng.random() < 0.02}
    broken = {key.split("/")[0] for key in never}
    sends = [key for key in skill if key not in never for _ in range(1 + (rng.random() < 0.05))]
    rng.shuffle(sends)

    def body(key):
        c, m = key.split("/")
        short = {"deadline_s": 3} if c in broken else {}
        return member(int(m), key, f"cohort {c}", size, f"Question {c}?", **short)

    async def one_client(url, keys):
        async with client(url) as post:
            return await asyncio.gather(*(post("/v1/cohort", body(key)) for key in keys))

    async def all_clients(url):
        return await asyncio.gather(*(one_client(url, sends[i::16]) for i in range(16)))

    with serving(scorer, cohort_deadline_s=50) as url:
        found = asyncio.run(all_clients(url))
    direct = free(by_skill)
    expected = {
        f"{c}/{m}": reward
        for c in range(n)
        if str(c) not in broken
        for m, reward in enumerate(direct.score(f"Question {c}?", [f"{c}/{m}" for m in range(size)]).rewards)
    }
    answers = [(key, *answer) for i in range(16) for key, answer in zip(sends[i::16], found[i], strict=True)]
    assert len(answers) == len(sends)
    for key, status, answer in answers:
        assert status == 200
        if key in expected:
            assert answer["reward"] == expected[key]
            assert (answer["failure"], answer["n_judged"]) == ("", size)
        else:
            assert answer["reward"] is None
            assert answer["failure"].endswith(f" of {size} members came within 3 s")
    assert judged == [size * (size - 1)] * (n - len(broken))
    assert 0 < len(broken) < n
