"""Two trainers' own forms of a reward server: NeMo Gym's comparison of a group, and OpenRLHF's remote reward."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask

from softgrpo.errors import UserError
from softgrpo.integrations.groups import neutral_rewards
from softgrpo.records import ScoredGroup
from softgrpo.serving import schemas
from softgrpo.serving.claims import FORGOTTEN, Claims
from softgrpo.serving.responses import output_text
from softgrpo.serving.rewards import Reward, whole_group
from softgrpo.serving.samples import Sample
from softgrpo.serving.service import Service, content

ENDS = (
    *("<|im_end|>", "<|endoftext|>", "</s>", "<eos>", "<end_of_turn>", "<|eot_id|>", "<|end_of_text|>"),
    *("<|end|>", "<|return|>", "<turn|>", "<|eom_id|>", "<pad>", "<|end▁of▁sentence|>"),
)
"""with which templates end a response; none of them is anything that it says"""
LOOK = 1.0
"""seconds between two looks whether a client is still there"""


def add_routes(app: FastAPI, service: Service) -> None:
    """The trainers' own paths."""
    claims = Claims(service.kept, forgotten=max(FORGOTTEN, 2 * service.limits.cohort_deadline_s))
    waiting: dict[Request, list[Sample]] = {}

    def release(request: Request) -> None:
        for sample in waiting.get(request, ()):
            claims.release(sample.cohort, sample.member, request)

    @app.post("/compare", response_model=schemas.CompareAnswer)
    async def compare(body: schemas.CompareRequest) -> Response:
        """A whole group in NeMo Gym's form."""
        service.limits.check_text("principle", body.principle)
        group = service.group(body.conversation_history, [output_text(r, i) for i, r in enumerate(body.response_objs)])
        scored = await service.score(group, criteria=body.principle)
        if not any(map(math.isfinite, scored.rewards)):
            first = scored.failures[0] if scored.failures else "nothing was judged"
            raise HTTPException(503, f"no response has a reward: {first}")
        name = service.main if body.principle is None else "answer"
        return JSONResponse(
            {
                "rewards": neutral_rewards(scored),
                "comparison_results": comparisons(scored, name),
                "metrics": metrics(scored, name),
            }
        )

    @app.post("/openrlhf", response_model=schemas.OpenRLHFAnswer)
    async def openrlhf(
        request: Request,
        body: schemas.OpenRLHFRequest,
        size: Annotated[int, Query(ge=2, description="Samples of a prompt, the group size.")],
        deadline_s: Annotated[float | None, Query(gt=0, le=86400, allow_inf_nan=False)] = None,
    ) -> Response:
        """Samples in OpenRLHF's form, one or many; those of one prompt meet, whichever requests they come by."""
        made = _samples(service, body, size, deadline_s)
        mine = {(sample.cohort, sample.text) for sample in made}
        for other, theirs in list(waiting.items()):  # whose client may have gone just now, and be this one
            if any((s.cohort, s.text) in mine for s in theirs) and await other.is_disconnected():
                release(other)
        samples = waiting[request] = [replace(s, member=claims.take(s.cohort, s.text, request)) for s in made]
        asking = [asyncio.ensure_future(_asked(service, sample)) for sample in samples]
        rewards = None
        try:
            while (await asyncio.wait(asking, timeout=LOOK))[1] and not await request.is_disconnected():
                pass
            if not await request.is_disconnected():
                rewards = [_reward(task) for task in asking]
        finally:
            for task in asking:
                task.cancel()
            if rewards is None:
                release(request)
            del waiting[request]
        if rewards is None:
            return Response(status_code=499)  # which nobody reads

        def answered() -> None:
            for sample in samples:
                claims.answered(sample.cohort, sample.member)

        return JSONResponse(
            {
                "rewards": [reward.neutral_reward for reward in rewards],
                "scores": [reward.neutral_reward for reward in rewards],
                "extra_logs": {"judged": [float(reward.reward is not None) for reward in rewards]},
            },
            background=BackgroundTask(_soon, answered),
        )


def _samples(service: Service, body: schemas.OpenRLHFRequest, size: int, deadline_s: float | None) -> list[Sample]:
    """Samples that are nobody's member yet."""
    if not body.query or len(body.query) != len(body.prompts):
        n, m = len(body.query), len(body.prompts)
        raise UserError(f"query has {n} texts and prompts {m}; send as many of both, and one at least")
    told: dict[str, Any] = {"size": size, "rolling": True, "deadline_s": deadline_s}
    made = []
    for i, (query, prompt) in enumerate(zip(body.query, body.prompts, strict=True)):
        if not query.startswith(prompt):
            raise UserError(f"query.{i} does not begin with its prompt; send both with or without the template")
        cohort = f"openrlhf/{size}/{content(prompt)}"
        made.append(service.sample(prompt, response(query, prompt), cohort=cohort, member="", **told))
    return made


async def _asked(service: Service, sample: Sample) -> Reward | Exception:
    """The reward, or the error: of many samples one error is told, and none is left over."""
    try:
        found = await service.cohorts.ask(sample)
    except Exception as error:
        return error
    assert isinstance(found, Reward)  # it was waited for without an end
    return found


def _reward(task: asyncio.Future[Reward | Exception]) -> Reward:
    found = task.result()
    if isinstance(found, Exception):
        raise found
    return found


async def _soon(what: Any) -> None:
    what()


def response(query: str, prompt: str) -> str:
    """What was answered: a query without its prompt, and without the tokens that end a turn.

    >>> response("Why?It rained.<|im_end|>\\n</s>", "Why?")
    'It rained.'
    """
    end = len(query)
    while end > len(prompt):
        bare = end
        while bare > len(prompt) and query[bare - 1].isspace():
            bare -= 1
        token = next((t for t in ENDS if query.endswith(t, len(prompt), bare)), None)
        if token is None:
            break
        end = bare - len(token)
    return query[len(prompt) : end]


def comparisons(scored: ScoredGroup, objective: str) -> list[dict[str, Any]]:
    """Each verdict in NeMo Gym's numbers; failed ones are left out, and counted in the metrics."""
    return [
        {
            "response_i": v.match.first,
            "response_j": v.match.second,
            "judge_idx": 0,
            "score_1": 1 + 4 * v.p_first,
            "score_2": 1 + 4 * (1 - v.p_first),
            "ranking": 6 - 5 * v.p_first,
        }
        for v in scored.verdicts
        if v.p_first is not None and v.match.objective == objective
    ]


def metrics(scored: ScoredGroup, objective: str) -> dict[str, float]:
    """What the group's rewards stand on, as numbers alone; a bias that cannot be told is left out."""
    found = whole_group(scored, objective)
    known = [reward for reward in found["rewards"] if reward is not None]
    told = {
        "n_comparisons": len(scored.verdicts),
        "n_unjudged": found["n_unjudged"],
        "n_forfeits": found["n_forfeits"],
        "n_left_out": len(scored.rewards) - len(known),
        "mean_reward": sum(known) / len(known) if known else None,
        "position_bias": found["position_bias"],
    }
    return {name: float(value) for name, value in told.items() if value is not None}
