"""`softgrpo train`: a whole run, and what is kept of it however it ends."""

from __future__ import annotations

import shlex
import traceback
from pathlib import Path

from softgrpo.assembly import task_record
from softgrpo.config import TrainConfig
from softgrpo.errors import UserError
from softgrpo.model_interface import ModelPool
from softgrpo.models.api.errors import APIStop
from softgrpo.models.faults import out_of_memory
from softgrpo.reporting.console import Console
from softgrpo.reporting.recorder import Recorder
from softgrpo.tasks import Tasks
from softgrpo.training import build, checks, memory
from softgrpo.training.loop import Loop
from softgrpo.training.session import Session


def run(config: TrainConfig) -> int:
    """A whole run; returns the exit status."""
    recorder = Recorder(Path(config.output_dir))
    tasks: Tasks | None = None
    if recorder.exists():
        if not config.resume:
            raise UserError(f"--output_dir {config.output_dir} holds a run; add --resume, or choose another folder")
        recorder.check_same(config)
        if recorder.finished():
            print(f"{config.output_dir} is finished: see {config.output_dir}/report.html; nothing was done")
            return 0
        tasks = Tasks.load(config.task, config.scoring_task)
        recorder.check_task(task_record(config, tasks), "choose another --output_dir")
        recorder.hold()
    console = Console(config.num_train_iters)
    try:
        pool = ModelPool(dtype=config.dtype, device=config.device, max_concurrency=config.max_concurrency)
        tasks = checks.check(config, pool, tasks)
        parts = build.build(config, tasks, pool, console)
        recorder.hold()
        recorder.start(config, task_record(config, tasks))
        with Session(console) as session:
            status = _kept_whatever_comes(Loop(config, parts, recorder, session))
        if not status and not parts.rollouts.pending():  # else a judge may still be at work
            pool.close()
            parts.services.close()
        return status
    except Exception as error:  # while it was built: the loop keeps what it can
        if not out_of_memory(error):
            raise
        console.say(memory.too_much(error, config))
        return 1
    finally:
        console.close()
        recorder.release()


def _kept_whatever_comes(loop: Loop) -> int:
    """Run; however it ends, what is learned is saved and it is said how to go on. Returns the exit status."""
    try:
        return 0 if loop.run() else 1
    except KeyboardInterrupt:
        loop.session.say(f"interrupted: {_kept(loop)}")
        return 130
    except APIStop as stop:  # a service that refuses (a key, a quota), or the budget
        loop.session.say(f"stopped: {stop}; {_kept(loop)}")
        return 1
    except UserError as error:
        raise UserError(f"{error}; {_kept(loop)}") from error
    except Exception as error:
        if not out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # what they hold is needed to save
        loop.session.say(f"{memory.too_much(error, loop.config)}; {_kept_in_little(loop)}")
        return 1


def _kept(loop: Loop) -> str:
    """Save what there is, and say what follows."""
    if loop.state.updated == loop.state.iteration:
        loop.record()
    loop.save()
    state, folder = loop.state, loop.folder
    command = f"softgrpo train --config {shlex.quote(str(folder / 'config.yaml'))} --resume"
    if not state.saved:
        what = "saved" if state.updated else "learned"
        return f"nothing was {what} yet; {command} starts over and pays for no judgement twice"
    return f"saved at step {state.saved}; {command} goes on"


def _kept_in_little(loop: Loop) -> str:
    """The same where there may not be memory enough to save."""
    try:
        return _kept(loop)
    except Exception as error:
        if not out_of_memory(error):
            raise
        loop.unsound()
        return _kept(loop)
