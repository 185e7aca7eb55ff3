"""What a run is at one moment: each transition by hand, and that none changes what was before."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from softgrpo.records import Mismatch, UpdateReport
from softgrpo.training.run_state import RunState, Step

MISMATCH = Mismatch(mismatch_abs=0.0, mismatch_k3=0.0, bounded_share=0.0)
REPORT = UpdateReport(
    update=1,
    learning_rate=1e-6,
    loss=0.1,
    kl=0.0,
    clip_share=0.0,
    grad_norm=1.0,
    n_trained=4,
    n_tokens=12,
    mismatch_abs=0.0,
    mismatch_k3=0.0,
    bounded_share=0.0,
)
SPOILED = replace(REPORT, grad_norm=float("inf"), skipped="its gradient is not finite")
NOTHING_LEARNED = replace(REPORT, n_trained=0, skipped="no group with differing rewards")


def after(*reports, per_update=1, state=RunState()):  # noqa: B008
    """A state after iterations of one group each, of which every `per_update`-th learns."""
    for report in reports:
        for k in range(per_update):
            state = state.sampled((f"group {state.iteration + 1}",), {"seen": state.iteration + 1})
            state = state.measured(MISMATCH) if k + 1 < per_update else state.updating().learned(report, {})
            state = state.recorded()
    return state


def test_a_run_begins_with_nothing():
    state = RunState()
    assert (state.iteration, state.updated, state.saved, state.skipped, state.sound) == (0, 0, 0, 0, True)
    assert (state.window, state.unrecorded, dict(state.judge), dict(state.beside)) == ((), None, {}, {})


def test_a_window_of_two_iterations():
    first = RunState().sampled(("a",), {"seen": 1})
    assert (first.iteration, first.updated, first.window, first.judge) == (1, 0, ("a",), {"seen": 1})
    assert first.unrecorded == Step(groups=("a",))
    measured = first.measured(MISMATCH)
    assert measured.unrecorded == Step(groups=("a",), report=MISMATCH)
    assert (measured.updated, measured.window) == (0, ("a",)), "what waits for the update still waits"
    second = measured.recorded().sampled(("b", "c"), {"seen": 2})
    assert second.window == ("a", "b", "c")
    assert second.unrecorded == Step(groups=("b", "c")), "an iteration is recorded with its own groups alone"
    begun = second.updating()
    assert (begun.sound, begun.updated) == (False, 0)
    learned = begun.learned(REPORT, {3: ["pending"]})
    assert (learned.iteration, learned.updated, learned.saved) == (2, 2, 0)
    assert (learned.window, learned.sound, learned.skipped) == ((), True, 0)
    assert learned.beside == {"judging": {"seen": 2}, "pending": {3: ["pending"]}}
    assert learned.unrecorded == Step(groups=("b", "c"), report=REPORT)


def test_a_checkpoint_holds_the_last_update_and_not_what_came_after():
    learned = after(REPORT, per_update=2)
    later = learned.sampled(("c",), {"seen": 3}).measured(MISMATCH).recorded()
    saved = later.checkpointed()
    assert (saved.iteration, saved.updated, saved.saved) == (3, 2, 2)
    assert saved.beside["judging"] == {"seen": 2}, "what was learned of the judge since is learned again"
    assert saved.window == ("c",)


def test_to_record_forgets_the_step_and_nothing_else():
    learned = RunState().sampled(("a",), {}).updating().learned(REPORT, {})
    assert learned.recorded() == replace(learned, unrecorded=None)
    assert learned.recorded().recorded() == learned.recorded()


@pytest.mark.parametrize(
    ("reports", "skipped"),
    [
        ([SPOILED], 1),
        ([SPOILED, SPOILED], 2),
        ([SPOILED, REPORT], 0),
        ([SPOILED, NOTHING_LEARNED], 0),
        ([NOTHING_LEARNED], 0),
        ([REPORT, SPOILED, SPOILED, SPOILED], 3),
    ],
)
def test_spoiled_updates_count_while_they_follow_each_other(reports, skipped):
    state = after(*reports)
    assert state.skipped == skipped
    assert state.updated == state.iteration == len(reports), "the weights are those of before, and sound"
    assert state.sound


def test_iterations_without_an_update_do_not_break_a_row_of_spoiled_ones():
    state = after(SPOILED, per_update=2)
    assert state.sampled(("x",), {}).measured(MISMATCH).skipped == 1
    assert after(SPOILED, state=state, per_update=2).skipped == 2


def test_a_state_is_never_changed():
    before = RunState().sampled(("a",), {"seen": 1})
    kept = replace(before)
    before.measured(MISMATCH)
    before.updating().learned(REPORT, {}).recorded().checkpointed()
    before.sampled(("b",), {"seen": 2})
    assert before == kept
    with pytest.raises(FrozenInstanceError):
        before.iteration = 7
    with pytest.raises(TypeError):
        RunState().judge["seen"] = 1
    with pytest.raises(FrozenInstanceError):
        before.unrecorded.report = MISMATCH


def test_there_is_nothing_to_report_of_no_iteration():
    with pytest.raises(AssertionError):
        RunState().measured(MISMATCH)
