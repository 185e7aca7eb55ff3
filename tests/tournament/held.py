"""Tournaments that were held: verdicts of judges with a planted skill, bias and noise."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from softgrpo.tournament.schedule import Plan, next_round
from tests.fakes.builders import both_orders, verdict

skills = st.lists(st.floats(-2, 2), min_size=2, max_size=8)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def hard_round_robin(winner_of):
    """Verdicts in both orders of a tournament given as {(i, j): p of i}."""
    return [v for (i, j), p in winner_of.items() for v in both_orders(i, j, p)]


def soft_round_robin(skill, bias=0.0):
    return [
        verdict(i, j, sigmoid(skill[i] - skill[j] + bias), "log_odds")
        for i in range(len(skill))
        for j in range(len(skill))
        if i != j
    ]


def random_regular(n, calls, seed, skill, *, bias=0.0, noise=0.0):
    """Soft verdicts of a judge with a planted bias and noise on random regular pairs."""
    rng = np.random.default_rng(seed)
    matches = next_round(Plan(kind="random_regular", calls=calls), range(n), (), seed=seed, objective="answer")
    odds = [skill[m.first] - skill[m.second] + bias + noise * rng.normal() for m in matches]
    return [verdict(m.first, m.second, sigmoid(d), "log_odds") for m, d in zip(matches, odds, strict=True)]
