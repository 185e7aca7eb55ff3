"""Prompts and completions in every shape in which others hold them."""

from __future__ import annotations

import pytest

from softgrpo.errors import UserError
from softgrpo.records import FAILED, Completion
from softgrpo.tasks import load_task
from softgrpo.tasks.chats import PromptReader, as_completion, question_of
from softgrpo.tasks.task import of_criteria

SYSTEM = {"role": "system", "content": "Be brief."}
ASKED = {"role": "user", "content": "Why?"}
IN_PARTS = {"role": "user", "content": [{"type": "text", "text": "Why"}, {"type": "text", "text": "so?"}]}
TURNS = [ASKED, {"role": "assistant", "content": "Because."}, {"role": "user", "content": "Really?"}]
TRANSCRIPT = "user: Why?\n\nassistant: Because.\n\nuser: Really?"
FREE = PromptReader(of_criteria("c", None))
DEBATE = PromptReader(load_task("debate"))
OWN = load_task("debate").train[3]


@pytest.mark.parametrize(
    ("given", "question"),
    [
        ("Why?", "Why?"),
        ([ASKED], "Why?"),
        ((SYSTEM, ASKED), "Why?"),
        ([{"role": "developer", "content": "Be brief."}, ASKED], "Why?"),
        ([IN_PARTS], "Why\nso?"),
        (TURNS, TRANSCRIPT),
        ([SYSTEM, *TURNS], TRANSCRIPT),
        ([ASKED, ASKED], "user: Why?\n\nuser: Why?"),
        ([ASKED, {"role": "assistant", "content": None, "tool_calls": []}], "user: Why?\n\nassistant: "),
        ({"messages": [SYSTEM, ASKED]}, "Why?"),
        ({"prompt": [SYSTEM, ASKED]}, "Why?"),
        ({"prompt": "Why?"}, "Why?"),
        ({"messages": None, "prompt": "Why?"}, "Why?"),
    ],
    ids=str,
)
def test_what_a_judge_is_told_is_the_question(given, question):
    prompt = FREE.read(given)
    assert prompt.question == question
    assert prompt.subject == question
    assert prompt.id == FREE.read(given).id
    assert all(isinstance(m["content"], str) for m in prompt.messages)


def test_an_id_is_the_rows_own_or_follows_from_the_messages():
    plain = FREE.read([ASKED]).id
    assert plain == FREE.read({"messages": [ASKED]}).id == FREE.read("Why?").id
    assert plain != FREE.read([SYSTEM, ASKED]).id
    assert FREE.read({"prompt": "Why?", "id": 0}).id == "0"
    assert FREE.read({"prompt": "Why?", "prompt_id": "p7"}).id == "p7"
    assert FREE.read({"prompt": "Why?", "id": None}).id == plain


def test_other_columns_are_known_beside_the_prompt():
    prompt = FREE.read({"prompt": "Why?", "subject": "rain", "level": 3, "id": "x"})
    assert (prompt.subject, prompt.meta) == ("rain", {"level": 3})


def test_a_prompt_and_a_question_are_taken_as_they_are():
    prompt = load_task("debate").prompt(OWN)
    assert DEBATE.read(prompt) is prompt
    assert DEBATE.read(OWN) == prompt


@pytest.mark.parametrize("given", [OWN.text, [SYSTEM, {"role": "user", "content": OWN.text}], {"prompt": OWN.text}])
def test_a_question_of_the_tasks_own_has_its_subject_and_cue(given):
    prompt = DEBATE.read(given)
    assert (prompt.id, prompt.subject, prompt.cue, prompt.meta) == (OWN.id, OWN.subject, OWN.cue, OWN.meta)


def test_worked_examples_are_part_of_a_transcript():
    chat = load_task("debate").prompt(OWN, num_shots=1).messages
    prompt = DEBATE.read(chat)
    assert prompt.question.startswith("user: Debate Topic: Public transport")
    assert prompt.question.endswith(f"user: {OWN.text}")
    assert prompt.meta == {}


def test_the_tasks_fields_are_a_prompt_and_other_columns_none():
    prompt = DEBATE.read({"motion": "Ban cars", "side": "con", "source": "x", "id": "m1"})
    assert prompt.question == "Debate Topic: Ban cars\nPosition: CON"
    assert (prompt.id, prompt.subject, prompt.meta) == ("m1", "Ban cars", {"motion": "Ban cars", "side": "CON"})
    assert prompt.messages[0]["role"] == "system"
    recipe = PromptReader(load_task("recipes")).read({"ingredients": ["figs", "rye"]})
    assert recipe.meta == {"ingredients": ["figs", "rye"]}


def test_where_a_row_has_fields_and_a_chat_the_chat_was_what_was_asked():
    prompt = DEBATE.read({"motion": "Ban cars", "prompt": [SYSTEM, {"role": "user", "content": "Should we ban cars?"}]})
    assert prompt.question == "Should we ban cars?"
    assert prompt.meta == {"motion": "Ban cars"}


@pytest.mark.parametrize(
    ("reader", "given", "words"),
    [
        (FREE, 3, ["prompt is a int", "a list of messages"]),
        (FREE, None, ["prompt is a NoneType"]),
        (FREE, b"Why?", ["prompt is a bytes"]),
        (FREE, ["Why?"], ["message 1 is a str", '"role"']),
        (FREE, [], ["without a turn of the user"]),
        (FREE, [SYSTEM], ["without a turn of the user"]),
        (FREE, [{"role": "user"}], ["message 1 has 'role'", "a content"]),
        (FREE, [{"role": 3, "content": "x"}], ["give it a role"]),
        (FREE, [{"role": "user", "content": [{"type": "image", "url": "u"}]}], ["holds 'image'", "text alone"]),
        (FREE, [{"role": "user", "content": 3}], ["holds 'int'", "text alone"]),
        (FREE, {"motion": "Ban cars"}, ["a mapping of 'motion'", "`messages` or `prompt`"]),
        (FREE, {}, ["a mapping of 'nothing'"]),
        (FREE, {"prompt": 3}, ["'prompt' is a int"]),
        (DEBATE, {"topic": "Ban cars"}, ["a mapping of 'topic'", "a mapping of motion"]),
        (DEBATE, {"motion": "Ban cars"}, ["debate asks 2 questions", "add 'side', one of PRO, CON"]),
        (DEBATE, {"motion": "Ban cars", "side": "UP"}, ["side 'UP'"]),
    ],
    ids=str,
)
def test_what_is_no_prompt_is_one_line_that_says_what_to_give(reader, given, words):
    with pytest.raises(UserError) as error:
        reader.read(given)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("Yes.", "Yes."),
        ([{"role": "assistant", "content": "Yes."}], "Yes."),
        ([{"role": "assistant", "content": [{"type": "text", "text": "Yes."}]}], "Yes."),
        (
            [
                {"role": "assistant", "content": "One."},
                {"role": "tool", "content": "17"},
                {"role": "assistant", "content": "Two."},
            ],
            "One.\nTwo.",
        ),
        ([], ""),
        (Completion(text="Yes."), "Yes."),
    ],
    ids=str,
)
def test_completions(given, text):
    assert as_completion(given).text == text
    assert as_completion(given).finish_reason == "stop"


def test_what_was_not_delivered_says_so():
    assert as_completion(None).finish_reason == FAILED


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (3, "a completion is a int"),
        ({"role": "assistant", "content": "x"}, "a completion is a dict"),
        (["x"], "message 1 is a str"),
        ([ASKED], "without a turn of the assistant"),
    ],
)
def test_what_is_no_completion(given, word):
    with pytest.raises(UserError, match=word):
        as_completion(given)


def test_a_question_needs_a_user():
    with pytest.raises(UserError, match="turn of the user"):
        question_of([{"role": "assistant", "content": "Hello"}])
