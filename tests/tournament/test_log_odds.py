"""Log-odds are finite, antisymmetric, and undone by the sigmoid."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgrpo.tournament.log_odds import CLIP, log_odds
from tests.tournament.held import sigmoid


@given(st.floats(0.001, 0.999))
def test_it_is_the_sigmoids_inverse(p):
    assert sigmoid(log_odds(p)) == pytest.approx(p)
    assert log_odds(1 - p) == pytest.approx(-log_odds(p))


@pytest.mark.parametrize("clip", [CLIP, 1e-9])
def test_certainty_stops_at_the_clip(clip):
    assert log_odds(1.0, clip=clip) == pytest.approx(math.log(1 / clip - 1))
    assert log_odds(0.0, clip=clip) == pytest.approx(-math.log(1 / clip - 1))
