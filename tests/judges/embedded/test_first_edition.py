"""The judge's first edition, kept for experiments."""

import dataclasses

import numpy as np
import pytest

from softgrpo.judges.embedded.convincing import Strengths, load_head
from softgrpo.judges.embedded.first_edition import FirstEditionScorer, Measured, combine
from tests.judges.embedded.test_judge import item


def test_the_strengths_scale_what_the_parts_take_off():
    text = "When TRAMS THAT RIDE!!!! Trams are good. While trams."
    measured = Measured(convincing=1.0, coherent=-2.0, about=0.1, fluency=-2.0, ending=-4.0)
    once = combine(item(text, "Trams are better"), measured, Strengths())
    more = combine(item(text, "Trams are better"), measured, Strengths(about=2.0, coherent=3.0, guards=0.5))
    factors = {"convincing": 1.0, "about": 2.0, "coherent": 3.0}
    assert once["fragments"] < 0
    assert more == pytest.approx({name: factors.get(name, 0.5) * value for name, value in once.items()})


def test_the_head_comes_back_from_its_file_as_it_was(tmp_path):
    head = dataclasses.replace(load_head(), strengths=Strengths(about=1.4, coherent=0.5, guards=0.7))
    head.save(tmp_path / "head.safetensors", {"licence": "none"})
    assert load_head(tmp_path / "head.safetensors").strengths == head.strengths


def test_it_does_not_see_the_side(embedded_model):
    motion, text = "Zoos should be closed", "Bored animals sway behind glass for years."
    pro, con = FirstEditionScorer(embedded_model).score([item(text, motion), item(text, motion, "CON")])
    assert np.isfinite(pro)
    assert pro == pytest.approx(con, abs=1.0)
