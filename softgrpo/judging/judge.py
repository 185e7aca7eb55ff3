"""A judge by name."""

from __future__ import annotations

from softgrpo.errors import UserError
from softgrpo.judging.keys import SECRET
from softgrpo.model_interface import load_model
from softgrpo.models.names import EMBEDDED, parse
from softgrpo.records import Judge, Ledger

PARTS = ("", "likelihood", "convincing", "prompt")


def check_judge(name: str) -> None:
    """What can be said against a judge's name before anything is loaded."""
    model = parse(name)
    if model.provider == EMBEDDED and model.name not in PARTS:
        known = ", ".join(f"embedded:{part}" for part in PARTS if part)
        raise UserError(f"unknown judge {name!r}; choose from embedded, {known}")


def load_judge(
    name: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    votes: int = 1,
    ledger: Ledger | None = None,
    secret: bytes = SECRET,
) -> Judge:
    """`embedded` and its parts score texts; other local models weigh two labels; API models are asked for one.

    `votes`: how often an API model that gives no probabilities is sampled. `secret`: of the run, from which the
    fences around the texts are drawn.
    """
    from softgrpo.judging.embedded import embedded_judge
    from softgrpo.judging.log_odds_judge import LogOddsJudge
    from softgrpo.judging.text_judge import TextJudge

    check_judge(name)
    parsed = parse(name)
    model = load_model(name, dtype=dtype, device=device)
    if parsed.provider == EMBEDDED and parsed.name != "prompt":
        return embedded_judge(model, parsed.name)
    if parsed.is_local:
        return LogOddsJudge(name, model, ledger=ledger, secret=secret)
    return TextJudge(name, model, votes=votes, ledger=ledger, secret=secret)
