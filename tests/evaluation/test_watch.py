"""What stands beside a judge's win rate: the sentinel's, drift, alarms; and what of it a later evaluation finds."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from softgrpo.evaluation import watch
from softgrpo.evaluation.alarms import key
from softgrpo.evaluation.sentinel import Sentinel, answers
from softgrpo.evaluator import Evaluator
from softgrpo.files import read_lines
from softgrpo.judges.neutral import NEUTRAL, neutral
from softgrpo.judges.text_scores import ScoringJudge
from softgrpo.reporting.recorder import judged_alone, read_evaluations
from tests.fakes.builders import completion, reply, task
from tests.fakes.judges import ScriptedJudge, failing

TASK = task(n_subjects=40)
QUESTIONS = TASK.test
JUDGE = ScriptedJudge(lambda a, b: float(len(a) > len(b)) if len(a) != len(b) else 0.5, name="by length")
OPPOSITE = ScriptedJudge(lambda a, b: float(len(a) < len(b)) if len(a) != len(b) else 0.5, name="by brevity")


def sentinel(judge, pairs=None):
    blind = replace(TASK, objectives=tuple(neutral(o) for o in TASK.objectives))
    return Sentinel(evaluator=Evaluator(blind, judge, {}), pairs=pairs)


def rows(text):
    """Each prompt's one answer, a function of its place."""
    return [[completion(reply(text(i)))] for i in range(len(QUESTIONS))]


def varied(i):
    return f"word{i} other{i * 7} third{i * 13}"


def held(folder, step, text=varied, judge=JUDGE, looking=OPPOSITE, pairs=None, opponent="the opponent"):
    """One evaluation of a run, written as the run writes it."""
    found = watch.evaluate(
        TASK,
        QUESTIONS,
        rows(text),
        rows(lambda i: f"{varied(i)[:-1]}{'x' * (i % 3)}"),
        evaluator=Evaluator(TASK, judge, {"answer": 1.0}),
        sentinel=looking and sentinel(looking, pairs),
        step=step,
        opponent=opponent,
        earlier=watch.recorded(folder, judge.name, opponent),
    )
    return json.loads(found.write(folder).read_text())


def long(i):
    """Much longer than at the start, and the same in all."""
    return "we believe that this is so and it must be " + "done and done again " * 10 + varied(i)


def test_what_stands_in_the_judges_file(tmp_path):
    start = held(tmp_path, 0)
    assert start["sentinel"] == "by brevity"
    assert start["sentinel_win_rate"] == pytest.approx(1 - start["win_rate"])
    assert start["sentinel_low"] <= start["sentinel_win_rate"] <= start["sentinel_high"]
    for name in ("common_opening", "self_bleu", "copied_words", "distinct_2", "mean_words", "compression", "entropy"):
        assert start[f"{name}_low"] <= start[name] <= start[f"{name}_high"], name
        assert start[f"{name}_base"] == start[name]
    assert (start["mean_words"], start["entropy"]) == (3, 1)
    assert "side_accuracy" not in start, "this sentinel can only compare"
    assert start["alarms"] == start["new_alarms"] == []
    later = held(tmp_path, 40, long)
    assert later["mean_words_base"] == 3
    assert later["mean_words"] > 30
    assert {key(a) for a in later["alarms"]} >= {"sentinel", "mean_words", "self_bleu"}
    assert later["new_alarms"] == later["alarms"]


def test_the_sentinels_file_is_its_own_and_nobody_takes_it_for_the_judges(tmp_path):
    folder = tmp_path / "evaluations"
    held(folder, 0)
    assert sorted(p.name for p in folder.iterdir()) == [
        "step_000000.by_brevity.json",
        "step_000000.by_brevity.pairs.jsonl",
        "step_000000.by_length.json",
        "step_000000.by_length.pairs.jsonl",
    ]
    found = read_evaluations(tmp_path)
    assert {e["judge"]: e["watches"] for e in found} == {"by length": "", "by brevity": "by length"}
    assert [e["judge"] for e in judged_alone(found)] == ["by length"]
    assert [e["judge"] for e in watch.recorded(folder)] == ["by length"]
    assert watch.recorded(folder, "by brevity") == []


def test_a_sentinel_is_told_no_criteria_and_sees_so_many_pairs(tmp_path):
    looking = ScriptedJudge(lambda a, b: 0.5, name="looking")
    found = held(tmp_path, 0, looking=looking, pairs=10)
    assert {c.objective.criteria for c in looking.seen} == {NEUTRAL}
    assert {c.objective.criteria for c in JUDGE.seen} == {"Which is better?"}
    assert len(looking.seen) == 10
    assert len({c.prompt.subject for c in looking.seen}) == 10, "spread over subjects"
    assert found["n_pairs"] == len(QUESTIONS)
    own = json.loads((tmp_path / "step_000000.looking.json").read_text())
    assert (own["n_pairs"], own["n_unjudged"]) == (10, 0)
    assert len(read_lines(tmp_path / "step_000000.looking.pairs.jsonl")) == 10


def test_an_alarm_is_new_once_for_its_kind(tmp_path):
    held(tmp_path, 0)
    first = held(tmp_path, 40, lambda i: varied(i) + " more" * 20)
    second = held(tmp_path, 80, long)
    assert first["new_alarms"]
    said = {key(a) for a in first["alarms"]}
    assert {key(a) for a in second["alarms"]} > said
    assert {key(a) for a in second["new_alarms"]} == {key(a) for a in second["alarms"]} - said
    again = held(tmp_path, 40, lambda i: varied(i) + " more" * 20)
    assert again["new_alarms"] == first["new_alarms"], "what comes after does not count"
    assert watch.alarmed_at(watch.recorded(tmp_path)) == 40


def test_without_a_sentinel_there_is_drift_alone(tmp_path):
    held(tmp_path, 0, looking=None)
    found = held(tmp_path, 40, long, looking=None)
    assert not any(name.startswith("sentinel") for name in found)
    assert [p.name for p in tmp_path.glob("step_000040.*.json")] == ["step_000040.by_length.json"]
    alarms = {key(a) for a in found["alarms"]}
    assert "mean_words" in alarms
    assert "sentinel" not in alarms


def test_without_a_start_there_is_nothing_to_compare_with(tmp_path):
    found = held(tmp_path, 40, long)
    assert found["mean_words_base"] is None
    assert found["alarms"] == []
    assert found["sentinel"] == "by brevity"


def test_an_evaluation_of_an_earlier_softgrpo_is_no_start_of_measures(tmp_path):
    """It has a win rate, and a `mean_words` of its own that is no measure."""
    start = held(tmp_path, 0)
    own = "step judge opponent win_rate low high win_rate_both_formed n_pairs n_forfeits n_unjudged".split()
    old = {name: start[name] for name in own} | {"mean_words": 9.0}
    (tmp_path / "step_000000.by_length.json").write_text(json.dumps(old))
    found = held(tmp_path, 40, long)
    assert found["mean_words_base"] is None
    assert found["alarms"] == []
    assert watch.best([old, found]) == 40


def test_another_sentinel_or_opponent_is_not_compared_with(tmp_path):
    """What it saw at the start is another question; the texts are the same ones."""
    held(tmp_path, 0)
    found = held(tmp_path, 40, long, looking=replace_name(OPPOSITE, "another"))
    kinds = {key(a) for a in found["alarms"]}
    assert "mean_words" in kinds
    assert "sentinel" not in kinds


def replace_name(judge, name):
    return ScriptedJudge(judge.p_first, name=name)


def test_a_sentinel_that_answers_nothing_is_no_alarm(tmp_path):
    held(tmp_path, 0, looking=failing())
    found = held(tmp_path, 40, long, looking=failing())
    assert found["sentinel_win_rate"] is None
    assert "sentinel" not in {key(a) for a in found["alarms"]}


class Telling:
    """Scores nothing much, and tells of each text what stands in it."""

    def score(self, items):
        return np.zeros(len(items))

    def facts(self, items):
        self.asked = [item.text for item in items]
        on_topic = [0.9 if "word" in item.text else 0.1 for item in items]
        return {"right_side": np.full(len(items), math.nan), "on_topic": np.array(on_topic)}


def test_what_a_sentinel_can_tell_of_a_text_is_measured():
    scorer, prompts = Telling(), [TASK.prompt(q) for q in QUESTIONS[:2]]
    texts = ((reply("a word"), "no tags"), (reply("another"), reply("x")))
    ours = [[completion(text) for text in row] for row in texts]
    looking = sentinel(ScoringJudge("telling", scorer))
    seen = [ours[0], ours[1][:1]]
    met = looking.evaluator.meetings(prompts, seen, seen)
    found = answers(prompts, ours, Evaluator(TASK, JUDGE, {}), sentinel=looking, seen=met)
    assert scorer.asked == ["a word", "another"], "what it has seen and what there is to see"
    assert [(a.text, a.on_topic, a.right_side) for a in found] == [
        ("a word", 0.9, None),
        ("", None, None),
        ("another", 0.1, None),
        ("x", None, None),
    ]
    assert [a.subject for a in found] == ["subject 0"] * 4
    plain = answers(prompts, ours, Evaluator(TASK, JUDGE, {}), sentinel=sentinel(OPPOSITE), seen=met)
    assert {a.on_topic for a in plain} == {None}


def test_texts_off_their_subject_raise_an_alarm_by_what_the_sentinel_tells(tmp_path):
    looking = ScoringJudge("telling", Telling())
    assert held(tmp_path, 0, looking=looking)["off_topic"] == 0
    found = held(tmp_path, 40, lambda i: f"ward{i} other{i * 7} third{i * 13}", looking=looking)
    assert (found["off_topic"], found["off_topic_base"]) == (1, 0)
    assert [key(a) for a in found["alarms"]] == ["off_topic"]


def test_what_another_sentinel_told_at_the_start_is_not_compared_with(tmp_path):
    held(tmp_path, 0, looking=ScoringJudge("telling", Telling()))
    off = held(tmp_path, 40, lambda i: f"ward{i} other{i * 7} third{i * 13}", looking=ScoringJudge("new", Telling()))
    assert (off["off_topic"], off["off_topic_base"]) == (1, None)
    assert off["alarms"] == []
    assert off["mean_words_base"] is not None


@pytest.mark.parametrize(
    ("rates", "step"),
    [
        ([(0.5, None), (0.7, None), (0.6, None)], 1),
        ([(0.5, 0.5), (0.9, 0.4), (0.8, 0.45)], 0),
        ([(0.5, None), (0.9, 0.4), (0.8, 0.45)], 2),
        ([(None, None)], None),
        ([], None),
    ],
)
def test_the_best_is_the_sentinels_where_there_is_one(rates, step):
    records = [{"step": i, "win_rate": judge, "sentinel_win_rate": by} for i, (judge, by) in enumerate(rates)]
    assert watch.best(records) == step
    alarmed = [*records, {"step": 9, "win_rate": 1.0, "sentinel_win_rate": 1.0, "alarms": ["markup: ..."]}]
    assert watch.best([*alarmed, {"step": 10, "win_rate": 1.0, "sentinel_win_rate": 1.0, "alarms": []}]) == step
    assert watch.best(records, among=[]) is None
