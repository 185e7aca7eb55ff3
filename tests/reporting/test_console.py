"""Progress in words, and text of a model that cannot touch the terminal."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgrpo.reporting.console import Console, duration, harmless

EVALUATION = dict(
    step=40,
    win_rate=0.75,
    low=0.6,
    high=0.9,
    opponent="base",
    format_adherence=0.9,
    n_pairs=20,
    n_forfeits=2,
    n_unjudged=1,
)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("two\nlines", "two\nlines"),
        ("\x1b[2J\x1b]0;title\x07red", "[2J]0;titlered"),
        ("over\rwritten\b\x7f", "overwritten"),
        ("\x9b31m", "31m"),
        ("\u202eright to left\u2066\u200b", "right to left"),
        ("lone \ud800 half", "lone  half"),
        ("naïve 語 🙂", "naïve 語 🙂"),
    ],
)
def test_harmless(text, seen):
    assert harmless(text) == seen


@given(st.text(st.characters()))
def test_what_is_left_is_printable(text):
    left = harmless(text)
    assert all(c == "\n" or unicodedata.category(c)[0] != "C" for c in left)
    left.encode()


def test_lines_elsewhere_than_in_a_terminal(capsys):
    console = Console(100)
    console.step(1, {"reward_mean": 1.234, "strict_format_mean": 0.5, "kl": float("nan")}, 75)
    console.evaluated(EVALUATION)
    console.step(2, {"reward_mean": 1.5, "strict_format_mean": None}, 3600)
    console.close()
    first, evaluation, second = capsys.readouterr().out.splitlines()
    assert first == "step 1/100  reward 1.23 format 0.50  1m15s left"
    assert evaluation == (
        "step 40: win rate 75.0% [60.0, 90.0] against base, format 90%, 20 pairs, 2 by forfeit, 1 unjudged"
    )
    assert second == "step 2/100  reward 1.50  win rate 75%  1h00m left"


def test_what_a_model_wrote_is_said_without_control_characters(capsys):
    Console(1).say("\x1b[31m<answer>\ud83d\r[bold]x[/bold]")
    assert capsys.readouterr().out == "[31m<answer>[bold]x[/bold]\n"


def test_an_evaluation_without_an_outcome_can_be_said(capsys):
    nan = float("nan")
    Console(1).evaluated(EVALUATION | dict(win_rate=nan, low=nan, high=nan))
    assert "20 pairs" in capsys.readouterr().out


def test_what_the_sentinel_saw_stands_beside(capsys):
    seen = dict(sentinel="\x1b[31mhf:a/b", sentinel_win_rate=0.5, sentinel_low=0.4, sentinel_high=float("nan"))
    Console(1).evaluated(EVALUATION | seen)
    assert capsys.readouterr().out.endswith("1 unjudged; the sentinel [31mhf:a/b sees 50.0% [40.0, nan]\n")


def test_where_no_form_is_asked_for_nothing_is_said_of_it(capsys):
    Console(1).evaluated(EVALUATION | dict(format_adherence=None))
    assert "against base, 20 pairs, 2 by forfeit" in capsys.readouterr().out


def test_a_terminal_gets_one_live_line_and_markup_is_only_text(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    console = Console(10)
    try:
        assert console.live is not None
        console.say("[bold]not bold[/bold] \x1b[31m[/nonsense]")
        console.step(3, {"reward_mean": 0.5}, 60)
        assert console.live.tasks[0].completed == 3
        assert "reward 0.50" in console.live.tasks[0].fields["text"]
    finally:
        console.close()
    assert "[bold]not bold[/bold] [31m[/nonsense]" in capsys.readouterr().out
    assert console.live is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0m00s"),
        (59.9, "0m59s"),
        (75, "1m15s"),
        (3600, "1h00m"),
        (7300, "2h01m"),
        (90000, "25h00m"),
        (float("nan"), "?"),
    ],
)
def test_durations(seconds, words):
    assert duration(seconds) == words
