"""The small model that comes along, as a judge without a key or a network."""

from __future__ import annotations

from softgrpo.registry import Registry

PARTS = Registry(
    "part of the embedded judge",
    {
        "": "softgrpo.judges.embedded.judge:EmbeddedScorer",
        "sentinel": "softgrpo.judges.embedded.judge:SentinelScorer",
        "first": "softgrpo.judges.embedded.first_edition:FirstEditionScorer",
        "likelihood": "softgrpo.judges.embedded.aboutness:LikelihoodScorer",
        "convincing": "softgrpo.judges.embedded.convincing:ConvincingScorer",
    },
)
"""what scores a text, by what follows `embedded:` in a name"""
