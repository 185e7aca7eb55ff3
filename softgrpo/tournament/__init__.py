"""From texts that meet to a standing: who meets whom, what the verdicts say together."""

from __future__ import annotations

from softgrpo.registry import Registry

SCHEDULES = Registry(
    "schedule",
    {
        "round_robin": "softgrpo.tournament.at_once:RoundRobin",
        "random_regular": "softgrpo.tournament.at_once:RandomRegular",
        "adaptive": "softgrpo.tournament.adaptive:Adaptive",
        "swiss": "softgrpo.tournament.brackets:Swiss",
        "elimination": "softgrpo.tournament.brackets:Elimination",
        "chunks": "softgrpo.tournament.at_once:Chunks",
        "anchor": "softgrpo.tournament.at_once:Anchor",
    },
)
"""who meets whom"""
RATINGS = Registry(
    "rating",
    {
        "win_share": "softgrpo.tournament.win_share:WinShare",
        "bradley_terry": "softgrpo.tournament.bradley_terry:BradleyTerry",
    },
)
"""from verdicts to scores"""


def schedule_and_rating(schedule: str | None, rating: str | None, *, calls: int | None) -> tuple[str, str]:
    """What goes well together where nothing is given: all pairs and their win shares; with a limited number of `calls`
    random regular pairs, and a fitted rating for them.

    >>> schedule_and_rating(None, None, calls=None), schedule_and_rating(None, None, calls=48)
    (('round_robin', 'win_share'), ('random_regular', 'bradley_terry'))
    """
    schedule = schedule or ("round_robin" if calls is None else "random_regular")
    return schedule, rating or ("win_share" if schedule == "round_robin" else "bradley_terry")
