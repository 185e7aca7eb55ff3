"""A step played again as a graph is the step itself, for rows that come and go; what asks the host is done as it is."""

from __future__ import annotations

import pytest
import torch

from softgrpo.models.local import generation, shared_rows
from softgrpo.models.local.capture import Captured
from softgrpo.models.local.shared_rows import ROOM, SharedRows
from softgrpo.models.local.token_step import LeanStep, ModuleStep
from tests.fakes.recorded_ops import Recorder

PROMPTS = [[4, 9, 10], [4, 7, 8, 11, 20, 5], [5, 5]]


@torch.inference_mode()
@pytest.mark.parametrize("step", [LeanStep, ModuleStep])
def test_a_recorded_step_is_the_step_itself(tiny, step):
    """Over more tokens than there is room for at first, and a change of rows: one recording for each shape."""
    record = Recorder()
    make = lambda: LeanStep(tiny.module, 4) if step is LeanStep else ModuleStep(tiny.module)  # noqa: E731
    plain, recorded = SharedRows(tiny.module, PROMPTS, make()), SharedRows(tiny.module, PROMPTS, make(), record=record)
    generator = torch.Generator().manual_seed(0)
    for rows in (plain, recorded):
        rows.place(range(4), [0, 0, 1, 2])
    for t in range(ROOM + 8):
        if t == ROOM + 4:
            for rows in (plain, recorded):
                rows.keep(torch.tensor([1, 3]))
        tokens = torch.randint(6, 40, (len(plain.prompt_of),), generator=generator)
        running = torch.ones(len(tokens), dtype=torch.bool)
        running[-1] = t % 3 > 0
        expected, found = plain.step(tokens, running), recorded.step(tokens, running)
        assert torch.allclose(found, expected, atol=1e-4), t
        assert torch.equal(plain.lengths_B, recorded.lengths_B)
    assert len(record.recordings) == 3


def test_sampling_by_recorded_steps_draws_the_same(tiny, monkeypatch):
    """Rows that end, leave and are replaced, with fewer places than rows."""
    how = dict(n=5, temperature=0.9, max_tokens=20, end_ids=frozenset(range(30, 40)), pad_id=0, seed=3, rows_at_once=6)
    plain = generation.sample(tiny.module, PROMPTS, **how)
    record = Recorder()

    class Recorded(SharedRows):
        def __init__(self, *given):
            super().__init__(*given, record=record)

    monkeypatch.setattr(shared_rows, "SharedRows", Recorded)
    found = generation.sample(tiny.module, PROMPTS, **how)
    assert record.recordings
    for a, b in zip(plain, found, strict=True):
        assert [d.token_ids for d in a] == [d.token_ids for d in b]
        assert torch.allclose(*(torch.tensor([x for d in g for x in d.logprobs]) for g in (a, b)), atol=1e-4)


def test_work_that_asks_the_host_is_done_as_it_is(monkeypatch):
    monkeypatch.setattr(Captured, "_complained", False)
    work = lambda x: x * 2 if x.sum().item() > 0 else x  # noqa: E731
    with pytest.warns(UserWarning, match="asks the host"):
        captured = Captured(work, Recorder(), torch.ones(2))
    assert captured(torch.tensor([3.0, 4.0])).tolist() == [6.0, 8.0]
    assert captured(-torch.ones(2)).tolist() == [-1.0, -1.0]


def test_a_recording_sees_new_inputs_and_kept_state():
    state = torch.zeros(1)

    def work(x):
        state.add_(x)
        return state * 10

    captured = Captured(work, Recorder(), torch.zeros(1))
    assert [captured(torch.tensor([v])).item() for v in (1.0, 2.0)] == [10.0, 30.0]
