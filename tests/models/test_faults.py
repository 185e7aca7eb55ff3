"""Whose fault an error is: a machine without memory makes no model slow, and a model that is slow is said to be."""

from __future__ import annotations

import errno
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from softgrpo.engines.local.engine import LocalEngine
from softgrpo.models.faults import is_machines, let_through, out_of_memory, slower
from softgrpo.models.local import capabilities
from softgrpo.models.local.capabilities import Capabilities
from softgrpo.training import checkpoint


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
]
if newer := getattr(torch, "AcceleratorError", None):  # the oldest torch that is promised has no such type
    BROKEN_DEVICE.append(pytest.param(lambda: newer("CUDA error: device-side assert triggered"), id="newer"))
THE_MODELS_OWN = [
    RuntimeError("The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 1"),
    TypeError("attention with softcap is not built in"),
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


def failing_once(module, error, monkeypatch, *, after: int = 0):
    """One of its forward passes raises, the others do not."""
    plain, waiting = module.forward, [None] * after + [error]

    def forward(*args, **kwargs):
        if waiting and (raised := waiting.pop(0)) is not None:
            raise raised
        return plain(*args, **kwargs)

    monkeypatch.setattr(module, "forward", forward)


def unnamed(*args, **kwargs):
    raise TypeError("its attention has no name")


PROBES = [
    pytest.param("tree_attention", 0, id="trees by attention"),
    pytest.param("tree_mask", 0, id="trees under a mask"),
    pytest.param("plain_head", 6, id="head"),  # two trees and four rows come before it
]


@pytest.mark.parametrize("error", [*NO_MEMORY[:4], *BROKEN_DEVICE])
@pytest.mark.parametrize(("probe", "after"), PROBES)
@pytest.mark.filterwarnings("ignore:this model reads no prefix trees by attention")
def test_a_measure_that_the_machine_cut_off_is_no_measure(tiny, monkeypatch, probe, after, error):
    """It is raised, nothing is remembered, and the next one finds the model as it is."""
    if probe == "tree_mask":
        monkeypatch.setattr(capabilities, "tree_logits", unnamed)
    error = error()
    failing_once(tiny.module, error, monkeypatch, after=after)
    with pytest.raises(type(error)):
        _ = tiny.capabilities
    assert tiny.capabilities == Capabilities(tree_attention=probe != "tree_mask", tree_mask=True, plain_head=True)


@pytest.mark.parametrize(("probe", "after"), PROBES)
@pytest.mark.filterwarnings("ignore:this model reads no prefix trees by attention")
def test_a_measure_that_the_model_cut_off_says_so_once(tiny, monkeypatch, probe, after):
    if probe == "tree_mask":
        monkeypatch.setattr(capabilities, "tree_logits", unnamed)
    failing_once(tiny.module, RuntimeError("this model counts backwards"), monkeypatch, after=after)
    with pytest.warns(UserWarning, match="RuntimeError: this model counts backwards"):
        assert not getattr(tiny.capabilities, probe)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not getattr(tiny.capabilities, probe)


@pytest.mark.parametrize("read", [LocalEngine.restore, checkpoint.restore])
def test_a_checkpoint_is_not_called_broken_where_memory_is_short(tmp_path, monkeypatch, read):
    """What it advises is to remove the folder."""

    def full(*args, **kwargs):
        return torch.empty(1 << 55, dtype=torch.uint8)

    monkeypatch.setattr(torch, "load", full)
    engine = LocalEngine(SimpleNamespace(name="tiny"), SimpleNamespace())
    given = (engine, tmp_path) if read is LocalEngine.restore else (tmp_path, engine)
    with pytest.raises(RuntimeError, match="allocate memory"):
        read(*given)
