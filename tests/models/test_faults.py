"""Whose fault an error is: a machine without memory makes no model slow, and a model that is slow is said to be."""

from __future__ import annotations

import errno
import warnings

import numpy as np
import pytest
import torch

from softgrpo.models.faults import is_machines, let_through, out_of_memory, slower
from softgrpo.models.local import forest, packed_weights, token_step
from softgrpo.models.local.capture import Captured
from softgrpo.training import checkpoint, forward


def raised(work) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        work()
    return caught.value


NO_MEMORY = [
    pytest.param(lambda: raised(lambda: torch.empty(1 << 55, dtype=torch.uint8)), id="torch on processors, in truth"),
    pytest.param(lambda: raised(lambda: np.empty(1 << 50)), id="numpy, in truth"),
    pytest.param(lambda: MemoryError(), id="Python"),
    pytest.param(lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), id="CUDA"),
    pytest.param(lambda: RuntimeError("MPS backend out of memory (MPS allocated: 17.9 GiB)"), id="MPS"),
    pytest.param(lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), id="cuBLAS"),
    pytest.param(lambda: RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9"), id="Windows"),
    pytest.param(lambda: OSError(errno.ENOMEM, "Cannot allocate memory"), id="the system"),
]
BROKEN_DEVICE = [
    pytest.param(lambda: RuntimeError("CUDA error: an illegal memory access was encountered"), id="older"),
    pytest.param(lambda: torch.AcceleratorError("CUDA error: device-side assert triggered"), id="newer"),
]
THE_MODELS_OWN = [
    RuntimeError("The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 1"),
    TypeError("attention with softcap is not built in"),
    torch.AcceleratorError("CUDA error: operation not permitted when stream is capturing"),
]


@pytest.mark.parametrize("error", NO_MEMORY)
def test_no_memory_is_known_by_its_type_or_its_words(error):
    assert out_of_memory(error())
    assert is_machines(error())


def test_also_behind_another_error():
    def work():
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    assert out_of_memory(raised(work))


@pytest.mark.parametrize("error", BROKEN_DEVICE)
def test_a_broken_device_is_the_machines_and_no_lack_of_memory(error):
    assert is_machines(error())
    assert not out_of_memory(error())


@pytest.mark.parametrize("error", THE_MODELS_OWN, ids=lambda e: str(e)[:30])
def test_what_is_the_models_own_is_said_in_its_words(error):
    assert not is_machines(error)
    let_through(error)
    with pytest.warns(UserWarning, match="rows are apart") as said:
        slower("rows are apart", error)
    assert str(error) in str(said[0].message)


def failing_once(module, error, monkeypatch):
    """Its next forward pass raises; those after it do not."""
    plain, waiting = module.forward, [error]

    def forward(*args, **kwargs):
        if waiting:
            raise waiting.pop()
        return plain(*args, **kwargs)

    monkeypatch.setattr(module, "forward", forward)


PROBES = [
    pytest.param(forest.reads_forests, "_softgrpo_reads_forests", id="forests"),
    pytest.param(token_step.has_usual_shape, "_softgrpo_usual_shape", id="shape"),
    pytest.param(forward.has_plain_head, "_softgrpo_plain_head", id="head"),
]


@pytest.mark.parametrize("error", [*NO_MEMORY[:4], *BROKEN_DEVICE])
@pytest.mark.parametrize(("probe", "known"), PROBES)
def test_a_measure_that_the_machine_cut_off_is_no_measure(tiny, monkeypatch, probe, known, error):
    """It is raised, nothing is remembered, and the next one finds the model as it is."""
    error = error()
    failing_once(tiny.module, error, monkeypatch)
    with pytest.raises(type(error)):
        probe(tiny.module)
    assert known not in tiny.module.__dict__
    assert probe(tiny.module)


@pytest.mark.parametrize(("probe", "known"), PROBES)
def test_a_measure_that_the_model_cut_off_says_so_once(tiny, monkeypatch, probe, known):
    failing_once(tiny.module, RuntimeError("this model counts backwards"), monkeypatch)
    with pytest.warns(UserWarning, match="RuntimeError: this model counts backwards"):
        assert not probe(tiny.module)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not probe(tiny.module)


def test_whether_a_tree_is_read_is_not_answered_by_a_machine_without_memory(tiny, monkeypatch):
    tiny.module.__dict__["_softgrpo_reads_forests"] = False
    forward.has_plain_head(tiny.module)
    real = forward.token_logprobs

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(forward, "token_logprobs", full)
    with pytest.raises(torch.OutOfMemoryError):
        forward.reads_trees(tiny.module, 0)
    monkeypatch.setattr(forward, "token_logprobs", real)
    assert forward.reads_trees(tiny.module, 0)


@pytest.mark.parametrize("error", [*NO_MEMORY[:1], *NO_MEMORY[3:4], *BROKEN_DEVICE])
def test_a_recording_that_the_machine_cut_off_is_raised(error):
    def record(work, inputs):
        raise error()

    with pytest.raises(RuntimeError):
        Captured(lambda x: x, record, torch.ones(1))


def test_processors_are_not_judged_by_a_lack_of_memory(monkeypatch):
    def full():
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(torch.backends.mkldnn, "is_available", full)
    with pytest.raises(torch.OutOfMemoryError):
        packed_weights._is_possible()


def test_a_checkpoint_is_not_called_broken_where_memory_is_short(tmp_path, monkeypatch):
    """What it advises is to remove the folder."""

    def full(*args, **kwargs):
        return torch.empty(1 << 55, dtype=torch.uint8)

    monkeypatch.setattr(torch, "load", full)
    with pytest.raises(RuntimeError, match="allocate memory"):
        checkpoint.restore(tmp_path, None)
