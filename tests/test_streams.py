"""Every draw's seed follows from what it is for."""

from __future__ import annotations

import random

from softgrpo.streams import seed_for


def test_a_seed_is_the_same_on_every_machine():
    assert seed_for(7111994, "sampling", 1) == 7550789543412699260


def test_seeds_differ_by_purpose_step_and_run():
    seeds = [seed_for(s, what, k) for s in (0, 1) for what in ("order", "sampling", "dropout") for k in range(50)]
    assert len(set(seeds)) == len(seeds)


def test_seeds_fit_what_takes_them():
    assert all(0 <= seed_for(0, k) < 2**63 for k in range(200))
    random.Random(seed_for(0, "x"))
