"""Work of fixed shapes recorded once and played again without launching its kernels one by one.

A graph reads and writes the tensors it was recorded with: inputs are copied into theirs, and whatever the work keeps
between calls it must change in place. The work may ask nothing of the host: no sizes, no values.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

from softgrpo.models.faults import let_through

Work = Callable[..., torch.Tensor]
Record = Callable[[Work, list[torch.Tensor]], tuple[Callable[[], Any], torch.Tensor]]
"""what plays the work again on these inputs, and where its result will lie"""


class Captured:
    """Recorded work; where it cannot be recorded it is done as it is, and that is said once."""

    _complained = False

    def __init__(self, work: Work, record: Record, *inputs: torch.Tensor) -> None:
        """`inputs` are an example of what will come; the work is done on them, several times."""
        self.work = work
        self.inputs = [x.clone() for x in inputs]
        self.replay: Callable[[], Any] | None = None
        try:
            self.replay, self.output = record(work, self.inputs)
        except RuntimeError as error:
            let_through(error)
            if not Captured._complained:
                Captured._complained = True
                warnings.warn(f"a step could not be recorded as a graph (slower): {error}", stacklevel=2)

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The result, which the next call overwrites."""
        if self.replay is None:
            return self.work(*inputs)
        for mine, given in zip(self.inputs, inputs, strict=True):
            mine.copy_(given)
        self.replay()
        return self.output


def cuda_graph(work: Work, inputs: list[torch.Tensor]) -> tuple[Callable[[], Any], torch.Tensor]:
    """Record on a CUDA device: a warm-up beside the current stream (libraries allocate), then the capture."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work(*inputs)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = work(*inputs)
    return graph.replay, output
