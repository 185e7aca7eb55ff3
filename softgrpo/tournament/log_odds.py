"""Probabilities as log-odds, of which none is infinite. Pure."""

from __future__ import annotations

import math

CLIP = 1e-3
"""no verdict is taken to be surer than this"""


def log_odds(p: float, *, clip: float = CLIP) -> float:
    """log(p / (1 - p)), p kept that far from 0 and 1.

    >>> round(log_odds(0.9), 3), round(log_odds(1.0), 3), round(log_odds(1.0, clip=1e-9), 3)
    (2.197, 6.907, 20.723)
    """
    p = min(max(p, clip), 1 - clip)
    return math.log(p) - math.log1p(-p)
