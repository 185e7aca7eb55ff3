"""`softgrpo audit`: what it takes, what it says before it asks, what it writes. Nothing is loaded here."""

from __future__ import annotations

import json

import pytest

from softgrpo.cli import run
from softgrpo.commands import audit
from softgrpo.model_interface import ModelPool
from tests.fakes.judges import ScriptedJudge


@pytest.fixture(autouse=True)
def judge(tmp_path, monkeypatch):
    """The longer text wins, whatever the judge's name, and every name can be had."""
    asked = ScriptedJudge(lambda a, b: float(len(a) > len(b)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setattr(ModelPool, "check", lambda self, name: [])
    monkeypatch.setattr(audit, "load_judge", lambda *_, **__: asked)
    return asked


def gold(rows, path="pairs.csv"):
    """The flags for a file of debate pairs; the longer text is in truth better or not, as the rows say."""
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(["kind,motion,side,better,worse", *rows]) + "\n")
    return ["--gold", path, "--dataset_name", "debate", "--output", "audit.json"]


def motions(n):
    """Pairs on n motions, one of each kind: those of the kind `brief` the scripted judge wins, the others it loses."""
    return gold(
        row for i in range(n) for row in (f"brief,Motion {i},pro,longer,short", f"wordy,Motion {i},con,short,longer")
    )


def written():
    with open("audit.json", encoding="utf-8") as file:
        return json.load(file)


def test_pairs_of_a_task_are_judged_by_its_criteria_and_told_by_kind(judge, capsys):
    assert run("audit", motions(8)) == 0
    found = written()
    assert found["agreement"]["value"] == 0.5
    assert {kind: figure["value"] for kind, figure in found["agreement_by_kind"].items()} == {"brief": 1, "wordy": 0}
    assert found["n_by_kind"] == {"brief": 8, "wordy": 8}
    assert (found["n_pairs"], found["n_subjects"], found["n_gold"]) == (16, 8, 16)
    assert (found["dataset"], found["evaluator"], found["gold"]) == ("debate", None, "pairs.csv")
    contest = judge.seen[0]
    assert contest.prompt.question.startswith("Debate Topic: Motion ")
    assert contest.objective.criteria.startswith("Which speech argues its position")
    out = capsys.readouterr().out
    assert "gold pairs                         16, on 8 subjects" in out
    assert "  brief                            1.00 [0.68, 1.00] of 8 pairs\n" in out
    assert "  wordy                            0.00 [0.00, 0.32] of 8 pairs\n" in out
    assert "won over by texts of the kinds: wordy" in out


def test_the_interval_is_over_subjects():
    """Pairs on both sides of eight motions, which fall together, are eight witnesses and not sixteen."""
    won, lost = "longer,short", "short,longer"
    found = {}
    for sides in (["pro"], ["pro", "con"]):
        rows = [f"gold,Motion {i},{side},{won if i < 5 else lost}" for i in range(8) for side in sides]
        assert run("audit", gold(rows)) == 0
        found[len(sides)] = written()["agreement"]
    assert (found[1]["n"], found[2]["n"]) == (8, 16)
    assert [found[1][end] for end in ("low", "high")] == pytest.approx([found[2][end] for end in ("low", "high")])


def test_of_one_subject_alone_there_is_no_interval_and_it_is_said(capsys):
    assert run("audit", motions(1)) == 0
    assert written()["agreement"]["low"] is None
    assert "0.50 (of one subject: no interval) of 2 pairs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "more", "asked", "words"),
    [
        ("embedded", [], 120, "240 matches, of all 120 gold pairs"),
        ("embedded", ["--pairs", "10"], 10, "20 matches, of 10 of 120 gold pairs (--pairs 120 takes all)"),
        ("gpt-4o", [], 96, "192 matches, of 96 of 120 gold pairs (--pairs 120 takes all)"),
        ("gpt-4o", ["--pairs", "500"], 120, "240 matches, of all 120 gold pairs"),
    ],
)
def test_all_pairs_are_asked_where_that_costs_no_money(judge, capsys, name, more, asked, words):
    assert run("audit", ["--judge_model_name", name, *motions(60), *more]) == 0
    assert f"{name}: {words}\n" in capsys.readouterr().out
    assert written()["n_pairs"] == asked
    assert written()["n_gold"] == 120
    assert sum(len(c.matches) for c in judge.seen) == 2 * asked


def test_of_the_packaged_pairs_every_kind_is_counted(judge, capsys):
    assert run("audit", ["--dataset_name", "debate", "--groups", "0", "--output", "audit.json"]) == 0
    found = written()
    assert "wrong_side" in found["n_by_kind"]
    assert sum(found["n_by_kind"].values()) == found["n_pairs"] == found["n_gold"] == found["agreement"]["n"]
    won = sum(f["value"] * f["n"] for f in found["agreement_by_kind"].values())
    assert found["agreement"]["value"] == pytest.approx(won / found["n_pairs"])
    assert (found["gold"], found["dataset"]) == ("packaged", "debate")


def test_a_kind_never_controls_the_terminal(capsys):
    assert run("audit", gold(["\x1b[31mred,Motion 1,pro,longer,s"])) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[31mred" in out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--dataset_name", "poems", "--gold", "pairs.csv"], ["unknown dataset 'poems'", "debate"]),
        (["--dataset_name", "poems.yaml", "--gold", "pairs.csv"], ["poems.yaml", "no such file"]),
        (["--dataset_name", "debate", "--evaluator", "poems", "--gold", "pairs.csv"], ["'poems'", "debate"]),
        (["--dataset_name", "debate", "--gold", "nowhere.csv"], ["nowhere.csv", "no such file"]),
        (["--dataset_name", "chopped"], ["--dataset_name chopped", "--gold"]),
        (["--dataset_name", "debate", "--evaluator", "comedy"], ["--evaluator comedy", "--gold"]),
        (["--evaluator", "comedy", "--gold", "pairs.csv"], ["--evaluator comedy", "--dataset_name"]),
        (["--dataset_name", "ld", "--gold", "pairs.csv"], ["pair 1", "no 'subject'"]),
        (["--gold", "pairs.csv"], ["no 'prompt'", "--dataset_name"]),
        (["--pairs", "0"], ["--pairs 0", "at least 1"]),
    ],
)
def test_wrong_input_is_one_line_before_anybody_is_asked(judge, capsys, tmp_path, argv, words):
    motions(1)
    assert run("audit", argv) == 2
    out, err = capsys.readouterr()
    assert (out, judge.seen) == ("", [])
    assert err.startswith("softgrpo: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.csv"]
