"""The loop: sample, score, update, record, evaluate, save."""

from __future__ import annotations

import random
import shlex
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from softgrpo.config import TrainConfig
from softgrpo.errors import UserError
from softgrpo.evaluator import tallies
from softgrpo.judging.arrivals import Arrivals
from softgrpo.judging.canaries import alarms
from softgrpo.models import names
from softgrpo.models.api_errors import APIStop
from softgrpo.models.faults import out_of_memory
from softgrpo.records import Lesson, Mismatch, Prompt, Sampling, ScoredGroup
from softgrpo.reporting.console import Console
from softgrpo.reporting.measure import group_lines, step_metrics
from softgrpo.reporting.recorder import Recorder
from softgrpo.streams import seed_for
from softgrpo.training import checkpoint, final, heldout, memory, setup
from softgrpo.training.ahead import Ahead
from softgrpo.training.interrupts import Interrupts
from softgrpo.training.lessons import lesson
from softgrpo.training.sampler import sample_groups

MAX_SKIPPED = 3
"""updates in a row that a non-finite gradient may spoil"""


def train(config: TrainConfig) -> int:
    """A whole run; returns the exit status."""
    recorder = Recorder(Path(config.output_dir))
    if recorder.exists():
        if not config.resume:
            raise UserError(f"--output_dir {config.output_dir} holds a run; add --resume, or choose another folder")
        recorder.check_same(config)
        if recorder.finished():
            print(f"{config.output_dir} is finished: see {config.output_dir}/report.html; nothing was done")
            return 0
        recorder.check_task(setup.task_record(config), "choose another --output_dir")
        recorder.hold()
    console = Console(config.num_train_iters)
    try:
        setup.check(config)
        parts = setup.build(config, console)
        recorder.hold()
        recorder.start(config, setup.task_record(config))
        return Trainer(config, parts, recorder, console).run()
    except Exception as error:  # while it was built: the trainer keeps what it can
        if not out_of_memory(error):
            raise
        console.say(memory.too_much(error, config))
        return 1
    finally:
        console.close()
        recorder.release()


class Trainer:
    """One run. `iteration` counts from 1; `safe` is the iteration of the last update."""

    def __init__(self, config: TrainConfig, parts: setup.Parts, recorder: Recorder, console: Console) -> None:
        self.config = config
        self.parts = parts
        self.recorder = recorder
        self.console = console
        self.folder = recorder.folder
        self.window: list[Lesson] = []
        self.iteration = self.safe = self.saved = 0
        self.sound = True
        """the weights are those of `safe`: no update was begun and not ended"""
        self.learned: dict[str, Any] = {}
        """the evaluator's state after the iteration's groups; a judge that works ahead may have changed it since"""
        self.kept: dict[str, Any] = {}
        """that by `safe`, and the groups that were sampled ahead then"""
        self.ahead = Ahead(
            self._score,
            parts.evaluator.state,
            staleness=config.max_staleness,
            threaded=not names.parse(config.judge_model_name).is_local,
        )
        self.skipped = 0
        self.unrecorded: tuple[list[Lesson], Mismatch | None, float] | None = None
        """an iteration whose update is made and whose record is not yet written"""
        self.times: dict[str, float] = defaultdict(float)
        self.complained: set[str] = set()
        self.durations: list[float] = []
        self.paid_before = parts.services.budget.spent.calls
        self.begun = time.monotonic()

    def run(self) -> int:
        """From the last checkpoint, or from the start, to the end."""
        with Interrupts() as self.interrupts:
            try:
                self._restore()
                self._loop()
            except KeyboardInterrupt:
                self.console.say(f"interrupted: {self._kept()}")
                return 130
            except APIStop as stop:  # a service that refuses (a key, a quota), or the budget
                self.console.say(f"stopped: {stop}; {self._kept()}")
                return 1
            except UserError as error:
                raise UserError(f"{error}; {self._kept()}") from error
            except Exception as error:
                if not out_of_memory(error):
                    raise
                traceback.clear_frames(error.__traceback__)  # what they hold is needed to save
                self.console.say(f"{memory.too_much(error, self.config)}; {self._kept_in_little()}")
                return 1
        return 1 if self.skipped >= MAX_SKIPPED else 0

    def _loop(self) -> None:
        if self._to_evaluate():  # the start; or an interrupt came between an update and its evaluation
            self._evaluate()
        while self.iteration < self.config.num_train_iters:
            started = time.monotonic()
            self.times = defaultdict(float, save=self.times["save"])  # that of the last step came after its record
            self.iteration += 1
            with self._timed("sample"):
                for k in self.ahead.missing(self.iteration, self.config.num_train_iters):
                    prompts, sampling = self._prompts(k), self._sampling(k)
                    self.ahead.sample(k, len(prompts), partial(sample_groups, self.parts.policy, prompts, sampling))
            with self._timed("wait"):
                judged = self.ahead.take(self.iteration)
            self.times["judge"] = judged.seconds
            self.learned = judged.state
            self._complain()
            lessons = [self._lesson(s) for s in judged.scored]
            self.window += lessons
            self._update(lessons, started)
            if self._to_evaluate():
                self._evaluate()
            self._record()
            if self.skipped >= MAX_SKIPPED:
                self._save()
                self.console.say(
                    f"stopped: {MAX_SKIPPED} updates in a row had a non-finite gradient; the weights saved at step "
                    f"{self.safe} are sound. Try a lower --learning_rate or --dtype float32"
                )
                return
            if self._due():
                self._save()
        self._finish()

    def _score(self, iteration: int, groups: Arrivals) -> list[ScoredGroup]:
        seed = seed_for(self.config.seed, "tournament", iteration)
        return self.parts.evaluator.score_groups(groups, seed=seed)

    def _prompts(self, iteration: int) -> list[Prompt]:
        """An iteration's prompts: each epoch goes through the training questions in an order of its own."""
        questions, task = self.parts.task.train, self.parts.task
        out = []
        for k in range(self.config.prompts_per_step):
            epoch, place = divmod((iteration - 1) * self.config.prompts_per_step + k, len(questions))
            order = list(range(len(questions)))
            random.Random(seed_for(self.config.seed, "order", epoch)).shuffle(order)
            shots = self.config.shots_for(self.config.model_name)
            out.append(task.prompt(questions[order[place]], num_shots=shots))
        return out

    def _sampling(self, iteration: int) -> Sampling:
        return Sampling(
            n=self.config.num_chains,
            temperature=self.config.temperature,
            max_tokens=self.config.max_completion_length,
            seed=seed_for(self.config.seed, "sampling", iteration),
            prefill=self.config.opening_for(self.config.model_name),
        )

    def _lesson(self, scored: Any) -> Lesson:
        config = self.config
        return lesson(
            scored,
            scale_advantages=config.scales_advantages,
            shrink_advantages=config.shrink_advantages,
            mask_truncated=config.mask_truncated,
        )

    def _update(self, lessons: list[Lesson], started: float) -> None:
        """An update follows every `gradient_accumulation_steps` iterations, and the last one."""
        self.unrecorded = (lessons, None, started)
        is_last = self.iteration == self.config.num_train_iters
        parts, config = self.parts, self.config
        learner = parts.learner
        if self.iteration % config.gradient_accumulation_steps and not is_last:
            with self._timed("learn"):
                self.unrecorded = (lessons, learner.mismatch(lessons), started)
            return
        with self._timed("learn"), self.interrupts.held():
            torch.manual_seed(seed_for(config.seed, "dropout", self.iteration))
            self.sound = False
            report = learner.update(self.window)
            if learner.reference and config.update_ref_model and learner.updates % config.update_ref_model_freq == 0:
                learner.reference.mix(learner.masters)
            self.window = []
            self.safe, self.sound = self.iteration, True
            self.kept = {"judging": self.learned, "pending": self.ahead.pending()}
            self.unrecorded = (lessons, report, started)
        bad = bool(report.skipped) and report.n_trained > 0
        self.skipped = self.skipped + 1 if bad else 0
        if bad:
            self.console.say(f"step {self.iteration}: update skipped, {report.skipped}")

    def _record(self) -> None:
        if self.unrecorded is None:
            return
        lessons, learned, started = self.unrecorded
        seconds = time.monotonic() - started
        self.times["elapsed"] = time.monotonic() - self.begun
        metrics = step_metrics(self.iteration, lessons, learned, dict(self.times), seconds)
        left = self.config.num_train_iters - self.iteration
        metrics |= self._judge_health()
        metrics |= self.parts.services.spending(self.paid_before, len(self.durations) + 1, left)
        lines = group_lines(lessons)
        with self.interrupts.held():
            self.recorder.groups(self.iteration, lines)
            self.recorder.step(metrics)
            self.unrecorded = None
        self.durations.append(seconds)
        recent = self.durations[-20:]
        self.console.step(self.iteration, metrics, left * sum(recent) / len(recent))
        if self.config.verbose:
            self.console.say(lines[0]["completions"][0]["text"])
            for verdict in lines[0]["verdicts"][:4]:
                self.console.say(str(verdict))

    def _evaluate(self) -> None:
        config, parts = self.config, self.parts
        with self._timed("evaluate"):
            player = heldout.Player(
                name=config.model_name,
                model=parts.policy,
                num_shots=config.shots_for(config.model_name),
                sampling=setup.eval_sampling(config, config.model_name, "policy"),
            )
            path = self.folder / "evaluations" / "opponent.jsonl"
            theirs = heldout.recorded_answers(path, parts.opponent, parts.task, parts.questions)
            evaluation, met = heldout.evaluate(
                parts.task,
                parts.questions,
                player.answer(parts.task, parts.questions),
                theirs,
                evaluator=parts.evaluator,
                step=self.iteration,
                opponent=parts.opponent.name,
            )
            with self.interrupts.held():
                heldout.write(self.folder / "evaluations", evaluation, met)
        self.console.evaluated(evaluation.to_dict())

    def _complain(self) -> None:
        """Say once what is wrong with a reward of the task's own."""
        for name, wrong in self.learned["complaints"].items():
            if name not in self.complained:
                self.complained.add(name)
                self.console.say(f"reward {name!r} fails ({wrong}): such completions have no reward and are left out")

    def _judge_health(self) -> dict[str, int]:
        """How the canaries have fared up to the iteration's groups; an alarm is said once."""
        tallied = tallies(self.learned)
        for alarm in alarms(tallied):
            if alarm.split(":")[0] not in self.complained:
                self.complained.add(alarm.split(":")[0])
                self.console.say(f"warning: {alarm}")
        return {
            "n_canaries": sum(t.n for t in tallied.values()),
            "n_canaries_wrong": sum(t.n_wrong for t in tallied.values()),
            "n_canaries_failed": sum(t.n_failed for t in tallied.values()),
            "n_canary_alarms": sum(t.alarm for t in tallied.values()),
        }

    def _to_evaluate(self) -> bool:
        """Before the first step, every `eval_iterations`, and at the end; once each."""
        is_due = self.iteration % self.config.eval_iterations == 0 or self.iteration == self.config.num_train_iters
        judge = self.parts.evaluator.judge.name
        return is_due and not heldout.path_of(self.folder / "evaluations", self.iteration, judge).exists()

    def _due(self) -> bool:
        """A checkpoint is due once an update has passed a multiple of `save_steps`."""
        every = self.config.save_steps
        return self.safe == self.iteration and self.safe // every > self.saved // every

    def _save(self) -> None:
        """The state after the last update. What was sampled since is sampled again on resume."""
        if self.safe == self.saved or not self.sound:
            return
        with self._timed("save"), self.interrupts.held():
            checkpoint.save(
                self.folder / "checkpoints",
                self.parts.learner,
                self.safe,
                beside=self.kept,
                keep=self.config.save_total_limit,
            )
            self.saved = self.safe

    def _kept(self) -> str:
        """Save what there is, and say what follows."""
        if self.safe == self.iteration:
            self._record()
        self._save()
        if not self.saved:
            what = "saved" if self.safe else "learned"
            return f"nothing was {what} yet; {self._command()} starts over and pays for no judgement twice"
        return f"saved at step {self.saved}; {self._command()} goes on"

    def _kept_in_little(self) -> str:
        """The same where there may not be memory enough to save."""
        try:
            return self._kept()
        except Exception as error:
            if not out_of_memory(error):
                raise
            self.sound = False
            return self._kept()

    def _command(self) -> str:
        """The command that resumes."""
        return f"softgrpo train --config {shlex.quote(str(self.folder / 'config.yaml'))} --resume"

    def _restore(self) -> None:
        whole = checkpoint.found(self.folder / "checkpoints") if self.config.resume else []
        if whole:
            progress = checkpoint.restore(whole[-1], self.parts.learner)
            self.iteration = self.safe = self.saved = progress.iteration
            self.parts.evaluator.restore(progress.beside.get("judging", {}))
            self.learned = self.parts.evaluator.state()
            self.kept = progress.beside
            self.ahead.restore(progress.beside.get("pending", {}), self._prompts)
            self.console.say(f"resumed at step {self.iteration}")
        self.recorder.rewind(self.iteration if whole else -1)

    def _finish(self) -> None:
        self._save()
        with self.interrupts.held():
            final.write(self.folder, self.parts.policy, self.config)
            self.recorder.finish()
        self.console.close()
        for path in final.report(self.folder):
            self.console.say(f"wrote {path}")

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.times[name] += time.monotonic() - started
