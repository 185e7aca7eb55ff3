"""The tasks' data: enough of it, no duplicates, a split that is fixed, examples in the form that is asked for."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from softgrpo.config import TrainConfig
from softgrpo.errors import UserError
from softgrpo.rewards.format import section, strict_format
from softgrpo.tasks import TASKS, load_task, own_questions
from softgrpo.tasks.task import Question, faults, filled, packaged_lines
from tests.fakes.builders import task as toy_task

tasks = pytest.mark.parametrize("name", sorted(TASKS))


def same_letters(text):
    return " ".join(re.findall(r"[a-z0-9]+", text.casefold()))


def test_at_least_two_hundred_motions():
    debate = load_task("debate")
    assert len({q.subject for q in (*debate.train, *debate.test)}) >= 200


@tasks
def test_no_duplicates_and_no_subject_on_both_sides_of_the_split(name):
    task = load_task(name)
    assert faults(task) == []
    texts = [same_letters(q.text) for q in (*task.train, *task.test)]
    assert [t for t, n in Counter(texts).items() if n > 1] == []
    train, test = ({same_letters(q.subject) for q in part} for part in (task.train, task.test))
    assert not train & test


@tasks
def test_no_two_subjects_of_the_same_words(name):
    task = load_task(name)
    words = defaultdict(set)
    for q in (*task.train, *task.test):
        words[frozenset(same_letters(q.subject).split())].add(q.subject)
    assert [subjects for subjects in words.values() if len(subjects) > 1] == []


def test_both_sides_of_every_motion_are_argued_and_lie_together():
    debate = load_task("debate")
    for part in (debate.train, debate.test):
        sides = defaultdict(set)
        for q in part:
            sides[q.subject].add(q.meta["side"])
        assert all(s == {"PRO", "CON"} for s in sides.values())
        assert [q.subject for q in part[::2]] == [q.subject for q in part[1::2]]


def test_the_debates_split_is_that_of_the_data():
    by_split = defaultdict(list)
    for line in packaged_lines("debate.jsonl"):
        by_split[line["split"]].append(line["motion"])
    debate = load_task("debate")
    assert set(by_split) == {"train", "test"}
    assert [q.subject for q in debate.test[::2]] == by_split["test"]
    assert [q.subject for q in debate.train[::2]] == by_split["train"]


def test_the_held_out_prompts_suffice_for_the_default_evaluation():
    config = TrainConfig()
    assert config.eval_prompts <= len(load_task(config.task).test)


def test_a_debate_prompt_is_the_seeds():
    question = next(q for q in load_task("debate").test if q.meta["side"] == "CON")
    assert question.text == f"Debate Topic: {question.subject}\nPosition: CON"
    assert question.cue == "This argument speaks against the motion:"


@tasks
def test_a_prompt_is_system_text_examples_and_the_question(name):
    task = load_task(name)
    question = task.test[0]
    bare, shown = task.prompt(question), task.prompt(question, num_shots=1)
    assert [m["role"] for m in bare.messages] == ["system", "user"]
    assert [m["role"] for m in shown.messages] == ["system", "user", "assistant", "user"]
    assert bare.messages[-1]["content"] == shown.messages[-1]["content"] == question.text == bare.question
    assert all(tag in bare.messages[0]["content"] for tag in ("<reasoning>", "</reasoning>", "<answer>", "</answer>"))
    assert (bare.id, bare.subject, bare.cue, bare.meta) == (question.id, question.subject, question.cue, question.meta)
    assert task.prompt(question) == bare


@tasks
def test_the_worked_examples_are_in_form_and_about_other_subjects(name):
    task = load_task(name)
    assert len(task.examples) >= 2, "--num_shots may ask for two"
    asked = {same_letters(q.text) for q in (*task.train, *task.test)}
    subjects = {same_letters(q.subject) for q in (*task.train, *task.test)}
    for example in task.examples:
        assert strict_format(example.reply) == 1
        assert same_letters(example.question) not in asked
        assert not any(subject in same_letters(example.question) for subject in subjects)


@tasks
def test_the_first_objective_judges_the_answer(name):
    task = load_task(name)
    assert task.objectives[0].section == "answer"
    assert [o.name for o in task.objectives] == ["answer", "reasoning"]
    assert {o.name for o in task.objectives} <= set(TrainConfig().weights(judge_is_local=True))
    assert all(o.criteria for o in task.objectives)


@tasks
def test_questions_on_a_topic_of_ones_own(name):
    questions = own_questions(name, "carrots, leeks, rice, eggs")
    assert questions
    assert len({q.id for q in questions}) == len(questions)
    prompt = load_task(name).prompt(questions[0])
    assert prompt.messages[-1]["content"] == questions[0].text


def test_an_unknown_task_is_named_with_the_choices():
    with pytest.raises(UserError, match=r"unknown dataset 'poems'; choose from .*debate"):
        load_task("poems")


def test_filled_is_a_reply_in_form():
    reply = filled("two\nlines", "an answer")
    assert strict_format(reply) == 1
    assert section(reply, "reasoning") == "two\nlines"
    assert section(reply, "answer") == "an answer"


def test_check_finds_repeated_ids_and_leaking_subjects():
    task = toy_task(n_subjects=1)
    leaking = Question(id="new", subject="Subject, 0!", text="")
    assert faults(replace(task, train=(leaking,))) == ["subject 'subject0' is in train and test"]
    assert faults(replace(task, train=task.train * 2)) == ["question 't/pro' occurs 2 times"]
    assert faults(task) == []
