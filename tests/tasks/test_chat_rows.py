"""Tasks whose prompts are chats: rows with `messages` or `prompt` instead of a `question`."""

from __future__ import annotations

import copy
import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from softgrpo.errors import UserError
from softgrpo.tasks import Question, load_task, own_questions, questions_in
from softgrpo.tasks.chats import PromptReader, chat_question
from softgrpo.tasks.from_yaml import parse, read_yaml
from softgrpo.tasks.task import faults, fingerprint

HI = {"role": "user", "content": "Hi"}
YES = {"role": "assistant", "content": "Yes?"}
WHY = {"role": "user", "content": "Why?"}
BRIEF = {"role": "system", "content": "Be brief."}
TRANSCRIPT = "user: Hi\n\nassistant: Yes?\n\nuser: Why?"
PAGE = {
    "format": "none",
    "system": "You help.",
    "criteria": "Which helps more?",
    "prompts": {"train": [{"messages": [HI, YES, WHY], "topic": "rain"}, {"prompt": "How?"}], "test": ["When?"]},
}
FORM = {"text": "You help.", "reasoning": "why", "answer": "the help"}


def parsed(**changes):
    page = {name: value for name, value in {**copy.deepcopy(PAGE), **changes}.items() if value is not None}
    return parse(read_yaml(yaml.safe_dump(page), "t.yaml"), "t.yaml", name="t", rows=None, function=None)


def of(*rows, test=("When?",), **changes):
    return parsed(prompts={"train": list(rows), "test": list(test)}, **changes)


def said(task, question, **options):
    return [(m["role"], m["content"]) for m in task.prompt(question, **options).messages]


def test_what_a_page_becomes():
    task = parsed()
    several, one = task.train
    assert (several.text, several.subject, several.meta) == (TRANSCRIPT, TRANSCRIPT, {"topic": "rain"})
    assert said(task, several) == [("system", "You help."), ("user", "Hi"), ("assistant", "Yes?"), ("user", "Why?")]
    assert task.prompt(several).question == TRANSCRIPT, "what a judge is told"
    assert (one.text, one.messages, task.test[0].text) == ("How?", (), "When?")
    assert said(task, one) == [("system", "You help."), ("user", "How?")]
    assert (task.fields, task.chats, faults(task)) == (("prompt",), True, [])


def test_a_subject_and_a_cue_of_the_rows_columns():
    row = {"prompt": [HI], "topic": "rain", "subject": "weather", "level": 3}
    of_column, of_template = of(row).train[0], of(row, test=[{"prompt": "When?", "topic": "sun"}], subject="on {topic}")
    assert (of_column.subject, of_column.meta) == ("weather", {"topic": "rain", "level": "3"})
    assert of_template.train[0].subject == "on rain"
    task = of(row, test=[{"prompt": "When?", "topic": "sun"}], cue="About {topic}:")
    assert task.train[0].cue == "About rain:"
    assert task.fields == ("prompt", "topic")


def test_a_chats_own_system_turn_wins_over_the_tasks():
    task = of({"messages": [BRIEF, WHY]}, {"messages": [{"role": "developer", "content": "Be long."}, HI]})
    assert [said(task, q) for q in task.train] == [
        [("system", "Be brief."), ("user", "Why?")],
        [("system", "Be long."), ("user", "Hi")],
    ]
    assert [q.text for q in task.train] == ["Why?", "Hi"]


def test_a_form_is_asked_for_whatever_the_chats_own_system_turn():
    task = of({"messages": [BRIEF, WHY]}, "How?", format=None, system=FORM)
    with_own, without = (said(task, q) for q in task.train)
    assert without[0] == ("system", task.system)
    assert with_own[0] == ("system", f"Be brief.\n\n{task.system}")
    assert "<answer>" in task.system
    assert [role for role, _ in with_own] == ["system", "user"]


def test_a_system_turn_that_says_nothing_is_none():
    task = of({"messages": [{**BRIEF, "content": " "}, WHY]})
    assert said(task, task.train[0]) == [("system", "You help."), ("user", "Why?")]
    with pytest.raises(UserError, match="message 3 is empty"):
        of({"messages": [{**BRIEF, "content": ""}, HI, {**YES, "content": " "}, WHY]})


def test_without_a_system_text_there_is_no_system_turn():
    task = of({"messages": [BRIEF, WHY]}, "How?", system=None)
    assert [said(task, q) for q in task.train] == [[("system", "Be brief."), ("user", "Why?")], [("user", "How?")]]


def test_worked_examples_stand_before_the_chat():
    task = of({"messages": [BRIEF, HI, YES, WHY]}, examples=[{"prompt": "What?", "answer": "That."}])
    assert said(task, task.train[0], num_shots=1) == [
        ("system", "Be brief."),
        ("user", "What?"),
        ("assistant", "That."),
        ("user", "Hi"),
        ("assistant", "Yes?"),
        ("user", "Why?"),
    ]


def test_the_same_words_under_another_system_turn_are_another_prompt():
    task = of({"messages": [BRIEF, WHY]}, {"messages": [WHY]}, {"messages": [{**BRIEF, "content": "Rhyme."}, WHY]})
    assert len({q.id for q in task.train}) == 3
    assert {q.text for q in task.train} == {"Why?"}
    with pytest.raises(UserError, match="number 2: 'Why\\?' repeats number 1"):
        of({"messages": [BRIEF, WHY]}, {"prompt": [BRIEF, WHY], "topic": "x"})


def test_ids_are_the_rows_own_or_those_of_any_reader():
    task = of({"messages": [HI, YES, WHY]}, {"prompt": "How?", "id": "h"}, {"prompt": "What?", "prompt_id": 7})
    assert [q.id for q in task.train] == [PromptReader(task).read([HI, YES, WHY]).id, "h", "7"]


def test_the_fingerprint_changes_with_every_turn():
    rows = ([HI, YES, WHY], [BRIEF, HI, YES, WHY], [HI, {**YES, "content": "No?"}, WHY])
    tasks = [of({"messages": row, "id": "x", "subject": "s"}) for row in rows]
    assert len({fingerprint(task) for task in tasks}) == 3
    assert fingerprint(tasks[0]) == fingerprint(of({"prompt": rows[0], "id": "x", "subject": "s"}))


def test_a_reader_knows_the_tasks_own_chats_by_what_is_asked():
    task = of({"messages": [HI, YES, WHY], "topic": "rain"}, cue="It says:")
    read = PromptReader(task).read
    for given_ in ([HI, YES, WHY], {"prompt": [HI, YES, WHY]}, task.prompt(task.train[0]).messages):
        assert (read(given_).cue, read(given_).meta) == ("It says:", {"topic": "rain"})
    assert read({"messages": [WHY], "topic": "sun"}).meta == {"topic": "sun"}
    assert read("How?").question == "How?"
    twice = of({"messages": [WHY], "topic": "rain"}, {"messages": [BRIEF, WHY], "topic": "sun"})
    assert PromptReader(twice).read("Why?").meta == {}, "which of the two cannot be told"
    with pytest.raises(UserError, match="give a text, a list of messages, or a mapping with `messages` or `prompt`"):
        read({"topic": "sun"})


@pytest.mark.parametrize(("column", "asked"), [("messages", "How?"), ("prompt", [{"role": "user", "content": "How?"}])])
def test_chats_of_a_file(tmp_path, column, asked):
    rows = [{column: [HI, YES, WHY], "split": "train"}, {"prompt": asked, "split": "test"}]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "t.yaml").write_text(yaml.safe_dump({**PAGE, "prompts": "p.jsonl"}))
    task = load_task(str(tmp_path / "t.yaml"))
    assert [q.text for q in (*task.train, *task.test)] == [TRANSCRIPT, "How?"]


def test_chats_of_a_data_set(tmp_path, monkeypatch):
    import sys
    from types import SimpleNamespace

    splits = {"train": [{"messages": [HI, YES, WHY]}], "test": [{"messages": [WHY]}]}
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=lambda name, split: splits))
    (tmp_path / "t.yaml").write_text(yaml.safe_dump({**PAGE, "prompts": "me/chats"}))
    task = load_task(str(tmp_path / "t.yaml"))
    assert (task.train[0].text, task.test[0].text) == (TRANSCRIPT, "Why?")


def test_prompts_of_ones_own(tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text(yaml.safe_dump(PAGE))
    (asked,) = own_questions(str(path), "What now; what=next?")
    assert (asked.text, asked.messages) == ("What now; what=next?", ())
    rows = [{"messages": [HI, YES, WHY]}, {"messages": [BRIEF, WHY]}, {"prompt": "Why?"}, "How?"]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    asked = questions_in(load_task(str(path)), tmp_path / "p.jsonl")
    assert [q.text for q in asked] == [TRANSCRIPT, "Why?", "Why?", "How?"]
    assert len({q.id for q in asked}) == 4
    assert all(q.id.startswith("own/") for q in asked)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"messages": [HI, YES]}], ["prompt 1: the chat: 'messages': the last turn is of the assistant"]),
        ([{"prompt": "a"}, {"topic": "x"}], ["prompt 2", "neither messages nor a prompt (it has 'topic')"]),
        ([{"prompt": "a"}, {"prompt": "a"}], ["prompt 2", "was there before"]),
        ([{"messages": 3}], ["'messages' is a int"]),
    ],
)
def test_prompts_of_ones_own_that_cannot_be_asked(tmp_path, rows, words):
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UserError) as error:
        questions_in(parsed(), tmp_path / "p.jsonl")
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"messages": [HI, YES]}, ["'messages': the last turn is of the assistant", "ends with what the user asks"]),
        ({"messages": [HI, BRIEF]}, ["the last turn is of the system"]),
        ({"messages": []}, ["the last turn is missing"]),
        ({"messages": [BRIEF]}, ["the last turn is of the system"]),
        ({"messages": "Why?"}, ["messages 'Why?' is one text", "call it prompt"]),
        ({"messages": ["Why?"]}, ["'messages': message 1 is a str"]),
        ({"messages": [{"role": "user"}]}, ["message 1 has 'role'", "a content"]),
        ({"messages": [HI, {"role": "tool", "content": "17"}, WHY]}, ["message 2 is of the role 'tool'", "assistant"]),
        ({"messages": [HI, {**YES, "content": " "}, WHY]}, ["message 2 is empty"]),
        ({"prompt": " "}, ["'prompt': message 1 is empty"]),
        ({"prompt": [{"role": "user", "content": [{"type": "image_url"}]}]}, ["holds 'image_url'", "text alone"]),
        ({"prompt": {"role": "user", "content": "Why?"}}, ["'prompt' is a dict"]),
        ({"topic": "rain"}, ["neither messages nor a prompt (it has 'topic')", "or the task a question"]),
        ({}, ["it has 'nothing'"]),
        ([HI], ["neither a text nor fields"]),
    ],
    ids=str,
)
def test_whatever_is_wrong_with_a_row_is_one_line_with_its_place(row, words):
    with pytest.raises(UserError) as error:
        of("What?", row)
    line = str(error.value)
    assert line.startswith("t.yaml: prompts: train: number 2: ")
    assert "\n" not in line
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": None}, ["system", "<reasoning>", "forfeit"]),
        ({"format": None, "system": None}, ["'system' is missing; the form of a reply is asked for there"]),
        ({"system": None, "question": "{prompt}"}, ["'system' is missing; see"]),
        ({"cue": "About {topic}:"}, ["train: number 2: has no 'topic'", "About {topic}:"]),
        ({"subject": "{messages}"}, ["number 1: has no 'messages'"]),
        ({"examples": [{"messages": [HI, YES, WHY], "answer": "a"}]}, ["examples: number 1", "several turns"]),
        ({"examples": [{"prompt": "When?", "answer": "a"}]}, ["examples: number 1", "also tested on"]),
        ({"examples": [{"answer": "a"}]}, ["examples: number 1", "neither messages nor a prompt"]),
        ({"prompts": {"train": [{"messages": [BRIEF, WHY]}], "test": ["Why?"]}}, ["'Why?' is in train and test"]),
    ],
    ids=str,
)
def test_whatever_is_wrong_with_the_page_is_one_line(changes, words):
    with pytest.raises(UserError) as error:
        parsed(**changes)
    assert str(error.value).startswith("t.yaml: ")
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_a_question_keeps_its_fields_whatever_they_are_called():
    rows = {"train": [{"prompt": "rain", "messages": [HI]}], "test": [{"prompt": "sun"}]}
    task = parsed(question="On {prompt}", prompts=rows)
    assert (task.train[0].text, task.train[0].messages, task.chats) == ("On rain", (), False)


# --- whatever is written, a traceback is never the answer

contents = st.one_of(
    st.text(max_size=8), st.none(), st.just([{"type": "text", "text": "Why?"}]), st.integers(), st.just("half \ud800")
)
roles = st.sampled_from(["system", "developer", "user", "assistant", "tool", "", 3])
turns = st.fixed_dictionaries({}, optional={"role": roles, "content": contents})
sound = st.lists(st.sampled_from([HI, YES, BRIEF]), max_size=3).map(lambda before: [*before, WHY])
chats = st.one_of(sound, st.lists(turns, max_size=4), st.text(max_size=8), st.none(), st.integers(), turns)
rows = st.dictionaries(
    st.sampled_from(["messages", "prompt", "id", "subject", "split", "topic"]), st.one_of(chats, st.text()), max_size=4
)


@settings(max_examples=200, deadline=None)
@given(st.one_of(rows, st.text(max_size=8)))
def test_fuzzed_rows(row):
    row = json.loads(json.dumps(row))
    for task in (parsed(), parsed(format=None, system=FORM)):
        try:
            question = chat_question(row, "row 1")
            (own,) = task.own(row if isinstance(row, dict) else {"prompt": row})
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017
            assert len(str(error)) < 600  # noqa: PT017
            continue
        assert own.messages == question.messages
        check_prompt(task, question)
        kept = question.messages or ({"role": "user", "content": question.text},)
        assert chat_question({"messages": list(kept)}, "again").text == question.text


def check_prompt(task, question: Question):
    """Every turn is a text that can be written, the last one is the user's, and what a task needs said is said."""
    messages = task.prompt(question).messages
    assert messages[-1]["role"] == "user"
    assert [m["role"] for m in messages].count("system") >= 1
    assert all(m["content"].strip() and m["content"].encode() for m in messages)
    if task.format:
        assert "<answer>" in messages[0]["content"]
    assert question.subject
    assert question.id
