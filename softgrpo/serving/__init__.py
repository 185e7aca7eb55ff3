"""A `Scorer` over HTTP, for trainers that cannot hold one: whole groups, or samples that come one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from softgrpo.scorer import Scorer

__all__ = ["app_for"]


def app_for(scorer: Scorer, **limits: Any) -> Any:
    """A FastAPI app that serves this scorer, to be mounted in another one or run by any ASGI server.

    `limits` are the fields of `serving.limits.Limits`, such as `cohort_deadline_s=60` or `cohorts="kept.sqlite"`;
    `token` is what every request must bear, if any must. The scorer stays the caller's to close.
    """
    from softgrpo.serving.app import make_app

    return make_app(scorer, **limits)
