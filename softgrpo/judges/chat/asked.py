"""What a judgement asks, as it is kept beside one that failed, so that it can be asked again. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from softgrpo.records import Contest, Match, Objective, Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question to a chat judge, by its own words: all that its key is made of, but who answers."""

    judge: str
    """the name by which the judge was loaded"""
    template: str
    criteria: str
    question: str
    first: str
    second: str
    order: int = 1
    """2 for the second order of a text against itself"""
    ties: bool = False
    votes: int = 1
    sample: int = 0
    """which of the votes"""
    methods: tuple[str, ...] = ()
    """the ways to ask that were given, where the judge did not take its model's own"""

    @property
    def contest(self) -> Contest:
        """The two texts, to be compared once.

        >>> asked = Asked(judge="j", template="2", criteria="c", question="q", first="a", second="a", order=2)
        >>> asked.contest.texts, asked.contest.matches[0].first
        (('a', 'a'), 1)
        """
        match = Match(first=1, second=0) if self.order == 2 else Match(first=0, second=1)
        return Contest(
            prompt=Prompt(id="", messages=(), subject="", question=self.question),
            objective=Objective(name="answer", criteria=self.criteria, ties=self.ties),
            texts=(self.first, self.second),
            matches=(match,),
        )

    def to_dict(self) -> dict[str, Any]:
        """As it is kept."""
        return asdict(self)

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Asked:
        """The same from what was kept. Raises `ValueError` when it is something else.

        >>> asked = Asked(judge="j", template="2", criteria="c", question="q", first="a", second="b", methods=("text",))
        >>> Asked.of({**asked.to_dict(), "methods": ["text"]}) == asked
        True
        """
        words = {name: kept.get(name) for name in ("judge", "template", "criteria", "question", "first", "second")}
        if not all(isinstance(word, str) for word in words.values()):
            raise ValueError(f"is no question ({', '.join(sorted(kept))})")
        known = {f.name: kept[f.name] for f in fields(cls) if f.name in kept}
        return cls(**{**known, "methods": tuple(kept.get("methods", ()))})
