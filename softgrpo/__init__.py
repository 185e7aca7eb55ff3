"""GRPO for rewards that only a judge can give."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"
_PUBLIC = {
    "Evaluator": "softgrpo.evaluator",
    "Judge": "softgrpo.records",
    "Ranking": "softgrpo.ranking",
    "ScoredGroup": "softgrpo.records",
    "Scorer": "softgrpo.scorer",
    "Task": "softgrpo.tasks",
    "UserError": "softgrpo.errors",
    "load_judge": "softgrpo.judges.by_name",
    "load_model": "softgrpo.model_interface",
    "load_task": "softgrpo.tasks",
    "rank": "softgrpo.ranking",
    "rank_async": "softgrpo.ranking",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    """Public names are looked up when they are used, so that `import softgrpo` stays fast."""
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'softgrpo' has no attribute {name!r}")
