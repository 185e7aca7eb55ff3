"""TRL's asynchronous trainer, with several groups before the judge at once: by itself it awaits one after the other."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from trl.experimental.async_grpo import async_rollout_worker

from softgrpo.errors import UserError


class JudgingSideBySide(async_rollout_worker._AsyncRolloutLoop):  # type: ignore[misc]
    """TRL's own loop, whose part that takes finished groups and has them scored runs several times."""

    def __init__(self, *, groups_at_once: int, **options: Any) -> None:
        super().__init__(**options)
        self.groups_at_once = groups_at_once

    async def _score_loop(self, stop_event: asyncio.Event) -> None:
        await asyncio.gather(
            *(super(JudgingSideBySide, self)._score_loop(stop_event) for _ in range(self.groups_at_once))
        )


def judge_side_by_side(trainer: Any, *, groups_at_once: int = 16) -> None:
    """Before `trainer.train()`: let an `AsyncGRPOTrainer` have that many groups judged at once.

    Raises `UserError` for a trainer whose rollout worker is not TRL's own.
    """
    worker = getattr(trainer, "rollout_worker", None)
    if worker is None and not trainer.accelerator.is_main_process:
        return  # the worker is the main process's
    if not isinstance(worker, async_rollout_worker.AsyncRolloutWorker):
        raise UserError(f"rollout_worker is a {type(worker).__name__}; only TRL's own can judge groups side by side")
    if worker._loop_cls is not async_rollout_worker._AsyncRolloutLoop:
        raise UserError(f"rollout_worker has a loop of its own, {worker._loop_cls}; only TRL's can be widened")
    worker._loop_cls = partial(JudgingSideBySide, groups_at_once=groups_at_once)
