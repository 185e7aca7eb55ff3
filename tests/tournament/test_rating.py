"""A rating by name, and one of one's own."""

from __future__ import annotations

import numpy as np
import pytest

from softgrpo.registry import Registry
from softgrpo.tournament import RATINGS
from softgrpo.tournament.rating import Rating, counted, rate
from softgrpo.tournament.rule import Rule
from tests.fakes.builders import verdict


class Wins(Rating):
    """Counts wins, and nothing else."""

    def standing(self, n_players, verdicts):
        wins = np.zeros(n_players)
        for v in verdicts:
            wins[v.match.first if v.p_first > 0.5 else v.match.second] += 1
        none = np.zeros(n_players)
        return counted(verdicts, scores=wins, stderrs=none, n_opponents=none, position_bias=0.0)


def test_an_unknown_rating_is_named():
    with pytest.raises(ValueError, match="unknown rating 'elo'; choose from win_share, bradley_terry"):
        rate(2, [], rating="elo")


def test_an_empty_tournament():
    for rating in RATINGS:
        assert np.isnan(rate(2, [], rating=rating).scores).all()
        assert rate(0, [], rating=rating).scores.shape == (0,)


@pytest.mark.parametrize("rating", RATINGS)
def test_every_rating_is_there(rating):
    assert issubclass(RATINGS[rating], Rating)


def test_a_class_and_a_line_make_a_rating(monkeypatch):
    of_ours = Registry("rating", {"wins": f"{__name__}:Wins"})
    monkeypatch.setattr("softgrpo.tournament.rating.RATINGS", of_ours)
    monkeypatch.setattr("softgrpo.tournament.rule.RATINGS", of_ours)
    told = [verdict(0, 1, 1.0), verdict(1, 2, 0.0), verdict(2, 0, 1.0)]
    standing = Rule(rating="wins").standing(3, told)
    assert standing.scores.tolist() == [1.0, 0.0, 2.0]
    assert (standing.n_cyclic_triads, standing.n_unjudged) == (0, 0)
