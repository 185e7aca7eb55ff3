"""The matches no judge is asked about. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import combinations

from softgrpo.records import Match, Verdict


def forfeits(
    texts: Sequence[str | None], *, objective: str = "answer", undelivered: Collection[int] = ()
) -> tuple[Verdict, ...]:
    """Verdicts of every pair in which a text has nothing to show (None).

    A text against one with nothing to show wins with p = 1; two of the latter meet at 1/2. A completion that its
    model failed to deliver forfeits nothing: its matches have no outcome.

    >>> [(v.match.first, v.match.second, v.p_first) for v in forfeits(["a", None, "b", None])]
    [(0, 1, 1.0), (0, 3, 1.0), (1, 2, 0.0), (1, 3, 0.5), (2, 3, 1.0)]
    >>> forfeits(["a", None], undelivered={1})[0].failure
    'a completion was not delivered'
    """
    verdicts = []
    for i, j in combinations(range(len(texts)), 2):
        match = Match(first=i, second=j, objective=objective)
        shows = [texts[k] is not None for k in (i, j)]
        if i in undelivered or j in undelivered:
            verdicts.append(
                Verdict(match=match, p_first=None, how="undelivered", failure="a completion was not delivered")
            )
        elif not all(shows):
            p_first = 0.5 if shows[0] == shows[1] else float(shows[0])
            verdicts.append(Verdict(match=match, p_first=p_first, how="forfeit"))
    return tuple(verdicts)
