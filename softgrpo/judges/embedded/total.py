"""Parts of a score to one number. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

TAIL = 2.0
"""log-odds below zero from which a sum is drawn in"""


def total(parts: Mapping[str, float]) -> float:
    """The sum of the parts, bad sums drawn together: of two hopeless texts neither is beaten for certain.

    It changes no order, and makes the probabilities agree with people's.

    >>> total({"convincing": 1.5, "about": -0.5}), round(total({"repeated": -10.0}), 2)
    (1.0, -3.58)
    """
    value = sum(parts.values())
    return value if value > 0 else -TAIL * math.log1p(-value / TAIL)
