"""The loop: sample, score, update, record, evaluate, save."""

from __future__ import annotations

from dataclasses import replace

from softgrpo.config.train import TrainConfig
from softgrpo.evaluator import tallies
from softgrpo.grpo.training_group import to_training_group
from softgrpo.judges.canaries import alarms
from softgrpo.records import ScoredGroup, TrainingGroup
from softgrpo.reporting import model_card
from softgrpo.reporting.measure import canary_metrics, group_lines, step_metrics
from softgrpo.reporting.recorder import Recorder
from softgrpo.reporting.report import write_report
from softgrpo.run_folder import whole_checkpoints
from softgrpo.streams import seed_for
from softgrpo.training import checkpoint
from softgrpo.training.build import Parts
from softgrpo.training.evaluations import Evaluations
from softgrpo.training.run_state import RunState
from softgrpo.training.session import Session

MAX_SKIPPED = 3
"""updates in a row that a non-finite gradient may spoil"""


class Loop:
    """One run, from the last checkpoint or from the start. `state` is where it stands."""

    def __init__(self, config: TrainConfig, parts: Parts, recorder: Recorder, session: Session) -> None:
        self.config, self.parts, self.recorder, self.session = config, parts, recorder, session
        self.folder = recorder.folder
        self.evaluations = Evaluations(config, parts, self.folder, session)
        self.state = RunState()
        self.paid_before = parts.services.budget.spent.calls

    def run(self) -> bool:
        """To the end, or to an alarm that ends the run; False where updates had to be given up."""
        self._restore()
        self._evaluate()  # the start; or an interrupt came between an update and its evaluation
        self.session.begin_step()
        rollouts = self.parts.rollouts.after(self.state.iteration, self.session.timed)
        for judged in () if self.evaluations.over else rollouts:
            self.session.times["judge"] = judged.seconds
            groups = tuple(self._training_group(scored) for scored in judged.scored)
            self.state = self.state.sampled(groups, judged.state)
            self._warn()
            self._learn()
            self._evaluate()
            self.record()
            if self.state.skipped >= MAX_SKIPPED:
                return self._give_up()
            if self._checkpoint_is_due():
                self.save()
            if self.evaluations.over:
                break
            self.session.begin_step()
        self._finish()
        return True

    def _training_group(self, scored: ScoredGroup) -> TrainingGroup:
        return to_training_group(
            scored,
            scale_advantages=self.config.scales_advantages,
            shrink_advantages=self.config.shrink_advantages,
            mask_truncated=self.config.mask_truncated,
        )

    def _warn(self) -> None:
        """Say once what is wrong with a reward of the task's own, or with the judge."""
        for name, wrong in self.state.judge["complaints"].items():
            said = f"reward {name!r} fails ({wrong}): such completions have no reward and are left out"
            self.session.say_once(f"reward {name}", said)
        for alarm in alarms(tallies(self.state.judge)):
            self.session.say_once(alarm.split(":")[0], f"warning: {alarm}")

    def _learn(self) -> None:
        """An update follows every `gradient_accumulation_steps` iterations, and the last one."""
        engine, now = self.parts.engine, self.state.iteration
        assert self.state.unrecorded is not None
        if now % self.config.gradient_accumulation_steps and now != self.config.num_train_iters:
            with self.session.timed("learn"):
                self.state = self.state.measured(engine.mismatch(self.state.unrecorded.groups))
            return
        with self.session.timed("learn"), self.session.uninterrupted():
            self.state = self.state.updating()
            report = engine.update(self.state.window, seed=seed_for(self.config.seed, "dropout", now))
            self.state = self.state.learned(report, self.parts.rollouts.pending())
        if self.state.skipped:
            self.session.say(f"step {now}: update skipped, {report.skipped}")

    def _evaluate(self) -> None:
        """Before the first step, every `eval_iterations`, and at the end; once each."""
        if self.evaluations.is_due(self.state.iteration):
            with self.session.timed("evaluate"):
                self.evaluations.hold(self.state.iteration)

    def record(self) -> None:
        """Write the iteration down, unless that is done."""
        step, now = self.state.unrecorded, self.state.iteration
        if step is None:
            return
        seconds, left = self.session.step_seconds(), self.config.num_train_iters - now
        metrics = step_metrics(now, step.groups, step.report, dict(self.session.times), seconds)
        metrics |= canary_metrics(tallies(self.state.judge))
        metrics |= self.parts.services.spending(self.paid_before, len(self.session.durations) + 1, left)
        lines = group_lines(step.groups)
        with self.session.uninterrupted():
            self.recorder.groups(now, lines)
            self.recorder.step(metrics)
            self.state = self.state.recorded()
        self.session.end_step(seconds)
        self.session.console.step(now, metrics, self.session.seconds_left(left))
        if self.config.verbose:
            self.session.console.verbose(lines)

    def _checkpoint_is_due(self) -> bool:
        """Once an update has passed a multiple of `save_steps`, and wherever an alarm may send the run back to."""
        every, state = self.config.save_steps, self.state
        is_due = state.updated // every > state.saved // every or self.evaluations.may_be_best(state.updated)
        return state.updated == state.iteration and is_due

    def save(self) -> None:
        """The state after the last update. What was sampled since is sampled again on resume."""
        state = self.state
        if state.updated == state.saved or not state.sound:
            return
        with self.session.timed("save"), self.session.uninterrupted():
            keep = self.config.save_total_limit
            spare = self.evaluations.best
            checkpoint.save(
                self.folder, self.parts.engine, state.updated, beside=dict(state.beside), keep=keep, spare=spare
            )
            self.state = state.checkpointed()

    def _restore(self) -> None:
        whole = whole_checkpoints(self.folder) if self.config.resume else []
        if whole:
            progress = checkpoint.restore(whole[-1], self.parts.engine)
            at, beside = progress.iteration, progress.beside
            self.parts.evaluator.restore(beside.get("judging", {}))
            judge = self.parts.evaluator.state()
            self.state = RunState(iteration=at, updated=at, saved=at, judge=judge, beside=beside)
            self.parts.rollouts.restore(beside.get("pending", {}))
            self.session.say(f"resumed at step {at}")
        self.recorder.rewind(self.state.iteration if whole else -1)

    def _give_up(self) -> bool:
        self.save()
        self.session.say(
            f"stopped: {MAX_SKIPPED} updates in a row had a non-finite gradient; the weights saved at step "
            f"{self.state.updated} are sound. Try a lower --learning_rate or --dtype float32"
        )
        return False

    def _finish(self) -> None:
        self.save()
        step = self.state.iteration
        with self.session.uninterrupted():
            if way_back := self.evaluations.way_back():
                step = checkpoint.restore(way_back, self.parts.engine).iteration
            model_card.write_final(self.folder, self.parts.engine.export, self.config, step)
            self.recorder.finish(step)
        if self.evaluations.over:
            self.session.say(f"an alarm has ended the run at step {self.state.iteration}; final/ is of step {step}")
        self.session.console.close()
        for path in write_report(self.folder):
            self.session.say(f"wrote {path}")

    def unsound(self) -> None:
        """What is being learned is not to be saved."""
        self.state = replace(self.state, sound=False)
