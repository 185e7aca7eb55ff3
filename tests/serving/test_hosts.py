"""NeMo Gym's and OpenRLHF's own forms, over real sockets."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from softgrpo import Scorer
from softgrpo.serving.hosts import ENDS, response
from softgrpo.serving.responses import output_text
from tests.serving.running import client, serving

CHAT = [{"role": "user", "content": "Why is the street wet?"}]


def longer(prompt, first, second):
    return 0.9 if len(first) > len(second) else 0.1


def free(judge=longer, **options):
    return Scorer(criteria="The better answer gives a reason.", judge=judge, **options)


def said(*texts, reasoning="Hm."):
    content = [{"type": "output_text", "text": text, "annotations": []} for text in texts]
    return {
        "id": "r",
        "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": reasoning}]},
            *([{"type": "message", "role": "assistant", "content": content}] if texts else []),
        ],
    }


def asked(url, what):
    async def run():
        async with client(url) as post:
            return await what(post)

    return asyncio.run(run())


# --- NeMo Gym


def test_a_comparison_in_nemo_gyms_form():
    responses = [said("It rained."), said("It rained", " all night."), said(), said("Why", reasoning="x" * 99)]
    body = {"conversation_history": CHAT, "response_objs": responses, "principle": None, "task_index": 3}
    with serving(free()) as url:
        status, found = asked(url, lambda post: post("/compare", body))
    direct = free().score(CHAT, ["It rained.", "It rained all night.", "", "Why"])
    assert status == 200
    assert found["rewards"] == direct.rewards.tolist()
    first = found["comparison_results"][0]
    assert first == {
        "response_i": 0,
        "response_j": 1,
        "judge_idx": 0,
        "score_1": pytest.approx(1.4),
        "score_2": pytest.approx(4.6),
        "ranking": pytest.approx(5.5),
    }
    assert len(found["comparison_results"]) == len(direct.verdicts)
    assert found["metrics"].items() >= {"n_unjudged": 0, "n_forfeits": 1, "n_left_out": 0}.items()
    assert all(isinstance(value, float) for value in found["metrics"].values())


def test_a_principle_is_the_criteria_and_failures_are_counted():
    asked_by = []

    class Judge:
        name, scores_texts = "j", False

        def judge(self, contests):
            from softgrpo.records import Verdict

            asked_by.extend(c.objective.criteria for c in contests)
            failed = lambda c, m: "bad" in (c.texts[m.first], c.texts[m.second])  # noqa: E731
            return [
                tuple(
                    Verdict(match=m, p_first=None, how="p", failure="no")
                    if failed(c, m)
                    else Verdict(match=m, p_first=0.75, how="p")
                    for m in c.matches
                )
                for c in contests
            ]

    def body(*texts):
        return {"conversation_history": CHAT, "response_objs": [said(t) for t in texts], "principle": "Be kind."}

    with serving(free(Judge())) as url:
        status, found = asked(url, lambda post: post("/compare", body("a", "b", "c", "bad")))
        nothing = asked(url, lambda post: post("/compare", body("bad", "a")))
    assert (status, found["rewards"], set(asked_by)) == (200, [0.0] * 4, {"Be kind."})
    assert len(found["comparison_results"]) == 6
    assert found["metrics"]["n_unjudged"] == 6
    assert found["metrics"]["n_left_out"] == 1
    assert nothing == (503, {"detail": "no response has a reward: no"})


def test_what_a_response_says_is_its_texts_in_a_row_a_plain_one_and_a_refusal():
    parts = [{"type": "output_text", "text": "It"}, {"type": "refusal", "refusal": " rained."}, {"type": "x"}]
    messages = [{"type": "message", "content": content} for content in (parts, " All", None)]
    given = {"output": [*messages, {"type": "message"}, {"type": "function_call"}, messages[1]]}
    assert output_text(given, 0) == "It rained. All All"
    assert output_text({"output": []}, 0) == output_text({"output": None}, 0) == output_text({}, 0) == ""


# --- OpenRLHF


def query(text, prompt="Why?", end="<|im_end|>"):
    return {"query": [f"{prompt}{text}{end}"], "prompts": [prompt], "labels": ["x"]}


def test_samples_that_come_one_by_one_meet_and_two_that_are_alike_are_two():
    async def sent(post):
        texts = ["It rained.", "It rained.", "It rained all night."]
        first = await asyncio.gather(*(post("/openrlhf?size=3", query(text)) for text in texts))
        # the next epoch has a group of its own, though a text is as before
        second = await asyncio.gather(*(post("/openrlhf?size=3", query(text)) for text in ["It rained.", "a", "b"]))
        return first, second

    with serving(free()) as url:
        first, second = asked(url, sent)
    assert {status for status, _ in [*first, *second]} == {200}
    # sorted by their digests: the equal ones are equal but for who is read first
    assert sum(found["rewards"][0] for _, found in first) == pytest.approx(0)
    assert first[2][1]["rewards"] == first[2][1]["scores"] == [pytest.approx(1.2)]
    assert first[2][1]["extra_logs"] == {"judged": [1.0]}
    assert second[0][1]["rewards"] == [pytest.approx(1.2)]


def test_a_batch_is_answered_in_its_order_and_meets_others():
    batch = {"query": ["A?a</s>", "B?bbb</s>", "A?aaa</s>"], "prompts": ["A?", "B?", "A?"], "labels": None}
    other = {"query": ["B?b"], "prompts": ["B?"]}

    async def sent(post):
        return await asyncio.gather(post("/openrlhf?size=2", batch), post("/openrlhf?size=2", other))

    with serving(free()) as url:
        (_, many), (_, one) = asked(url, sent)
    assert many["rewards"] == many["scores"] == pytest.approx([-1.2, 1.2, 1.2])
    assert one["rewards"] == pytest.approx([-1.2])
    assert many["extra_logs"] == {"judged": [1.0, 1.0, 1.0]}


def test_where_siblings_never_come_the_number_is_neutral_and_says_so():
    with serving(free()) as url:
        found = asked(url, lambda post: post("/openrlhf?size=2&deadline_s=0.2", query("a")))
    assert found == (200, {"rewards": [0.0], "scores": [0.0], "extra_logs": {"judged": [0.0]}})


def test_a_request_sent_again_takes_over_its_place_while_it_waits_and_when_it_is_judged():
    """OpenRLHF sends the same body again when its time is up: that is no second member."""
    seen = []

    def judge(prompt, first, second):
        seen.append({first, second})
        return longer(prompt, first, second)

    async def sent(url):
        async with client(url) as post:
            for pause, wait in ((0.3, 0), (0.3, 1.5)):  # at once, and after its absence was seen

                async def broken(pause=pause):
                    timeout = aiohttp.ClientTimeout(total=pause)
                    async with aiohttp.ClientSession(timeout=timeout) as session:
                        with pytest.raises(asyncio.TimeoutError):
                            await session.post(f"{url}/openrlhf?size=2", json=query("same"))

                await broken()
                await asyncio.sleep(wait)
            again = asyncio.ensure_future(post("/openrlhf?size=2", query("same")))
            await asyncio.sleep(0.2)
            other = await post("/openrlhf?size=2", query("other text"))
            return await again, other

    with serving(free(judge), cohort_deadline_s=30) as url:
        (_, again), (_, other) = asyncio.run(sent(url))
    assert (again["rewards"], other["rewards"]) == ([pytest.approx(-1.2)], [pytest.approx(1.2)])
    assert seen == [{"same", "other text"}] * 2


def test_a_server_that_was_killed_knows_who_was_not_answered(tmp_path):
    """What was answered is another sample the next time; what was not, is the same."""
    from softgrpo.serving.claims import Claims
    from softgrpo.serving.kept import Ended, KeptCohorts
    from softgrpo.serving.rewards import Reward

    async def run():
        kept = KeptCohorts(tmp_path / "c.sqlite")
        claims = Claims(kept)
        names = [claims.take("c", text, "one") for text in ("t", "t", "u")]
        assert names == ["t.0", "t.1", "u.0"]
        members = {name: ("digest", Reward(reward=1.0)) for name in names}
        kept.keep("c", Ended(attempt=0, round=0, size=3, prompt=""), members)
        claims.answered("c", "t.0")
        kept.close()
        later = Claims(KeptCohorts(tmp_path / "c.sqlite"))
        again = [later.take("c", text, "other") for text in ("t", "t", "u", "u")]
        later.release("c", "t.1", "somebody else")
        later.release("c", "t.2", "other")
        return again, later.take("c", "t", "third"), later.take("d", "t", "third")

    assert asyncio.run(run()) == (["t.1", "t.2", "u.0", "u.1"], "t.2", "t.0")


def claimed(ended_ago=None, failure="", *, answered=False, gone=True):
    """What an equal text becomes, when a first one has been there, and its cohort has ended."""
    from softgrpo.serving import kept as module
    from softgrpo.serving.claims import Claims
    from softgrpo.serving.kept import Ended, KeptCohorts
    from softgrpo.serving.rewards import Reward

    async def run():
        kept = KeptCohorts(":memory:")
        claims = Claims(kept)
        name = claims.take("c", "t", "one")
        if ended_ago is not None:
            now = module.time.time()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(module.time, "time", lambda: now - ended_ago)
                ended = Ended(attempt=0, round=0, size=2, prompt="", failure=failure)
                kept.keep("c", ended, {name: ("digest", Reward(reward=None))})
        if answered:
            claims.answered("c", name)
        elif gone:
            claims.release("c", name, "one")
        return claims.take("c", "t", "other")

    return asyncio.run(run())


def test_a_place_is_taken_over_where_it_is_collected_or_was_judged_just_now_and_not_else():
    assert claimed() == claimed(ended_ago=200) == "t.0"
    assert claimed(gone=False) == claimed(ended_ago=0, answered=True) == "t.1"
    assert claimed(ended_ago=400) == "t.1", "the trainer has long given up"
    assert claimed(ended_ago=0, failure="1 of 2 members came") == "t.1", "nobody is given what has expired"
    assert claimed(answered=True) == "t.1", "of a group that was not judged, and is kept nowhere"


def test_a_sample_that_is_sent_after_its_cohort_has_expired_waits_for_siblings_of_its_own():
    async def sent(url):
        async with client(url) as post:
            timeout = aiohttp.ClientTimeout(total=0.2)
            async with aiohttp.ClientSession(timeout=timeout) as session:
                with pytest.raises(asyncio.TimeoutError):
                    await session.post(f"{url}/openrlhf?size=2", json=query("same"))
            await asyncio.sleep(1.5)
            return await asyncio.gather(*(post("/openrlhf?size=2", query(text)) for text in ("same", "other text")))

    with serving(free(), cohort_deadline_s=1) as url:
        found = asyncio.run(sent(url))
    assert [one["rewards"][0] for _, one in found] == pytest.approx([-1.2, 1.2])


def test_tokens_at_the_end_are_nothing_that_was_said():
    for end in ENDS:
        assert response(f"Why?It rained.{end}", "Why?") == "It rained."
    assert response("Why? It rained. \n", "Why?") == " It rained. \n"
    assert response("<|im_end|></s>", "") == response("Why?</s>\n<|im_end|>", "Why?") == ""
    assert response("Why?a</s>b", "Why?") == "a</s>b"
    long = "</s> \n" * 30_000
    assert response(f"Why?a{long}", "Why?") == "a"
