"""A group of which too little was judged has no scores."""

from __future__ import annotations

import numpy as np
import pytest

from softgrpo.tournament.bias import Bias
from softgrpo.tournament.rating import rate
from softgrpo.tournament.rule import Rule
from tests.fakes.builders import both_orders, verdict

JUDGED = [*both_orders(0, 1, 0.8, "log_odds"), *both_orders(1, 2, 0.6, "log_odds")]
FAILED = [verdict(0, 2, None, "log_odds"), verdict(2, 0, None, "log_odds")]


@pytest.mark.parametrize("rating", ["win_share", "bradley_terry"])
def test_it_rates_by_name(rating):
    bias = Bias(mean=1.0, precision=10.0)
    found = Rule(rating=rating).standing(3, JUDGED + FAILED, bias=bias)
    expected = rate(3, JUDGED + FAILED, rating=rating, bias=bias)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert np.isfinite(found.scores).all()


def test_an_unknown_rating_is_refused_before_anybody_is_asked():
    with pytest.raises(ValueError, match="unknown rating 'elo'; choose from win_share, bradley_terry"):
        Rule(rating="elo")


@pytest.mark.parametrize(("min_judged", "scored"), [(0.6, True), (0.7, False)])
def test_four_of_six_matches_were_judged(min_judged, scored):
    found = Rule(rating="bradley_terry", min_judged=min_judged).standing(3, JUDGED + FAILED)
    assert np.isfinite(found.scores).tolist() == [scored] * 3
    assert found.n_unjudged == 2


def test_forfeits_were_not_asked_about():
    """One text alone and two with nothing to show: no judge was asked, so none failed."""
    verdicts = [verdict(0, 1, 1.0, "forfeit"), verdict(0, 2, 1.0, "forfeit"), verdict(1, 2, 0.5, "forfeit")]
    assert Rule(min_judged=1.0).standing(3, verdicts).scores == pytest.approx([1.5, -0.75, -0.75])
    one_failed = [*verdicts, verdict(3, 0, None), verdict(0, 3, None)]
    assert np.isnan(Rule(min_judged=0.1).standing(4, one_failed).scores).all()
