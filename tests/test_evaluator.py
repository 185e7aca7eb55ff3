"""Tournaments inside a group, and head to head: what a judge is shown, and what is made of what it says."""

from __future__ import annotations

import io
import math
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from softgrpo.evaluation.head_to_head import outcome
from softgrpo.evaluation.win_rate import win_rate
from softgrpo.evaluator import FAILED, Evaluator
from softgrpo.group_queue import GroupQueue
from softgrpo.judges.text_scores import ScoringJudge
from softgrpo.rewards.format import section
from softgrpo.rollout.async_judging import AsyncJudging
from softgrpo.tournament.schedule import Plan
from tests.fakes.builders import ANSWER, REASONING, completion, group, prompt, reply, task
from tests.fakes.judges import ScriptedJudge, failing, prefers_first, skill_judge

ONLY_ANSWER = {"answer": 1.0, "reasoning": 0.0, "strict_format": 0.0, "soft_format": 0.0, "tag_count": 0.0}
SKILL = {"weak": 0.0, "fair": 0.5, "good": 1.0, "best": 1.5}
FORFEITS = [
    "no tags",
    "<answer>a</answer><answer>b</answer>",
    "<reasoning>r</reasoning><answer> </answer>",
    "<answer>cut",
    "",
]


def evaluator(judge, weights=ONLY_ANSWER, **options):
    return Evaluator(task(objectives=(ANSWER, REASONING)), judge, weights, **options)


def score(judge, *texts, weights=ONLY_ANSWER, **options):
    (scored,) = evaluator(judge, weights, **options).score_groups([group(texts)])
    return scored


def test_a_hard_judge_gives_the_seeds_reward():
    scored = score(skill_judge(SKILL, hard=True), *map(reply, ["good", "weak", "best", "fair"]))
    assert scored.rewards == pytest.approx([0.5, -1.5, 1.5, -0.5])
    assert len(scored.verdicts) == 12


@pytest.mark.parametrize("bias", [-1.5, 0.4, 2.0])
def test_a_judges_preference_for_a_place_does_not_reach_the_reward(bias):
    texts = [reply(name) for name in SKILL]
    fair, biased = score(skill_judge(SKILL), *texts), score(skill_judge(SKILL, bias=bias), *texts)
    np.testing.assert_allclose(biased.rewards, fair.rewards, atol=1e-6)
    assert biased.standings["answer"].position_bias == pytest.approx(bias)


def test_a_judge_that_always_takes_the_first_ranks_nobody():
    scored = score(prefers_first(), *map(reply, "abcd"))
    assert scored.rewards.tolist() == [0.0] * 4


def test_a_judge_sees_the_answers_and_nothing_else():
    judge = skill_judge(SKILL)
    score(judge, reply("good", reasoning="secret"), reply("weak", reasoning="plan"), f"before {reply('best')} after")
    assert judge.shown == {"good", "weak", "best"}
    assert all(text in {"good", "weak", "best"} for contest in judge.seen for text in contest.texts)


def test_a_judge_is_never_asked_about_a_forfeit():
    judge = skill_judge(SKILL)
    scored = score(judge, reply("good"), *FORFEITS, reply("weak"))
    assert judge.shown == {"good", "weak"}
    standing = scored.standings["answer"]
    assert standing.n_forfeits == len(FORFEITS)
    assert standing.n_unjudged == 0
    p = 1 / (1 + math.exp(-1))
    assert scored.rewards[0] == pytest.approx(1.5 * (2 * (5 + p) / 6 - 1))
    assert scored.rewards[1:6] == pytest.approx([1.5 * (2 * (4 * 0.5) / 6 - 1)] * 5), "two lost, four at a half"


@pytest.mark.parametrize("texts", [["", ""], ["no tags", "none here", "nor here"]])
def test_where_nobody_has_something_to_show_nobody_is_asked_and_all_tie(texts):
    judge = skill_judge({})
    scored = score(judge, *texts)
    assert judge.seen == []
    assert scored.rewards.tolist() == [0.0] * len(texts)


def test_one_text_against_forfeits_wins_without_a_judge():
    judge = skill_judge({})
    scored = score(judge, "no tags", reply("alone"))
    assert judge.seen == []
    assert scored.rewards == pytest.approx([-1.5, 1.5])
    assert {v.how for v in scored.verdicts} == {"forfeit"}


def test_an_undelivered_completion_forfeits_nothing_and_has_no_reward():
    lost = completion("", finish_reason=FAILED, n_tokens=0)
    scored = score(skill_judge(SKILL), reply("good"), lost, reply("weak"), "no tags")
    assert np.isnan(scored.rewards[1])
    assert scored.standings["answer"].n_opponents.tolist() == [2, 0, 2, 2]
    assert scored.standings["answer"].n_forfeits == 1
    assert scored.standings["answer"].n_unjudged == 3
    without = score(skill_judge(SKILL), reply("good"), reply("weak"), "no tags")
    assert scored.rewards[[0, 2, 3]] == pytest.approx(without.rewards), "the others are scored as if it were not there"


def test_every_failure_is_excluded_and_counted_never_scored():
    """All matches with `weak` fail: it has no reward, and the others are scored among themselves."""
    judge = failing(on=lambda a, b: "weak" in (a, b))
    scored = score(judge, *map(reply, ["weak", "x", "xx", "xxx"]))
    assert scored.rewards == pytest.approx([np.nan, -1.5, 0.0, 1.5], nan_ok=True)
    assert scored.standings["answer"].n_unjudged == 6
    assert sum(v.p_first is None for v in scored.verdicts) == 6


def test_a_failure_in_one_order_takes_the_other_with_it():
    judge = failing(on=lambda a, b: (a, b) == ("x", "xx"))
    scored = score(judge, *map(reply, ["x", "xx", "xxx"]))
    assert scored.rewards == pytest.approx([-1.5, -1.5, 1.5])
    assert scored.standings["answer"].n_unjudged == 1


def test_a_judge_that_fails_throughout_leaves_no_rewards_and_no_error():
    scored = score(failing(), *map(reply, "abc"), weights=ONLY_ANSWER | {"strict_format": 0.5})
    assert np.isnan(scored.rewards).all()
    assert scored.reward_parts["strict_format"].tolist() == [1, 1, 1], "what needs no judge is still known"


def test_each_objective_has_its_own_tournament_over_its_own_section():
    judge = ScriptedJudge(lambda a, b: float(len(a) > len(b)))
    weights = ONLY_ANSWER | {"reasoning": 0.5}
    scored = score(judge, reply("aaa", reasoning="r"), reply("a", reasoning="rrr"), weights=weights)
    assert scored.reward_parts["answer"] == pytest.approx([1.5, -1.5])
    assert scored.reward_parts["reasoning"] == pytest.approx([-1.5, 1.5])
    assert scored.rewards == pytest.approx([0.75, -0.75])
    assert {c.objective.name: set(c.texts) for c in judge.seen} == {"answer": {"aaa", "a"}, "reasoning": {"r", "rrr"}}
    assert {v.match.objective for v in scored.verdicts} == {"answer", "reasoning"}


def test_an_objective_without_weight_costs_no_call():
    judge = ScriptedJudge(lambda a, b: 1.0)
    scored = score(judge, reply("a"), reply("b"))
    assert {c.objective.name for c in judge.seen} == {"answer"}
    assert set(scored.standings) == {"answer"}


def test_the_parts_are_kept_apart_by_name_and_add_up_by_weight():
    weights = {"answer": 1.0, "reasoning": 0.0, "strict_format": 0.5, "soft_format": 0.5, "tag_count": 1.0}
    scored = score(skill_judge(SKILL, hard=True), reply("good"), f"Well: {reply('weak')}", "nothing", weights=weights)
    assert set(scored.reward_parts) == {"answer", "strict_format", "soft_format", "tag_count"}
    assert scored.reward_parts["answer"] == pytest.approx([1.5, 0, -1.5])
    assert scored.rewards == pytest.approx([1.5 + 0.5 + 0.5 + 0.5, 0 + 0 + 0.5 + 0.5, -1.5])


def test_many_groups_go_to_the_judge_in_one_call():
    judge = skill_judge(SKILL)
    calls = []
    ask = judge.judge
    judge.judge = lambda contests: calls.append(len(contests)) or ask(contests)
    groups = [
        group([reply("good"), reply("weak")], id="1"),
        group(["", ""], id="2"),
        group([reply("best")] * 2, id="3"),
    ]
    scored = evaluator(judge).score_groups(groups)
    assert calls == [2], "the group of forfeits is not asked about"
    assert [s.group.prompt.id for s in scored] == ["1", "2", "3"]
    assert scored[0].rewards[0] > 0
    assert scored[1].rewards.tolist() == scored[2].rewards.tolist() == [0, 0]


def test_groups_that_arrive_one_by_one_are_scored_as_those_that_are_all_there():
    names = list(SKILL)
    groups = [group([reply(names[(i + j) % len(names)]) for j in range(4)], id=str(i)) for i in range(3)]

    def found(given):
        judge = skill_judge(SKILL | {"": -1.0})
        e = evaluator(judge, plan=Plan(kind="adaptive", calls=8), canary_rate=0.5)
        scored = e.score_groups(given, seed=3)
        return [(s.group, s.verdicts, s.rewards.tolist()) for s in scored], e.state()

    class Slow(GroupQueue):
        def take(self, *, wait):
            """One at a time, the last group first, and nobody there but who is waited for."""
            if not wait or not self.left:
                return []
            self.left -= 1
            return [(self.left, groups[self.left])]

    assert found(Slow(3)) == found(groups)
    assert sum(tally["n"] for tally in found(groups)[1]["canaries"].values()) > 2


texts = st.lists(st.sampled_from([*map(reply, SKILL), *FORFEITS]), min_size=2, max_size=7)


@settings(deadline=None, max_examples=60)
@given(texts, st.randoms(use_true_random=False))
def test_where_a_completion_stands_in_its_group_does_not_matter(texts, random):
    order = random.sample(range(len(texts)), len(texts))
    judge = skill_judge(SKILL, bias=1.0)
    plain, shuffled = score(judge, *texts), score(judge, *(texts[i] for i in order))
    np.testing.assert_allclose(shuffled.rewards, plain.rewards[order], atol=1e-6)
    assert plain.rewards.sum() == pytest.approx(0, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(texts)
def test_one_outcome_for_every_pair(texts):
    scored = score(skill_judge(SKILL), *texts)
    pairs = {tuple(sorted((v.match.first, v.match.second))) for v in scored.verdicts}
    assert len(pairs) == len(texts) * (len(texts) - 1) // 2
    assert (scored.standings["answer"].n_opponents == len(texts) - 1).all()
    assert scored.standings["answer"].n_forfeits == sum(section(t, "answer") is None for t in texts)


def test_balanced_orders_ask_half_as_often():
    judge = skill_judge(SKILL)
    scored = score(judge, *map(reply, SKILL), plan=Plan(orders="balanced"))
    assert len(scored.verdicts) == 6
    assert sum(len(c.matches) for c in judge.seen) == 6


def test_a_scoring_judge_is_not_asked_in_both_orders():
    class Lengths:
        def score(self, items):
            return np.array([len(item.text) for item in items], float)

    scored = score(ScoringJudge("lengths", Lengths()), reply("a"), reply("aaa"), plan=Plan(orders="both"))
    assert len(scored.verdicts) == 1
    assert scored.rewards[1] > 0 > scored.rewards[0]


def test_without_a_form_the_whole_reply_is_judged_and_nothing_else_is_rewarded():
    plain = replace(task(), format=None)
    weights = {"answer": 1.0, "strict_format": 0.5, "soft_format": 0.5, "tag_count": 1.0}
    judge = skill_judge(SKILL, hard=True)
    e = Evaluator(plain, judge, weights)
    (scored,) = e.score_groups([group(["good", " best\n", "", "  "])])
    assert judge.shown == {"good", "best"}
    assert set(scored.reward_parts) == set(e.weights) == {"answer"}
    assert scored.rewards == pytest.approx([0.5, 1.5, -1.0, -1.0])
    assert scored.standings["answer"].n_forfeits == 2


def test_a_task_without_any_weight_rewards_nothing():
    e = Evaluator(replace(task(), format=None), skill_judge(SKILL), {"answer": 0.0})
    (scored,) = e.score_groups([group(["good", "best"])])
    assert (scored.rewards.tolist(), scored.verdicts, scored.reward_parts) == ([0.0, 0.0], (), {})


BY_NUMBER = {f"t{i}": i / 3 for i in range(6)}


def six(id):
    return group([reply(name) for name in BY_NUMBER], id=id)


def pairs_of(scored):
    return [(v.match.first, v.match.second) for v in scored.verdicts]


def test_with_a_seed_of_its_own_a_groups_matches_depend_on_no_other():
    def found(groups, seed):
        plan = Plan(kind="random_regular", calls=8)
        return list(map(pairs_of, evaluator(skill_judge(BY_NUMBER), plan=plan).score_groups(groups, seed=seed)))

    assert found([six("1"), six("2")], [5, 6]) == [*found([six("1")], [5]), *found([six("2")], [6])]
    assert found([six("1"), six("2")], 5)[0] != found([six("1"), six("2")], [5, 6])[0]


def by_objective(scored):
    return {name: [v for v in scored.verdicts if v.match.objective == name] for name in scored.standings}


@pytest.mark.parametrize("plan", [Plan(), Plan(kind="adaptive", calls=12)], ids=lambda plan: plan.kind)
@pytest.mark.parametrize("judge", [skill_judge(SKILL | {"because": 0.0}, bias=1.0), failing(lambda a, b: a == "good")])
def test_recorded_verdicts_give_what_the_judge_gave(judge, plan):
    weights = ONLY_ANSWER | {"reasoning": 0.5, "strict_format": 1.0}
    lost = completion("", finish_reason=FAILED, n_tokens=0)
    groups = [group([*map(reply, SKILL), "no tags", lost], id=str(i)) for i in range(3)]
    live = evaluator(judge, weights, plan=plan)
    steps = [live.score_groups(groups[:1]), live.score_groups(groups[1:])]
    again = Evaluator(task(objectives=(ANSWER, REASONING)), None, weights)
    for step in steps:
        found = again.score_groups([s.group for s in step], recorded=list(map(by_objective, step)))
        for one, other in zip(step, found, strict=True):
            np.testing.assert_array_equal(one.rewards, other.rewards)
            np.testing.assert_array_equal(one.stderrs, other.stderrs)
            assert one.verdicts == other.verdicts
    assert again.state() == live.state()


def test_without_a_judge_only_recorded_verdicts_are_scored():
    e = Evaluator(task(), None, ONLY_ANSWER)
    with pytest.raises(ValueError, match="no judge"):
        e.score_groups([group([reply("a"), reply("b")])])
    with pytest.raises(ValueError, match="shorter"):
        e.score_groups([group([reply("a"), reply("b")])], recorded=[])
    with pytest.raises(TypeError, match="all there"):
        e.score_groups(GroupQueue(0), recorded=[])


def test_nothing_that_a_thread_has_learned_is_lost():
    """The same group many times at once: what is known of the judge afterwards is what it is one by one."""
    same = group(list(map(reply, SKILL)))

    def learned(n_threads):
        e = evaluator(skill_judge(SKILL | {"": -1.0}, bias=0.7), canary_rate=0.4)
        share = lambda: [e.score_groups([same]) for _ in range(24 // n_threads)]  # noqa: E731
        shares = [threading.Thread(target=share) for _ in range(n_threads)]
        for thread in shares:
            thread.start()
        for thread in shares:
            thread.join()
        return e.state()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        alone = learned(1)
        assert alone["canaries"]["identical"]["n"] > 0
        assert learned(8) == alone
    finally:
        sys.setswitchinterval(interval)


SAME = ONLY_ANSWER | {"sameness": 2.0}


def rounds(n, n_groups=3):
    """Iterations whose groups share a text now and then."""
    said = ["Free buses for all", "A toll is fair", "Free buses cost little", "Whales should vote"]
    return [
        [
            group([reply(said[(i + k * j) % 4]) for j in range(3)] + ["no tags"], id=f"{i}/{k}", subject=f"{i}/{k}")
            for k in range(n_groups)
        ]
        for i in range(n)
    ]


def longer():
    return ScriptedJudge(lambda a, b: 0.9 if len(a) > len(b) else 0.1)


def test_what_answers_to_other_prompts_have_in_common_costs():
    e = evaluator(longer(), SAME)
    same, other = reply("Free buses for all"), reply("Tolls")
    scored = e.score_groups([group([same, other, "no tags"], id=str(i), subject=str(i)) for i in range(9)])
    for s in scored:
        assert s.reward_parts["sameness"].tolist() == [-1.0, -1.0, 0.0]
        assert s.rewards == pytest.approx(s.reward_parts["answer"] + [-2, -2, 0])
        assert math.copysign(1, s.reward_parts["sameness"][2]) == 1, "no zero with a sign"
    (alone,) = evaluator(longer(), SAME).score_groups([group([same, other])])
    assert alone.reward_parts["sameness"].tolist() == [0, 0]
    (later,) = e.score_groups([group([same, reply("Whales should vote.")], id="later", subject="later")])
    assert later.reward_parts["sameness"].tolist() == [-1.0, 0.0]


@pytest.mark.parametrize("weights", [ONLY_ANSWER, ONLY_ANSWER | {"sameness": 0.0}])
def test_without_a_weight_nothing_is_compared_or_remembered(weights):
    e = evaluator(longer(), weights)
    for groups in rounds(2):
        assert not any("sameness" in s.reward_parts for s in e.score_groups(groups))
    assert e.state()["recent"] == {"answers": [], "start": None}


def test_both_sides_of_a_motion_are_not_compared():
    sides = [group([reply("Free buses for all")] * 2, id=f"{i}/{side}", subject=str(i)) for i in (0,) for side in "ab"]
    assert all((s.reward_parts["sameness"] == 0).all() for s in evaluator(longer(), SAME).score_groups(sides))


@pytest.mark.parametrize("form", [None, "reasoning_answer"])
def test_it_is_the_judged_section_that_is_compared_and_the_whole_reply_without_a_form(form):
    texts = [[reply(f"word{i} is {i}", reasoning="The same reasoning."), reply(f"{i} no")] for i in range(9)]
    e = Evaluator(replace(task(), format=form), longer(), SAME)
    scored = e.score_groups([group(t, id=str(i), subject=str(i)) for i, t in enumerate(texts)])
    costs = np.array([-s.reward_parts["sameness"] for s in scored])
    assert (costs > 0.2).all() if form is None else (costs < 0.2).all()


def test_which_group_comes_first_does_not_matter_to_what_is_shared():
    def found(order):
        e = evaluator(longer(), SAME)
        out = []
        for groups in rounds(4):
            queue = GroupQueue(len(groups))
            for place in order:
                queue.put(place, groups[place])
            out += [(s.group.prompt.id, s.rewards.tolist()) for s in e.score_groups(queue)]
        return out, e.state()

    assert found([0, 1, 2]) == found([2, 0, 1]) == found([1, 2, 0])


class Seeing(ScoringJudge):
    """Scores by length, and sees how often each letter stands in a text."""

    def vectors(self, items):
        return np.array([[item.text.count(letter) for letter in "abcdefghi"] for item in items], float)


class Length:
    def score(self, items):
        return np.array([len(item.text) / 10 for item in items])


@pytest.mark.parametrize("judge", [longer(), Seeing("seeing", Length())], ids=["words", "vectors"])
@pytest.mark.parametrize(("staleness", "threaded"), [(0, False), (0, True), (1, True)])
def test_a_run_goes_on_from_a_checkpoint_to_the_last_bit(judge, staleness, threaded):
    """The memory is that of the order of iterations, also where the next one is sampled ahead and kept as it waits."""
    iterations, last, cut = rounds(14), 13, 8

    def run(since, e, line, until):
        out = []
        for now in range(since, until):
            for k in line.missing(now, last):
                line.sample(k, 3, ((place, iterations[k][place]) for place in (2, 0, 1)))
            judged = line.take(now)
            out += [(s.group.prompt.id, s.rewards.tolist(), s.reward_parts["sameness"].tolist()) for s in judged.scored]
        return out, judged.state, line.pending()

    def begun():
        e = evaluator(judge, SAME)
        score = lambda k, groups: e.score_groups(groups, seed=k)  # noqa: E731
        return e, AsyncJudging(score, e.state, staleness=staleness, threaded=threaded)

    whole, state, _ = run(0, *begun(), last + 1)
    before, *beside = run(0, *begun(), cut)
    torch.save(beside, file := io.BytesIO())
    file.seek(0)
    kept, pending = torch.load(file, weights_only=True)
    e, line = begun()
    e.restore(kept)
    line.restore(pending, lambda k: [g.prompt for g in iterations[k]])
    after, ended, _ = run(cut, e, line, last + 1)
    assert before + after == whole
    assert ended == state
    assert (state["recent"]["start"] is not None) == isinstance(judge, Seeing)
    assert any(cost for _, _, costs in after for cost in costs)


def test_a_judge_with_vectors_is_asked_once_and_told_what_is_judged():
    judge, asked = Seeing("seeing", Length()), []
    see = judge.vectors
    judge.vectors = lambda items: asked.append([i.text for i in items]) or see(items)
    e = evaluator(judge, SAME)
    e.score_groups(rounds(1)[0])
    assert len(asked) == 1
    assert len(asked[0]) == 9
    assert "no tags" not in asked[0]


def test_head_to_head_what_is_shared_plays_no_part():
    e = evaluator(longer(), SAME)
    prompts = [prompt(id=str(i), subject=str(i)) for i in range(9)]
    rows = [[completion(reply("Free buses for all"))]] * 9
    assert {m.p_win for m in e.meetings(prompts, rows, rows)} == {0.5}
    assert e.state()["recent"]["answers"] == []


def meet(judge, ours, theirs, **options):
    prompts = [prompt(id=str(i), subject=str(i)) for i in range(len(ours))]
    rows = lambda texts: [[completion(t) for t in row] for row in texts]  # noqa: E731
    return evaluator(judge, **options).meetings(prompts, rows(ours), rows(theirs))


def test_sample_k_meets_sample_k_in_both_orders():
    judge = skill_judge(SKILL, hard=True)
    found = meet(judge, [[reply("good"), reply("weak")]], [[reply("fair"), reply("best")]])
    assert [m.p_win for m in found] == [1.0, 0.0]
    assert [(m.ours.text, m.theirs.text) for m in found] == [
        (reply("good"), reply("fair")),
        (reply("weak"), reply("best")),
    ]
    assert [[(v.match.first, v.match.second) for v in m.verdicts] for m in found] == [[(0, 1), (1, 0)]] * 2


def test_head_to_head_a_place_is_no_advantage():
    found = meet(prefers_first(), [[reply("a")]] * 4, [[reply("b")]] * 4)
    assert [m.p_win for m in found] == [0.5] * 4


def test_head_to_head_a_place_is_no_advantage_with_balanced_orders_either():
    """Asked once per pair, a judge that always takes the first must not always be shown our text first."""
    found = meet(prefers_first(), [[reply("a")]] * 40, [[reply("b")]] * 40, plan=Plan(orders="balanced"))
    rate = win_rate([outcome(m) for m in found])
    assert rate.low < 0.5 < rate.high


def test_head_to_head_forfeits_are_results_and_failures_are_none():
    judge = failing(on=lambda a, b: "hard" in a + b)
    ours = [[reply("aa")], ["no tags"], [reply("a")], ["no tags"], [reply("hard")]]
    theirs = [[reply("a")], [reply("a")], ["no tags"], ["none"], [reply("a")]]
    found = meet(judge, ours, theirs)
    assert [m.p_win for m in found] == [1.0, 0.0, 1.0, 0.5, None]
    assert [m.forfeit for m in found] == [False, True, True, True, False]
    assert [m.prompt.subject for m in found] == list("01234")
    rate = win_rate([outcome(m) for m in found])
    assert (rate.n_pairs, rate.n_forfeits, rate.n_unjudged) == (4, 3, 1)


def test_head_to_head_an_undelivered_text_has_no_outcome():
    (met,) = evaluator(skill_judge(SKILL)).meetings(
        [prompt()], [[completion(reply("good"))]], [[completion("", finish_reason=FAILED, n_tokens=0)]]
    )
    assert met.p_win is None
    assert not met.forfeit


def test_head_to_head_nothing_is_learned_and_no_canary_asked():
    judge = skill_judge(SKILL, bias=1.0)
    e = evaluator(judge, canary_rate=0.5)
    before = e.state()
    e.meetings([prompt()] * 8, [[completion(reply("good"))]] * 8, [[completion(reply("weak"))]] * 8)
    assert e.state() == before
    assert len(judge.seen) == 8


def test_head_to_head_only_the_tasks_own_objective_counts():
    judge = ScriptedJudge(lambda a, b: 1.0)
    meet(judge, [[reply("a")]], [[reply("b")]], weights=ONLY_ANSWER | {"reasoning": 0.5})
    assert {c.objective.name for c in judge.seen} == {"answer"}


def test_what_is_read_beside_a_worker_never_grows_while_it_is_read():
    """Another thread judges groups: objectives, complaints and canaries come in while the main thread reads them."""

    def broken(prompt, completion):
        raise ValueError("no such word")

    objectives = tuple(replace(ANSWER, name=f"objective {i}") for i in range(200))
    asked = replace(task(objectives=objectives), extra_rewards={f"extra {i}": broken for i in range(200)})
    weights = {"strict_format": 0.0, "soft_format": 0.0, "tag_count": 0.0}
    weights |= {o.name: 1.0 for o in objectives} | dict.fromkeys(asked.extra_rewards, 1.0)

    def read_beside():
        e = Evaluator(asked, skill_judge(SKILL), weights)
        worker = threading.Thread(target=e.score_groups, args=([group([reply("good"), reply("weak")])],))
        worker.start()
        while worker.is_alive():
            e.state()
            assert all(wrong for wrong in [f"{name}: {wrong}" for name, wrong in e.complaints.items()])
        return e

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        found = [read_beside() for _ in range(5)]
    finally:
        sys.setswitchinterval(interval)
    assert {(len(e.biases), len(e.complaints)) for e in found} == {(200, 200)}
