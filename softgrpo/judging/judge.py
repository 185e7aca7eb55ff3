"""A judge by name."""

from __future__ import annotations

from softgrpo.errors import UserError
from softgrpo.model_interface import load_model
from softgrpo.models.names import EMBEDDED, parse
from softgrpo.records import Judge

PARTS = ("", "likelihood", "convincing", "prompt")


def check_judge(name: str) -> None:
    """What can be said against a judge's name before anything is loaded."""
    model = parse(name)
    if model.provider == EMBEDDED and model.name not in PARTS:
        known = ", ".join(f"embedded:{part}" for part in PARTS if part)
        raise UserError(f"unknown judge {name!r}; choose from embedded, {known}")


def load_judge(name: str, *, dtype: str = "auto", device: str = "auto") -> Judge:
    """`embedded` and its parts score texts; other local models weigh two labels; API models write one."""
    from softgrpo.judging.embedded import embedded_judge
    from softgrpo.judging.prompt_judge import LogOddsJudge, TextJudge

    check_judge(name)
    parsed = parse(name)
    model = load_model(name, dtype=dtype, device=device)
    if parsed.provider == EMBEDDED and parsed.name != "prompt":
        return embedded_judge(model, parsed.name)
    return LogOddsJudge(name, model) if parsed.is_local else TextJudge(name, model)
