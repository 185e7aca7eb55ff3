"""Weights laid out once as the processor's matrix product wants them, for a loop that multiplies by them every token.

For a handful of rows torch's bfloat16 product on processors spends a third of its time on bringing the weights into
that order. The results are the same, bit for bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

LARGEST = 4 << 30
"""bytes of weights above which the second copy is not made"""
WORTH_IT = 16
"""steps that pay for the packing"""


@contextlib.contextmanager
def packed_weights(module: Any, rows: int, *, steps: int) -> Iterator[None]:
    """Linear layers of a bfloat16 model on a processor multiply by packed weights; elsewhere nothing changes.
    `rows` and `steps`: of how many the products will be, and how often.

    The weights must not change meanwhile, and no gradient is computed.
    """
    linears = [m for m in module.modules() if type(m) is torch.nn.Linear and m.weight.dtype == torch.bfloat16]
    size = sum(m.weight.nbytes for m in linears)
    with contextlib.ExitStack() as undo:
        if module.device.type == "cpu" and steps >= WORTH_IT and 0 < size <= LARGEST and _is_possible():
            for linear in linears:
                packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), rows)
                linear.__dict__["forward"] = partial(_product, packed, linear.bias)
                undo.callback(linear.__dict__.pop, "forward")
        yield


def _product(packed: torch.Tensor, bias: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")


def _is_possible() -> bool:
    try:
        return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    except (AttributeError, RuntimeError):
        return False
