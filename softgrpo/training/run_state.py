"""What a run is at one moment: one frozen record, and what may become of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from softgrpo.records import NOTHING, Mismatch, TrainingGroup, UpdateReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An iteration that is not yet written down."""

    groups: tuple[TrainingGroup, ...]
    report: Mismatch | None = None
    """an `UpdateReport`, or the mismatch alone on iterations without an update; None before either is known"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """Iterations count from 1. A state is made from the one before, never changed."""

    iteration: int = 0
    """the last that was sampled and judged"""
    updated: int = 0
    """the last of which the weights have learned"""
    saved: int = 0
    """the last that a checkpoint holds"""
    window: tuple[TrainingGroup, ...] = ()
    """groups that wait for the update"""
    judge: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    """the evaluator's state after the iteration's groups; a judge that works ahead may have changed it since"""
    beside: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    """what a checkpoint keeps beside the engine: that state by `updated`, and the groups that were sampled ahead"""
    unrecorded: Step | None = None
    skipped: int = 0
    """updates in a row that a non-finite gradient has spoiled"""
    sound: bool = True
    """the weights are those of `updated`: no update was begun and not ended"""

    def sampled(self, groups: tuple[TrainingGroup, ...], judge: Mapping[str, Any]) -> RunState:
        """Another iteration's groups are judged.

        >>> state = RunState().sampled((), {})
        >>> state.iteration, state.updated, state.unrecorded
        (1, 0, Step(groups=(), report=None))
        """
        return replace(
            self,
            iteration=self.iteration + 1,
            window=self.window + groups,
            judge=judge,
            unrecorded=Step(groups=groups),
        )

    def measured(self, mismatch: Mismatch) -> RunState:
        """The iteration ends without an update."""
        return self._reported(mismatch)

    def updating(self) -> RunState:
        """An update begins: should it not end, the weights are nobody's."""
        return replace(self, sound=False)

    def learned(self, report: UpdateReport, pending: Mapping[int, Any]) -> RunState:
        """The update has ended: the window is empty, and this is what a checkpoint would hold."""
        spoiled = bool(report.skipped) and report.n_trained > 0
        return replace(
            self._reported(report),
            window=(),
            updated=self.iteration,
            sound=True,
            beside={"judging": self.judge, "pending": pending},
            skipped=self.skipped + 1 if spoiled else 0,
        )

    def recorded(self) -> RunState:
        """The iteration is written down."""
        return replace(self, unrecorded=None)

    def checkpointed(self) -> RunState:
        """A checkpoint holds the last update."""
        return replace(self, saved=self.updated)

    def _reported(self, report: Mismatch) -> RunState:
        assert self.unrecorded is not None
        return replace(self, unrecorded=replace(self.unrecorded, report=report))
