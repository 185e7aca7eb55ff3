"""The app: its routes behind its door."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route as AnyRoute

from softgrpo import __version__
from softgrpo.scorer import Scorer
from softgrpo.serving import hosts, schemas
from softgrpo.serving.door import Door
from softgrpo.serving.limits import Limits
from softgrpo.serving.metrics import KIND
from softgrpo.serving.reading import Route, on_invalid
from softgrpo.serving.rewards import number, numbers, whole_group
from softgrpo.serving.service import Service

ABOUT = (
    "Rewards that only a judge can give: a whole group at once, or its samples one by one, which wait for each other. "
    "Where there is no reward it is null, never 0, and `failure` says why; `neutral_reward` is a number even then."
)
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.Problem, "description": words}
    for status, words in {
        400: "No JSON.",
        401: "The token is missing, or another one.",
        402: "The budget is reached; nothing is kept, and asking again is no harm.",
        409: "What is sent does not go with what the cohort is.",
        413: "A text, or the whole of it, is too large.",
        422: "A field is missing or wrong.",
        503: "The judge cannot be reached, or the server ends; ask again.",
    }.items()
}


def make_app(scorer: Scorer, *, token: str | None = None, **limits: Any) -> FastAPI:
    """The app of a scorer; `app.state.service` is what stands behind it, whose `close` closes the file of cohorts."""
    service = Service(scorer, Limits(**limits))
    app = FastAPI(title="softgrpo", description=ABOUT, version=__version__, responses=PROBLEMS)
    app.router.route_class = Route
    app.state.service = service
    app.add_exception_handler(RequestValidationError, on_invalid)
    add_routes(app, service)
    hosts.add_routes(app, service)
    app.add_middleware(
        Door,
        limits=service.limits,
        token=token,
        paths=frozenset(route.path for route in app.routes if isinstance(route, AnyRoute)),
        count=lambda path, status: service.metrics.requests.labels(path, status).inc(),
    )
    return app


def add_routes(app: FastAPI, service: Service) -> None:
    """What is ours: cohorts, whole groups, rankings, and the server's own state."""

    @app.post("/v1/cohort", response_model=schemas.CohortAnswer, responses={202: {"model": schemas.Waiting}})
    async def cohort(body: schemas.CohortRequest) -> Response:
        """One sample of a group; answered when the group is judged, or its time is up."""
        told = body.model_dump(include={"cohort", "size", "attempt", "rolling", "deadline_s"})
        sample = service.sample(body.prompt, body.completion, member=str(body.member), **told)
        found = await service.cohorts.ask(sample, wait_s=body.wait_s)
        if isinstance(found, str):
            return JSONResponse({"state": found}, status_code=202)
        who = {"cohort": body.cohort, "attempt": body.attempt, "member": body.member}
        return JSONResponse(who | found.to_dict())

    @app.post("/v1/score", response_model=schemas.ScoreAnswer)
    async def score(body: schemas.ScoreRequest) -> Response:
        """A whole group at once."""
        scored = await service.score(service.group(body.prompt, body.completions), seed=body.seed)
        spent = service.scorer.spent
        bill = {"calls": spent.calls, "tokens": spent.tokens, "usd": spent.usd}
        return JSONResponse(whole_group(scored, service.main) | {"spent": bill})

    @app.post("/v1/rank", response_model=schemas.RankAnswer)
    async def rank(body: schemas.RankRequest) -> Response:
        """Texts in order, by any criteria."""
        service.limits.check_text("criteria", body.criteria)
        ranking = await service.rank(service.group(body.prompt, body.completions), body.criteria)
        return JSONResponse(
            {
                "order": ranking.order,
                "scores": numbers(ranking.scores),
                "stderrs": numbers(ranking.stderrs),
                "reliability": number(ranking.reliability),
                "position_bias": number(ranking.position_bias),
                "failures": [v.failure for v in ranking.verdicts if v.p_first is None],
            }
        )

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", response_model=schemas.Health)
    async def healthz() -> Response:
        """Whether the server is there; needs no token."""
        judge, task = service.scorer.evaluator.judge.name, service.scorer.task.name
        return JSONResponse({"status": "ok", "judge": judge, "task": task})

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counts, as Prometheus reads them."""
        service.metrics.open.set(len(service.cohorts))
        return Response(service.metrics.page(), media_type=KIND)
