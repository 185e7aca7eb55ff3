"""The whole audit on scripted judges with one fault each: the fault is found and said in words."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from softgrpo.auditing import gold
from softgrpo.auditing.audit import audit, n_calls
from softgrpo.auditing.words import table, verdict
from softgrpo.cli import main
from softgrpo.judges.callable import CallableJudge
from tests.fakes.judges import ScriptedJudge, failing

PAIRS = gold.packaged()
GOOD = {(p.prompt.question, p.better) for p in PAIRS}


def scripted(*, bias=0.0, noise=0.0, length=0.0, quality=3.0, hard=False, seed=0):
    """Judges by whether a text is the prompt's sound one, plus what is planted."""
    rng = np.random.default_rng(seed)
    asked = []

    def p_first(question, first, second):
        asked.append(question)
        d = quality * (((question, first) in GOOD) - ((question, second) in GOOD)) + bias + noise * rng.normal()
        d += length * math.log2(max(len(first), 1) / max(len(second), 1))
        return float(d > 0) if hard else 1 / (1 + math.exp(-d))

    judge = CallableJudge(p_first)
    judge.asked = asked
    return judge


def test_a_sound_judge_is_fit():
    found = audit(scripted(noise=0.3), PAIRS)
    word, reasons = verdict(found)
    assert word == "fit", reasons
    assert found.agreement.low > 0.85
    assert found.consistency.value > 0.95


@pytest.mark.parametrize("bias", [-2.0, 1.5])
def test_a_planted_bias_is_recovered_and_said(bias):
    found = audit(scripted(bias=bias, noise=0.3), PAIRS)
    assert found.position_bias.low <= bias <= found.position_bias.high
    assert found.position_bias.value == pytest.approx(bias, abs=0.15)
    word, reasons = verdict(found)
    assert word == "fit with care"
    assert any("favours a place" in r for r in reasons)


def test_planted_noise_is_recovered():
    found = audit(scripted(noise=1.2), PAIRS)
    assert found.noise.low <= 1.2 <= found.noise.high


def test_a_planted_preference_for_length_is_recovered_and_said():
    found = audit(scripted(length=1.0, noise=0.2), PAIRS)
    assert found.length_preference.value == pytest.approx(1.0, abs=0.2)
    assert any("longer" in r for r in verdict(found)[1])


def test_planted_circles_are_found_and_said():
    """Rock, paper, scissors by a hash of the texts: nobody is better than anybody."""

    def p_first(first, second):
        turn = (sum(map(ord, first)) - sum(map(ord, second))) % 3
        return 0.5 if turn == 0 else float(turn == 1)

    found = audit(ScriptedJudge(p_first), PAIRS, groups=30)
    assert found.cycles.low > 0.1
    word, reasons = verdict(found)
    assert word == "not fit"
    assert any("circle" in r for r in reasons)


def test_a_judge_that_always_takes_the_first_is_not_fit():
    found = audit(ScriptedJudge(lambda a, b: 1.0), PAIRS)
    assert found.agreement.value == 0.5
    assert found.consistency.value == 0.0
    assert found.first_share.value == 1.0
    assert verdict(found)[0] == "not fit"


def test_a_judge_that_fails_is_not_fit_and_says_why():
    found = audit(failing(), PAIRS)
    assert found.failure_rate == 1.0
    assert verdict(found)[0] == "not fit"
    assert "the script fails here" in table(found)


def test_it_asks_as_often_as_it_says():
    judge = scripted()
    size = {"pairs": 20, "groups": 3, "group_size": 4}
    found = audit(judge, PAIRS, **size)
    assert found.n_verdicts == n_calls(PAIRS, **size) == len(judge.asked)


def test_a_judge_of_sides_alone_is_measured_by_the_wrong_sides_too():
    """It knows everything but the side: what it misses there is in the total, as every kind is."""
    blind = {(p.prompt.question, text) for p in PAIRS if p.kind == "wrong_side" for text in (p.better, p.worse)}

    def p_first(question, first, second):
        if {(question, first), (question, second)} <= blind:
            return 0.5
        return float((question, first) in GOOD)

    found = audit(CallableJudge(p_first), PAIRS, pairs=len(PAIRS), groups=0)
    assert found.agreement_by_kind["wrong_side"].value == 0.5
    assert found.n_by_kind["wrong_side"] == sum(p.kind == "wrong_side" for p in PAIRS) > 0
    assert found.agreement.n == found.n_pairs == len(PAIRS)
    assert found.agreement.value == pytest.approx(1 - found.n_by_kind["wrong_side"] / 2 / len(PAIRS))
    assert any("wrong_side" in reason for reason in verdict(found)[1])


def test_what_failed_is_counted_beside_its_kind():
    fails = {p.better for p in PAIRS if p.kind == "padding"}
    found = audit(failing(lambda a, b: bool({a, b} & fails)), PAIRS, groups=0)
    asked, judged = found.n_by_kind["padding"], found.agreement_by_kind["padding"].n
    assert judged == 0 < asked
    assert f"none of {asked} pairs judged" in table(found)
    assert f"of {found.agreement.n} pairs, {found.n_pairs - found.agreement.n} not judged\n" in table(found)


def test_few_subjects_are_said_to_be_few():
    found = audit(scripted(), PAIRS[:2], groups=0)
    word, reasons = verdict(found)
    assert word == "not fit"
    assert any("more subjects" in reason for reason in reasons)


def test_the_command_on_the_embedded_judge(tmp_path, capsys):
    path = tmp_path / "audit.json"
    flags = ["--pairs", "9", "--groups", "1", "--group_size", "3", "--output", str(path)]
    assert main(["audit", "--judge_model_name", "embedded", *flags]) == 0
    written = json.loads(path.read_text())
    assert written["verdict"] in ("fit", "fit with care", "not fit")
    assert written["agreement"]["n"] > 0
    assert written["consistency"]["value"] == 1.0
    output = capsys.readouterr().out
    assert "embedded is" in output
    assert "USD per 1,000 matches              0.00" in output
