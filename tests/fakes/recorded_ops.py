"""Operations recorded and played again on the same tensors: what a CUDA graph does, on any device.

Like a graph it knows no Python: every operation is repeated on the very tensors of the recording, whatever became of
them, and asking the host for a value is an error.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

HOST = {"aten._local_scalar_dense.default", "aten.nonzero.default", "aten.equal.default", "aten.unique2.default"}


class RecordedOps(TorchDispatchMode):
    """As a context, it records."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(func) in HOST:
            raise RuntimeError(f"{func} asks the host")
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out

    def replay(self) -> None:
        for func, args, kwargs, before in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_flatten(before)[0], tree_flatten(again)[0], strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Recorder:
    """Stands in for `cuda_graph`; counts its recordings."""

    def __init__(self) -> None:
        self.recordings: list[RecordedOps] = []

    def __call__(self, work: Any, inputs: list[torch.Tensor]) -> tuple[Any, torch.Tensor]:
        work(*inputs)
        with RecordedOps() as ops:
            output = work(*inputs)
        self.recordings.append(ops)
        return ops.replay, output
