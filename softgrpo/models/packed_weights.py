"""Weights laid out once as the processor's matrix product wants them, for a loop that multiplies by them every token.

For a handful of rows torch's bfloat16 product on processors spends a third of its time on bringing the weights into
that order. The results are the same, bit for bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

Product = Callable[[torch.Tensor], torch.Tensor]
LARGEST = 4 << 30
"""bytes of weights above which no second copy is made"""
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
        if steps >= WORTH_IT and 0 < size <= LARGEST:
            for linear in linears:
                linear.__dict__["forward"] = product(linear.weight, linear.bias, rows)
                undo.callback(linear.__dict__.pop, "forward")
        yield


def product(weight: torch.Tensor, bias: torch.Tensor | None, rows: int) -> Product:
    """What multiplies by a weight [N, K], from [..., K] to [..., N]: packed where the processor can.

    >>> product(torch.eye(2)[:1], None, 1)(torch.tensor([[3.0, 4.0]])).tolist()
    [[3.0]]
    """
    if weight.device.type == "cpu" and weight.dtype == torch.bfloat16 and _is_possible():
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), rows)
        return partial(_by_packed, packed, bias)
    return partial(_plain, weight, bias)


def _by_packed(packed: torch.Tensor, bias: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")


def _plain(weight: torch.Tensor, bias: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.linear(x, weight, bias)


def _is_possible() -> bool:
    try:
        return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    except (AttributeError, RuntimeError):
        return False
