"""Head to head on held-out prompts: the figures, the files, and opponents that answer once."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from softgrpo.evaluation import head_to_head
from softgrpo.evaluation.head_to_head import Player, held_out, recorded_answers
from softgrpo.evaluator import Evaluator
from softgrpo.files import file_name, read_lines
from softgrpo.judges.text_scores import ScoringJudge
from softgrpo.records import Sampling
from softgrpo.reporting.recorder import read_evaluations
from softgrpo.tasks import load_task
from tests.fakes.builders import completion, reply, task
from tests.fakes.judges import ScriptedJudge, failing, prefers_first

TASK = task()
WEIGHTS = {"answer": 1.0}


class Speaker:
    """A model that answers with a text of its own and a running number, so that no two answers are alike."""

    def __init__(self, name="speaker", finish_reason="stop"):
        self.name = name
        self.finish_reason = finish_reason
        self.calls = 0
        self.spoken = 0

    def generate(self, chats, sampling):
        self.calls += 1
        return [[self._next() for _ in range(sampling.n)] for _ in chats]

    def _next(self):
        self.spoken += 1
        return completion(reply(f"{self.name} {self.spoken}"), self.finish_reason)


def player(model, name="opponent", **sampling):
    return Player(name=name, model=model, num_shots=0, sampling=Sampling(**sampling))


def evaluated(judge, ours, theirs, step=40):
    rows = lambda texts: [[completion(t) if isinstance(t, str) else t] for t in texts]  # noqa: E731
    evaluator = Evaluator(TASK, judge, WEIGHTS)
    questions = TASK.test[: len(ours)]
    return head_to_head.evaluate(
        TASK, questions, rows(ours), rows(theirs), evaluator=evaluator, step=step, opponent="the opponent"
    )


longer = ScriptedJudge(lambda a, b: float(len(a) > len(b)), name="openai:judge/1")


def test_figures_of_an_evaluation_by_hand():
    """Two subjects, both sides each; ours wins one, loses one by forfeit, loses one, and one is cut off."""
    ours = [reply("long one"), "no tags", f"So: {reply('x')}", completion(reply("long two"), "length")]
    found, met = evaluated(longer, ours, [reply("short")] * 3 + ["none"])
    rate = found.win_rate
    assert (rate.win_rate, rate.win_rate_both_formed) == (0.5, 0.5)
    assert (rate.n_pairs, rate.n_subjects, rate.n_prompts, rate.n_forfeits, rate.n_unjudged) == (4, 2, 4, 2, 0)
    assert found.format_adherence == 0.5
    assert found.format_adherence_soft == 0.75
    assert found.opponent_format_adherence == 0.75
    assert found.n_truncated == 1
    assert found.position_bias == pytest.approx(0)
    assert [m.p_win for m in met] == [1.0, 0.0, 0.0, 1.0]


def test_position_bias_is_told_and_does_not_reach_the_rate():
    found, _ = evaluated(prefers_first(), [reply("a")] * 4, [reply("b")] * 4)
    assert found.position_bias > 0
    assert found.win_rate.win_rate == 0.5


def test_a_judge_that_fails_leaves_figures_that_can_be_written(tmp_path):
    found, met = evaluated(failing(), [reply("a")] * 2, [reply("b")] * 2)
    assert found.win_rate.n_unjudged == 2
    assert math.isnan(found.win_rate.win_rate)
    written = json.loads(head_to_head.write(tmp_path, found, met).read_text())
    assert written["win_rate"] is None
    assert written["n_unjudged"] == 2


def test_the_file_has_the_names_that_readers_rely_on(tmp_path):
    found, met = evaluated(longer, [reply("long one"), "no tags"], [reply("short")] * 2)
    path = head_to_head.write(tmp_path, found, met)
    assert path.name == "step_000040.openai_judge_1.json"
    written = json.loads(path.read_text())
    assert {
        "win_rate",
        "low",
        "high",
        "win_rate_both_formed",
        "n_prompts",
        "n_pairs",
        "n_forfeits",
        "n_unjudged",
    } <= set(written)
    assert {"format_adherence", "judge", "opponent"} <= set(written)
    assert (written["judge"], written["opponent"], written["step"]) == ("openai:judge/1", "the opponent", 40)
    pairs = read_lines(tmp_path / "step_000040.openai_judge_1.pairs.jsonl")
    assert [p["p_win"] for p in pairs] == [1.0, 0.0]
    assert [p["forfeit"] for p in pairs] == [False, True]
    assert (pairs[0]["ours"], pairs[0]["theirs"]) == (reply("long one"), reply("short"))
    assert [(v["first"], v["second"], v["p_first"]) for v in pairs[0]["verdicts"]] == [(0, 1, 1.0), (1, 0, 0.0)]


class ByLength:
    """Scores a text by its length; keeps what it was asked."""

    def __init__(self):
        self.asked = []

    def score(self, items):
        self.asked += [item.text for item in items]
        return np.array([float(len(item.text)) for item in items])


OURS = [[completion(reply(text)) for text in row] for row in (["a", "bbbb"], ["cc", "dd"])]
THEIRS = [[completion(reply(text)) for text in row] for row in (["xx", "yyy"], ["zz", "z"])]


def met_by(judge, **options):
    evaluator = Evaluator(TASK, judge, WEIGHTS)
    return head_to_head.evaluate(
        TASK, TASK.test[:2], OURS, THEIRS, evaluator=evaluator, step=0, opponent="the opponent", **options
    )


def test_a_judge_that_scores_texts_compares_each_answer_with_each_and_reads_each_once():
    scorer = ByLength()
    found, met = met_by(ScoringJudge("length", scorer))
    assert sorted(scorer.asked) == ["a", "bbbb", "cc", "dd", "xx", "yyy", "z", "zz"]
    rate = found.win_rate
    assert (rate.n_pairs, rate.n_prompts, rate.n_subjects) == (8, 2, 1)
    # a loses twice, bbbb wins twice; cc and dd each tie with zz and beat z
    assert rate.win_rate == pytest.approx((0 + 0 + 1 + 1 + 2 * (0.5 + 1)) / 8)
    assert found.n_truncated == 0
    assert found.format_adherence == 1
    assert [(m.ours.text, m.theirs.text) for m in met[:4]] == [
        (reply(a), reply(b)) for a, b in (("a", "xx"), ("bbbb", "yyy"), ("a", "yyy"), ("bbbb", "xx"))
    ]


def test_a_judge_that_is_asked_about_pairs_sees_answer_against_answer():
    found, met = met_by(longer)
    assert found.win_rate.n_pairs == 4
    assert [(m.ours.text, m.theirs.text) for m in met[:2]] == [(reply("a"), reply("xx")), (reply("bbbb"), reply("yyy"))]


def test_recorded_pairs_give_each_answer_back_once(tmp_path):
    found, met = met_by(ScoringJudge("length", ByLength()))
    path = head_to_head.write(tmp_path, found, met)
    lines = read_lines(path.with_name(f"{path.stem}.pairs.jsonl"))
    assert [(line["ours_sample"], line["theirs_sample"]) for line in lines[:4]] == [(0, 0), (1, 1), (0, 1), (1, 0)]
    back = head_to_head.answers_in(lines)
    assert [[c.text for c in back[q.id]] for q in TASK.test[:2]] == [[c.text for c in row] for row in OURS]
    assert {c.sampling_logprobs for row in back.values() for c in row} == {(-1.0,)}
    old = [{k: v for k, v in line.items() if "sample" not in k and "logprob" not in k} for line in lines[:2]]
    assert [c.text for c in head_to_head.answers_in(old)[TASK.test[0].id]] == [reply("a"), reply("bbbb")]


def test_so_many_pairs_at_most():
    scorer = ByLength()
    found, met = met_by(ScoringJudge("length", scorer), pairs=3, watches="longer")
    assert (found.win_rate.n_pairs, len(met), found.watches) == (3, 3, "longer")
    assert found.win_rate.n_prompts == 2


def test_evaluations_come_back_in_the_order_of_their_steps(tmp_path):
    for step in (40, 0, 1_000_000, 120):
        head_to_head.write(tmp_path / "evaluations", *evaluated(longer, [reply("aa")], [reply("b")], step=step))
    assert [e["step"] for e in read_evaluations(tmp_path)] == [0, 40, 120, 1_000_000]


def test_names_become_parts_of_file_names():
    assert file_name("openai:a/b@http://x:1/v1") == "openai_a_b_http_x_1_v1"
    assert file_name("../../etc/passwd") == "etc_passwd"
    assert len(file_name("x" * 500)) == 80


def test_held_out_prompts_are_the_first_of_the_test_split_both_sides_together():
    debate = load_task("debate")
    questions = held_out(debate, 8)
    assert questions == debate.test[:8] == held_out(debate, 8)
    assert len({q.subject for q in questions}) == 4


def test_a_player_answers_each_question_as_often_as_asked():
    rows = player(Speaker(), n=3).answer(TASK, TASK.test[:2])
    assert [len(row) for row in rows] == [3, 3]


def test_the_recorded_answers_once_and_is_read_ever_after(tmp_path):
    path, model = tmp_path / "evaluations" / "opponent.jsonl", Speaker(finish_reason="length")
    first = recorded_answers(path, player(model), TASK, TASK.test[:4])
    again = recorded_answers(path, player(model), TASK, TASK.test[:4])
    assert model.calls == 1
    assert [[(c.text, c.finish_reason) for c in row] for row in again] == [
        [(c.text, c.finish_reason) for c in row] for row in first
    ]
    fewer = recorded_answers(path, player(model), TASK, TASK.test[2:4])
    assert [row[0].text for row in fewer] == [row[0].text for row in first[2:]]
    assert model.calls == 1


@pytest.mark.parametrize(
    "change", [dict(name="another"), dict(n=2), dict(temperature=0.1), dict(max_tokens=9), dict(seed=5)], ids=str
)
def test_another_opponent_or_way_of_asking_is_answered_anew_beside_the_old(tmp_path, change):
    path, model = tmp_path / "opponent.jsonl", Speaker()
    first = recorded_answers(path, player(model), TASK, TASK.test[:2])
    recorded_answers(path, player(model, **change), TASK, TASK.test[:2])
    assert model.calls == 2
    again = recorded_answers(path, player(model), TASK, TASK.test[:2])
    assert [row[0].text for row in again] == [row[0].text for row in first]
    assert model.calls == 2


def test_a_file_of_answers_cut_off_by_a_crash_is_answered_anew(tmp_path):
    path, model = tmp_path / "opponent.jsonl", Speaker()
    recorded_answers(path, player(model), TASK, TASK.test[:2])
    path.write_bytes(path.read_bytes()[:-5])
    assert len(recorded_answers(path, player(model), TASK, TASK.test[:2])) == 2
    assert model.calls == 2
    assert len(read_lines(path)) == 2


def test_an_opponent_that_could_not_answer_is_asked_again(tmp_path):
    """An outage at the first evaluation must not leave the run without an opponent for good."""
    path, model = tmp_path / "opponent.jsonl", Speaker(finish_reason="failed")
    recorded_answers(path, player(model), TASK, TASK.test[:2])
    model.finish_reason = "stop"
    rows = recorded_answers(path, player(model), TASK, TASK.test[:2])
    assert {c.finish_reason for row in rows for c in row} == {"stop"}


def test_asking_for_more_prompts_does_not_change_the_texts_that_were_judged_before(tmp_path):
    """`evaluate --eval_prompts 4` on a run of 2: a run that is resumed meets the opponent it met before."""
    path, model = tmp_path / "opponent.jsonl", Speaker()
    before = recorded_answers(path, player(model), TASK, TASK.test[:2])
    recorded_answers(path, player(model), TASK, TASK.test[:4])
    after = recorded_answers(path, player(model), TASK, TASK.test[:2])
    assert [row[0].text for row in after] == [row[0].text for row in before]
