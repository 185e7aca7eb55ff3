"""A file of the user's own pairs: what is asked, what is shown to a judge, and one clear line where it is none."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgrpo.auditing.gold_file import CRITERIA, from_file
from softgrpo.errors import UserError
from softgrpo.scorer import Scorer
from softgrpo.tasks import Tasks, load_task
from tests.fakes.builders import REASONING, reply
from tests.fakes.judges import skill_judge

TAGLINES = """
system: {text: You write taglines., reasoning: why, answer: a tagline}
question: "Product: {product} for {buyer}"
subject: "{product}"
criteria: Which tagline sells better?
prompts:
  train: [{product: kettle, buyer: cooks}]
  test: [{product: lamp, buyer: readers}]
"""
CHATS = """
format: none
criteria: Which reply helps more?
subject: "{about}"
prompts:
  train: [{prompt: Hi, about: greetings}]
  test: [{prompt: Bye, about: partings}]
"""
CODE = """
from softgrpo.records import Objective
from softgrpo.tasks import Question, Task

def task():
    ask = lambda name: Question(id=name, subject=name, text=f"Name: {name}")
    return Task(name="names", system="", train=(ask("a"),), test=(ask("b"),), format=None,
                objectives=(Objective(name="answer", criteria="Which name is better?", ties=True),))
"""


@pytest.fixture
def write(tmp_path):
    """A file of that name and content."""

    def written(name, content):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8", newline="")
        return path

    return written


def read(path, task=None, evaluator=None):
    return from_file(path, Tasks.load(str(task), str(evaluator or task)) if task else None)


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_a_debate_is_asked_by_the_task_whatever_the_order_of_columns(write):
    path = write(
        "d.csv",
        "\ufeffworse,note,side,kind,motion,better\r\n"
        "Trees cost money.,n, pro ,wrong_side,Cities should plant trees,Trees cool streets.\r\n"
        "Trees cool streets.,n,CON,,Cities should plant trees, Trees cost money. \r\n",
    )
    pro, con = read(path, "debate")
    assert pro.prompt.question == "Debate Topic: Cities should plant trees\nPosition: PRO"
    assert con.prompt.meta == {"motion": "Cities should plant trees", "side": "CON"}
    assert (pro.better, pro.worse, pro.kind) == ("Trees cool streets.", "Trees cost money.", "wrong_side")
    assert (con.better, con.kind) == ("Trees cost money.", "gold")
    assert pro.objective == load_task("debate").objectives[0]
    assert pro.unit == con.unit, "both sides of a motion are one subject"


def test_the_prompt_is_the_one_that_a_scorer_makes_of_the_same_fields(write):
    fields = {"motion": "Cities should plant trees", "side": "con"}
    judge = skill_judge({"a": 1.0, "b": 0.0})
    Scorer(task="debate", judge=judge).score(fields, [reply("a"), reply("b")])
    (pair,) = read(write("d.jsonl", lines({**fields, "better": "a", "worse": "b"})), "debate")
    assert pair.prompt == judge.seen[0].prompt


@pytest.mark.parametrize("task", ["debate", "comedy", "recipes"])
def test_each_packaged_task_takes_its_own_rows(write, task):
    question = load_task(task).train[0]
    (pair,) = read(write("p.jsonl", lines({**question.meta, "better": "a", "worse": None, "id": 7})), task)
    assert (pair.prompt.question, pair.prompt.subject) == (question.text, question.subject)
    assert (pair.prompt.cue, pair.prompt.meta) == (question.cue, question.meta)
    assert (pair.better, pair.worse) == ("a", "")


def test_a_basket_is_the_same_as_a_list_and_as_a_text(write):
    row = {"better": "a", "worse": "b"}
    baskets = [["figs", "rye", "ham", "dill"], "figs, rye,ham , dill"]
    listed, told = read(write("r.jsonl", lines(*({**row, "ingredients": b} for b in baskets))), "recipes")
    assert listed.prompt == told.prompt
    assert listed.prompt.meta["ingredients"] == baskets[0]


def test_a_task_of_yaml_takes_the_fields_of_its_rows(write):
    task = write("taglines.yaml", TAGLINES)
    content = "better,worse,buyer,product,kind\nIt boils.,Buy.,sailors,teapot,dull\n"
    (pair,) = read(write("p.csv", content), task)
    assert (pair.prompt.question, pair.prompt.subject) == ("Product: teapot for sailors", "teapot")
    assert (pair.objective.criteria, pair.kind) == ("Which tagline sells better?", "dull")


def test_a_task_of_chats_takes_chats_and_texts(write):
    task = write("chats.yaml", CHATS)
    turns = [("user", "Hi"), ("assistant", "Yes?"), ("user", "Why?")]
    chat = [{"role": role, "content": content} for role, content in turns]
    texts = {"better": "a", "worse": "b", "about": "rain"}
    many, one = read(write("c.jsonl", lines({**texts, "messages": chat}, {**texts, "prompt": "Why?"})), task)
    assert many.prompt.question == "user: Hi\n\nassistant: Yes?\n\nuser: Why?"
    assert one.prompt.question == "Why?"
    assert (many.unit, one.unit) == ("rain", "rain"), "the page says what the subject is"


def test_a_task_of_code_that_says_nothing_of_fields_takes_prompts_and_its_criteria_judge(write):
    (pair,) = read(write("p.csv", "prompt,better,worse\nName: c,a,b\n"), write("names.py", CODE))
    assert pair.prompt.question == "Name: c"
    assert (pair.objective.criteria, pair.objective.ties) == ("Which name is better?", True)


def test_an_evaluator_judges_what_another_task_asks(write):
    path = write("p.jsonl", lines({"subject": "hats", "better": reply("a"), "worse": "b"}))
    (pair,) = read(path, "comedy", "debate")
    assert pair.prompt.question == "Roast Subject: hats"
    assert pair.objective == load_task("debate").objectives[0]
    assert pair.better == "a"
    (pair,) = read(path, "comedy", write("names.py", CODE))
    assert pair.better == reply("a"), "without a form the whole reply is judged"


def test_of_a_whole_reply_the_judged_section_is_shown_and_a_plain_text_as_it_stands(write):
    row = {"subject": "hats", "better": reply("Yes."), "worse": " <b>No</b> <cite>"}
    (pair,) = read(write("p.jsonl", lines(row)), "comedy")
    assert (pair.better, pair.worse) == ("Yes.", "<b>No</b> <cite>")
    comedy = load_task("comedy")
    of_reasoning = Tasks(dataset=comedy, scoring=replace(comedy, objectives=(REASONING,)))
    (pair,) = from_file(write("p.jsonl", lines({**row, "better": reply("Yes.", "Since.")})), of_reasoning)
    assert pair.better == "Since."


def test_free_prompts_have_criteria_of_their_own_and_keep_tags(write):
    content = "prompt,better,worse,criteria,kind\nWhy?,<answer>,b,The shorter.,short\nHow?,a,,,\n"
    why, how = read(write("p.csv", content))
    assert (why.objective.criteria, how.objective.criteria) == ("The shorter.", CRITERIA)
    assert (why.better, why.kind, how.worse, how.kind) == ("<answer>", "short", "", "gold")


@pytest.mark.parametrize(
    ("task", "name", "content", "words"),
    [
        (None, "g.csv", "prompt,better\nWhy?,a\n", ["pair 1", "no 'worse'", "prompt, better and worse"]),
        (None, "g.csv", "prompt,better,worse\nWhy?,a,b\nWhy?,,b\n", ["pair 2", "an empty 'better'"]),
        (None, "g.csv", "motion,side,better,worse\nX,PRO,a,b\n", ["no 'prompt'", "--dataset_name"]),
        (None, "g.csv", "", ["is empty"]),
        (None, "g.csv", "prompt,better,worse\n", ["holds no pairs"]),
        (None, "g.txt", "Why?\n", ["pair 1", ".csv or .jsonl"]),
        (None, "g.csv", "prompt,better,worse\nWhy?,a,a\n", ["the same text 'a'"]),
        (None, "g.jsonl", lines({"prompt": "Why?", "better": ["a"], "worse": "b"}), ["better is ['a']", "a text"]),
        ("debate", "g.csv", "side,better,worse\nPRO,a,b\n", ["no 'motion'", "motion, better and worse"]),
        ("debate", "g.csv", "motion,better,worse\nX,a,b\n", ["add 'side'", "PRO, CON"]),
        ("debate", "g.csv", "motion,side,better,worse\nX,PRO,a,b\nX,for,a,b\n", ["pair 2", "'for'", "PRO, CON"]),
        ("debate", "g.csv", "motion,side,better,worse\nX,PRO,,b\n", ["an empty 'better'"]),
        ("debate", "g.csv", "motion,side,better,worse\n", ["holds no pairs"]),
        ("debate", "g.csv", "prompt,better,worse\nX,a,b\n", ["no 'motion'", "leave --dataset_name out"]),
        ("debate", "g.csv", "prompt,motion,side,better,worse\nW,X,PRO,a,b\n", ["'prompt' beside the fields of debate"]),
        ("debate", "g.csv", "criteria,motion,side,better,worse\nW,X,PRO,a,b\n", ["'criteria' beside", "drop that"]),
        ("debate", "g.csv", "motion;side;better;worse\nX;PRO;a;b\n", ["parted by ';'", "commas"]),
        ("debate", "g.csv", "motion,side,better,worse\nX,PRO,<answer></answer>,b\n", ["better has tags", "<answer>"]),
        ("recipes", "g.jsonl", lines({"ingredients": [], "better": "a", "worse": "b"}), ["an empty 'ingredients'"]),
    ],
)
def test_what_is_no_such_file_is_one_clear_line(write, task, name, content, words):
    with pytest.raises(UserError) as refused:
        read(write(name, content), task)
    said = str(refused.value)
    assert said.startswith("--gold ")
    assert "\n" not in said
    for word in words:
        assert word in said


def test_a_task_whose_field_is_called_like_a_column_of_the_pairs_is_refused(write):
    task = write("t.yaml", TAGLINES.replace("product", "better"))
    with pytest.raises(UserError, match="has a field 'better'"):
        read(write("p.csv", "better,worse,buyer\na,b,c\n"), task)


@given(st.text(max_size=9) | st.sampled_from(["pro", " Con\n", "PRO"]), st.text(max_size=30), st.text(max_size=30))
def test_whatever_stands_in_a_file_is_pairs_or_one_line(tmp_path_factory, side, better, kind):
    path = tmp_path_factory.mktemp("gold") / "g.jsonl"
    path.write_text(lines({"motion": "X", "side": side, "better": better, "worse": "w", "kind": kind}))
    sides = {"PRO", "CON"} & {side.strip().upper()}
    if sides and better.strip() and better.strip() != "w":
        (pair,) = read(path, "debate")
        assert pair.prompt.meta["side"] in sides
        assert pair.better == better.strip()
        assert pair.kind == (" ".join(kind.split()) or "gold")
        return
    with pytest.raises(UserError) as refused:
        read(path, "debate")
    assert len(str(refused.value).splitlines()) == 1
