"""From log-odds about an argument to parts of its score."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgrpo.judges.embedded.argument_score import BOUND, Scale, load_scale, parts_of_arguments
from softgrpo.judges.embedded.total import total

odds = st.floats(-30, 30)
SCALE = Scale(quality=1.0, side=8.0, topic=12.0, people=0.5)


def score(scale: Scale, **values: float) -> float:
    given_ = {"own_side": 3.0, "on_topic": 3.0, "quality": 0.0, "people": 3.0, "convincing": 0.0} | values
    parts = parts_of_arguments(scale, **{name: np.array([value]) for name, value in given_.items()})
    return float(sum(parts.values())[0])


@given(odds, odds, odds, odds, st.sampled_from(["own_side", "on_topic", "quality", "people"]), st.floats(0, 10))
def test_more_of_anything_good_never_costs(side, topic, quality, people, name, more):
    values = {"own_side": side, "on_topic": topic, "quality": quality, "people": people}
    assert score(SCALE, **{**values, name: values[name] + more}) >= score(SCALE, **values) - 1e-9


@given(odds, odds, odds)
def test_all_but_merit_only_take_away_and_merit_is_bounded(side, topic, quality):
    values = {"own_side": np.array([side]), "on_topic": np.array([topic]), "quality": np.array([quality])}
    parts = parts_of_arguments(SCALE, **values)
    assert all(parts[name][0] <= 0 for name in ("side", "topic", "people"))
    assert abs(parts["convincing"][0]) <= BOUND


def test_a_strong_text_for_the_wrong_side_loses_to_a_weak_one_for_the_right():
    assert score(SCALE, own_side=-3.0, quality=5.0) < score(SCALE, own_side=3.0, quality=-2.0)


def test_the_best_text_on_another_subject_loses_to_a_poor_one_on_it():
    assert score(SCALE, on_topic=-8.0, quality=50.0) < score(SCALE, quality=-50.0)


def test_a_worked_sum():
    parts = parts_of_arguments(
        Scale(quality=2.0, centre=1.0, side=1.5, side_from=1.0, topic=0.5, topic_width=2.0),
        own_side=np.array([1.0]),
        on_topic=np.array([-2.0]),
        quality=np.array([0.0]),
    )
    assert parts["convincing"][0] == pytest.approx(-5 * np.tanh(0.2))
    assert parts["side"][0] == pytest.approx(-0.75)  # half, at its bend
    assert parts["topic"][0] == pytest.approx(-0.5 / (1 + np.exp(-1)))
    assert parts["people"][0] == 0


def test_scales_come_from_a_file_by_name_and_unknown_keys_are_of_another_edition(tmp_path):
    (tmp_path / "scales.json").write_text(json.dumps({"judge": {"side": 2.5, "unheard_of": 1}}), encoding="utf-8")
    assert load_scale("judge", tmp_path) == Scale(side=2.5)


def test_the_package_has_a_scale_for_judge_and_sentinel():
    judge, sentinel = load_scale("judge"), load_scale("sentinel")
    assert judge.guards > 0
    assert judge.convincing > 0
    assert sentinel.guards == sentinel.convincing == sentinel.people == 0  # it shares no head and no guard


def test_a_total_keeps_the_order_and_draws_bad_sums_together():
    totals = [total({"a": value}) for value in (-50.0, -5.0, 0.0, 5.0)]
    assert totals == sorted(totals)
    assert totals[3] == 5.0
    assert totals[0] > -10
