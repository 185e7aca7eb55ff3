"""Weights laid out once as the processor's matrix product wants them, for a loop that multiplies by them every token.

For a handful of rows torch's bfloat16 product on processors spends a third of its time on bringing the weights into
that order. The results are the same, bit for bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from softgrpo.models.faults import slower

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
        return PackedProduct(torch.ops.mkldnn._reorder_linear_weight(weight.detach(), rows), bias)
    return Product(weight, bias)


class Product:
    """A product with a weight, and what may follow it at once."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x weight^T + bias."""
        return torch.nn.functional.linear(x, self.weight, self.bias)

    def silu(self, x: torch.Tensor) -> torch.Tensor:
        """The product through SiLU."""
        return torch.nn.functional.silu(self(x))

    def times(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """The product times another of its shape, which may be overwritten."""
        return self(x).mul_(other)

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """The product and another of its shape, which may be overwritten."""
        return self(x).add_(other)


class PackedProduct(Product):
    """By a weight in the processor's own order; what follows costs no further pass."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")

    def silu(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "swish", [], "")

    def times(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, self.weight, self.bias, "mul")

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, self.weight, self.bias, "add")


def _is_possible() -> bool:
    try:
        return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    except (AttributeError, RuntimeError) as error:
        slower("weights are not laid out for this processor (slower)", error)
        return False
