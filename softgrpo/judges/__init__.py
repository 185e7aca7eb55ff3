"""Who compares texts."""

from __future__ import annotations

from softgrpo.registry import Registry

JUDGES = Registry(
    "kind of judge",
    {
        "embedded": "softgrpo.judges.embedded.judge:EmbeddedJudge",
        "local": "softgrpo.judges.local:LogOddsJudge",
        "chat": "softgrpo.judges.chat.judge:ChatJudge",
    },
)
"""by kind, each made as `kind(name, model, votes=..., ledger=..., secret=...)`, whichever of these it has a use for;
`softgrpo.judges.by_name` says which kind a name is"""
