"""A run's own evaluations: when they are due, what is said of them, and whether an alarm ends the run."""

from __future__ import annotations

from pathlib import Path

from softgrpo.config.train import TrainConfig
from softgrpo.evaluation import head_to_head, watch
from softgrpo.run_folder import whole_checkpoints
from softgrpo.training import checkpoint
from softgrpo.training.build import Parts
from softgrpo.training.session import Session


class Evaluations:
    """What stands in their files is all they know: a run that goes on finds the alarms of the one before."""

    def __init__(self, config: TrainConfig, parts: Parts, run: Path, session: Session) -> None:
        self.config, self.parts, self.run, self.session = config, parts, run, session
        self.folder = run / "evaluations"
        self._records: list[watch.Record] | None = None

    @property
    def records(self) -> list[watch.Record]:
        """The run's own, by its judge against its opponent, in order of their steps."""
        if self._records is None:
            found = watch.recorded(self.folder, self.parts.evaluator.judge.name, self.parts.opponent.name)
            self._records = [e for e in found if self._falls_on(e["step"])]
        return self._records

    def is_due(self, now: int) -> bool:
        """Before the first step, every `eval_iterations`, and at the end; once each."""
        is_held = head_to_head.path_of(self.folder, now, self.parts.evaluator.judge.name).exists()
        return self._falls_on(now) and not is_held

    def hold(self, now: int) -> None:
        """The policy meets the opponent; judge and sentinel look on. An alarm of a new kind is said."""
        parts = self.parts
        theirs = head_to_head.recorded_answers(
            self.folder / "opponent.jsonl", parts.opponent, parts.task, parts.questions
        )
        found = watch.evaluate(
            parts.task,
            parts.questions,
            parts.player.answer(parts.task, parts.questions),
            theirs,
            evaluator=parts.evaluator,
            sentinel=parts.sentinel,
            step=now,
            opponent=parts.opponent.name,
            earlier=self.records,
        )
        with self.session.uninterrupted():
            if not now and self.config.on_alarm == "best":  # the base's; later ones are saved as the loop goes on
                checkpoint.save(self.run, parts.engine, now, beside={}, keep=0)
            found.write(self.folder)
            self._records = None
            self.session.console.evaluated(found.evaluation.to_dict())
            for alarm in found.evaluation.beside["new_alarms"]:  # what is written is not said again
                self.session.say(f"alarm: {alarm}")

    @property
    def over(self) -> bool:
        """An alarm has occurred, and the run is to end by it."""
        return self.config.on_alarm != "warn" and watch.alarmed_at(self.records) is not None

    @property
    def best(self) -> int | None:
        """The step to go back to, should an alarm come or where it has come; None where none is kept."""
        return watch.best(self.records) if self.config.on_alarm == "best" else None

    def may_be_best(self, step: int) -> bool:
        """It was evaluated, and the run may go back to it: a checkpoint must be there."""
        return self.config.on_alarm == "best" and any(e["step"] == step for e in self.records)

    def way_back(self) -> Path | None:
        """The checkpoint to which an alarm sends the run back; None where it stays, or that checkpoint is not there."""
        if not self.over or self.config.on_alarm != "best":
            return None
        there = {int(path.name.removeprefix("step-")): path for path in whole_checkpoints(self.run)}
        step = watch.best(self.records, there)
        return None if step is None else there[step]

    def _falls_on(self, step: int) -> bool:
        return step % self.config.eval_iterations == 0 or step == self.config.num_train_iters
