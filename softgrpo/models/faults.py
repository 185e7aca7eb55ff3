"""Whose fault an error is: the model's, which is then computed in a slower way, or the machine's, which has no more
memory or a broken device. What the machine could not do says nothing about the model, and is never remembered of it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator

import torch

NO_MEMORY = r"(?i)out of memory|(can't|cannot|unable to) allocate memory|not enough memory|_ALLOC_FAILED"
DEVICE = r"(CUDA|HIP|MPS|XPU|cuDNN|CUBLAS|NCCL) error"
"""in the words for work that cannot be recorded as a graph, which is a matter of the work"""


def out_of_memory(error: BaseException) -> bool:
    """Whether memory was short, on a device or in the process; perhaps behind another error.

    >>> out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory")), out_of_memory(RuntimeError("shape"))
    (True, False)
    """
    kinds = (MemoryError, torch.OutOfMemoryError)
    return any(isinstance(e, kinds) or re.search(NO_MEMORY, str(e)) is not None for e in _behind(error))


def is_machines(error: BaseException) -> bool:
    """Whether it is the machine's fault: no memory, or an error of the device."""
    if out_of_memory(error):
        return True
    return isinstance(error, getattr(torch, "AcceleratorError", ())) or re.search(DEVICE, str(error)) is not None


def let_through(error: BaseException) -> None:
    """Raise it again if it is the machine's fault."""
    if is_machines(error):
        raise error


def slower(what: str, error: BaseException) -> None:
    """Say why a model takes a slower way; what is the machine's fault is raised again."""
    let_through(error)
    warnings.warn(f"{what}: {in_words(error)}", stacklevel=3)


def in_words(error: BaseException) -> str:
    """Its kind and the beginning of its message, on one line."""
    said = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
