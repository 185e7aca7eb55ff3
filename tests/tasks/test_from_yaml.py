"""A task from YAML: what each field becomes, and one line for whatever is wrong."""

from __future__ import annotations

import copy
import json

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from softgrpo.errors import UserError
from softgrpo.rewards.format import section, strict_format
from softgrpo.tasks import load_task, own_questions, questions_in
from softgrpo.tasks.from_yaml import FIELDS, parse, read_yaml
from softgrpo.tasks.task import faults, fingerprint

PAGE = {
    "name": "taglines",
    "system": {"text": "You write.", "reasoning": "why", "answer": "one tagline"},
    "question": "Product: {product}",
    "cue": "This sells:",
    "prompts": {"train": ["umbrella", "socks", "bell"], "test": ["kettle", "lamp"]},
    "criteria": "Which sells more?",
    "reasoning_criteria": "Which knows the buyer?",
    "examples": [{"product": "pencil", "reasoning": "Waste.", "answer": "Grow."}],
}
WITHOUT_SPLIT = {"prompts": [f"thing {i}" for i in range(10)]}


def parsed(page=PAGE, **changes):
    """The task of a page with some fields changed; None takes one away."""
    page = {name: value for name, value in {**copy.deepcopy(page), **changes}.items() if value is not None}
    document = read_yaml(yaml.safe_dump(page), "t.yaml")
    return parse(document, "t.yaml", name="t", rows=no_rows, function=lambda name, what: lambda p, c: 1.0)


def no_rows(source, what):
    raise UserError(f"{what}: there is no such file")


def subjects(questions):
    return [q.subject for q in questions]


def test_what_a_page_becomes():
    task = parsed()
    assert task.name == "taglines"
    assert subjects(task.train) == ["umbrella", "socks", "bell"]
    assert subjects(task.test) == ["kettle", "lamp"]
    question = task.test[0]
    assert (question.text, question.cue, question.meta) == ("Product: kettle", "This sells:", {"product": "kettle"})
    assert [(o.name, o.section) for o in task.objectives] == [("answer", "answer"), ("reasoning", "reasoning")]
    assert task.system.startswith("You write. Reply in exactly this form:\n<reasoning>\nwhy\n</reasoning>")
    assert task.examples[0].question == "Product: pencil"
    assert strict_format(task.examples[0].reply) == 1
    assert section(task.examples[0].reply, "answer") == "Grow."
    assert faults(task) == []


def test_what_may_be_left_out():
    task = parsed(name=None, cue=None, reasoning_criteria=None, examples=None)
    assert (task.name, len(task.objectives), task.examples, task.test[0].cue) == ("t", 1, (), "")


def test_several_fields_a_subject_and_values_as_they_are_written():
    page = """
question: "{side}: {motion} {{!}}"
subject: "{motion}"
cue: "For {side}:"
system: {reasoning: r, answer: a}
criteria: c
prompts:
  train: [{motion: m, side: yes}, {motion: m, side: no}]
  test: [{motion: 1.0, side: on}]
"""
    task = parse(read_yaml(page, "t.yaml"), "t.yaml", name="t", rows=no_rows, function=None)
    assert [q.text for q in (*task.train, *task.test)] == ["yes: m {!}", "no: m {!}", "on: 1.0 {!}"]
    assert subjects(task.train) == ["m", "m"]
    assert task.test[0].cue == "For on:"
    assert task.fields == ("side", "motion")


def test_a_split_in_each_prompt_keeps_subjects_side_by_side():
    rows = [
        {"s": "a", "k": 1, "split": "test"},
        {"s": "b", "k": 1, "split": "train"},
        {"s": "c", "k": 1, "split": "test"},
        {"s": "a", "k": 2, "split": "test"},
    ]
    task = parsed(question="{s} {k}", subject="{s}", prompts=rows, examples=None)
    assert [q.text for q in task.test] == ["a 1", "a 2", "c 1"]
    assert subjects(task.train) == ["b"]


def test_a_share_draws_the_same_subjects_whatever_their_order():
    one = parsed(**WITHOUT_SPLIT, test_share=0.3)
    other = parsed(prompts=WITHOUT_SPLIT["prompts"][::-1], test_share=0.3)
    assert len(one.test) == 3
    assert len(one.train) == 7
    assert set(subjects(one.test)) == set(subjects(other.test))
    assert {q.id for q in one.test} == {q.id for q in other.test}
    assert len(parsed(prompts=["a", "b"], test_share=0.01).test) == 1
    assert len(parsed(prompts=["a", "b"], test_share=0.99).test) == 1


@pytest.mark.parametrize(("said", "ties"), [(None, False), ("false", False), ("yes", True), (True, True)])
def test_ties(said, ties):
    assert {o.ties for o in parsed(ties=said).objectives} == {ties}


NO_FORM = {"format": "none", "system": "You write.", "reasoning_criteria": None, "examples": None}


def test_without_a_form_nothing_is_added_and_examples_are_plain():
    task = parsed(**NO_FORM | {"examples": [{"product": "pencil", "answer": "Write <answer>. Grow."}]})
    assert task.format is None
    assert task.system == "You write."
    assert task.examples[0].reply == "Write <answer>. Grow."
    assert [(o.name, o.section) for o in task.objectives] == [("answer", "answer")]
    assert parsed(**NO_FORM | {"system": {"text": "You write."}}).system == "You write."
    assert faults(task) == []


def test_the_form_is_part_of_the_fingerprint_only_where_there_is_none():
    from dataclasses import replace

    task = parsed(reasoning_criteria=None)
    assert fingerprint(parsed(reasoning_criteria=None, format="reasoning_answer")) == fingerprint(task)
    assert fingerprint(replace(task, format=None)) != fingerprint(task)


def test_objectives_and_rewards_bring_their_weights():
    task = parsed(
        objectives=[{"name": "wit", "criteria": "Which is wittier?", "weight": 0.25}],
        extra_rewards={"brevity": "r.py:brevity", "rhyme": {"function": "r.py:rhyme", "weight": -2}},
    )
    assert task.weights == {"answer": 1.0, "reasoning": 1.0, "wit": 0.25, "brevity": 1.0, "rhyme": -2.0}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.jsonl", '{"product": "kettle", "split": "test"}\n\n{"product": "socks", "split": "train"}'),
        ("p.csv", "product,split\nkettle,test\n\nsocks,train\n"),
        ("p.csv", "\ufeffsplit,product\r\ntest,kettle\r\ntrain,socks\r\n"),
    ],
)
def test_prompts_from_a_file_beside_the_page(tmp_path, monkeypatch, name, content):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / name).write_text(content, encoding="utf-8", newline="")
    page = {**PAGE, "prompts": name}
    (tmp_path / "deep" / "task.yaml").write_text(yaml.safe_dump(page))
    monkeypatch.chdir(tmp_path)
    task = load_task("deep/task.yaml")
    assert (subjects(task.train), subjects(task.test)) == (["socks"], ["kettle"])


def test_prompts_of_a_data_set_of_the_hub(tmp_path, monkeypatch):
    import sys
    from types import SimpleNamespace

    splits = {"train": [{"product": "socks"}], "test": [{"product": "kettle"}], "more": [{"product": "lamp"}]}
    load = lambda name, split: splits[split] if split else splits  # noqa: E731
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load))
    path = tmp_path / "task.yaml"
    path.write_text(yaml.safe_dump({**PAGE, "prompts": "me/products"}))
    assert subjects(load_task(str(path)).test) == ["kettle"]
    path.write_text(yaml.safe_dump({**PAGE, "prompts": {"train": "me/products:more", "test": "me/products:test"}}))
    assert subjects(load_task(str(path)).train) == ["lamp"]
    monkeypatch.setitem(sys.modules, "datasets", None)
    path.write_text(yaml.safe_dump({**PAGE, "prompts": "me/others"}))
    with pytest.raises(UserError, match="pip install datasets"):
        load_task(str(path))


def test_the_fingerprint_changes_with_what_is_asked_and_judged():
    prints = {
        fingerprint(parsed(**changes))
        for changes in (
            {},
            {"criteria": "Other."},
            {"cue": "Other:"},
            {"examples": None},
            {"system": {"reasoning": "r", "answer": "a"}},
            {"prompts": {"train": ["umbrella"], "test": ["kettle"]}},
            {"extra_rewards": {"brevity": "r.py:brevity"}},
            {"ties": "true"},
        )
    }
    assert len(prints) == 8
    assert fingerprint(parsed()) == fingerprint(parsed())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"criteria": None}, ["'criteria' is missing"]),
        ({"criterion": "c"}, ["'criterion'", "did you mean 'criteria'?"]),
        ({"criteria": " "}, ["criteria: is empty"]),
        ({"criteria": ["c"]}, ["criteria", "is no text"]),
        ({"format": "json"}, ["'json'", "reasoning_answer"]),
        ({"format": ""}, ["format: is empty"]),
        ({"format": "null"}, ["'null'", "reasoning_answer, none"]),
        ({"format": ["none"]}, ["format", "is no text"]),
        ({**NO_FORM, "reasoning_criteria": "c"}, ["reasoning_criteria", "no reasoning section"]),
        ({**NO_FORM, "objectives": [{"name": "wit", "criteria": "c", "section": "reasoning"}]}, ["number 1: section"]),
        ({**NO_FORM, "system": {"text": "t", "answer": "a"}}, ["system", "'answer'", "no sections"]),
        ({**NO_FORM, "system": {"txt": "t"}}, ["system", "'txt'"]),
        ({**NO_FORM, "examples": [{"product": "x"}]}, ["examples: number 1", "'answer'"]),
        ({**NO_FORM, "examples": ["x"]}, ["examples: number 1", "and an answer"]),
        ({**NO_FORM, "examples": [{"product": "x", "reasoning": "r", "answer": "a"}]}, ["number 1", "reasoning"]),
        ({"system": "You write."}, ["system", "<reasoning>", "forfeit"]),
        ({"system": {"reasoning": "r"}}, ["system", "'answer' is missing"]),
        ({"question": "Product"}, ["question", "no field"]),
        ({"question": "{product"}, ["question", "'{product'"]),
        ({"question": "{product.name}"}, ["'product.name' is no field"]),
        ({"question": "{product:>10}"}, ["is no field"]),
        ({"question": "{0}"}, ["'0' is no field"]),
        ({"question": "{answer}"}, ["'answer'", "rename"]),
        ({"question": "{product} for {buyer}"}, ["train: number 1", "one text", "buyer"]),
        ({"prompts": {"train": [{"name": "x"}], "test": ["y"]}}, ["no 'product'", "name"]),
        ({"prompts": {"train": [{"product": ""}], "test": ["y"]}}, ["no 'product'"]),
        ({"prompts": {"train": [], "test": ["y"]}}, ["train: there are none"]),
        ({"prompts": {"train": ["x"], "test": []}}, ["test: there are none"]),
        ({"prompts": {"train": ["x"]}}, ["'test' is missing"]),
        ({"prompts": {"train": ["x"], "tests": ["y"]}}, ["'tests'", "did you mean 'test'?"]),
        ({"prompts": {"train": ["x", "y", "X "], "test": ["z"]}}, ["'Product: X' repeats number 1"]),
        ({"prompts": {"train": ["x"], "test": ["x"]}}, ["'Product: x' is in train and test"]),
        ({"prompts": {"train": ["x!"], "test": ["x"]}}, ["subject 'x' is in train and test"]),
        ({"prompts": {"train": [["x"]], "test": ["y"]}}, ["neither a text nor fields"]),
        ({"prompts": ["x", "y"]}, ["nothing says which are for testing", "test_share"]),
        ({"prompts": [{"product": "x", "split": "test"}, "y"]}, ["some have a split and some have none"]),
        ({"prompts": [{"product": "x", "split": "dev"}]}, ["split 'dev'", "train, test"]),
        ({"prompts": [{"product": "x", "split": "test"}]}, ["no train prompts"]),
        ({"prompts": [{"product": "x", "split": "train"}]}, ["no test prompts"]),
        ({"test_share": 0.3}, ["two splits"]),
        ({**WITHOUT_SPLIT, "test_share": 1.5}, ["test_share '1.5'", "between 0 and 1"]),
        ({**WITHOUT_SPLIT, "test_share": "some"}, ["'some' is no number"]),
        ({"prompts": "nowhere.csv"}, ["prompts: nowhere.csv", "no such file"]),
        ({"examples": [{"product": "kettle", "reasoning": "r", "answer": "a"}]}, ["examples: number 1", "tested on"]),
        ({"examples": [{"product": "x", "answer": "a"}]}, ["examples: number 1", "'reasoning'"]),
        ({"examples": [{"product": "x", "reasoning": "r", "answer": "<answer>a"}]}, ["holds <answer>"]),
        ({"examples": [{"reasoning": "r", "answer": "a"}]}, ["examples: number 1", "no 'product'"]),
        ({"examples": "none"}, ["examples", "write a list"]),
        ({"objectives": [{"name": "wit"}]}, ["objectives: number 1", "'criteria' is missing"]),
        ({"objectives": [{"name": "answer", "criteria": "c"}]}, ["cannot be called 'answer'"]),
        ({"objectives": [{"name": "A wit", "criteria": "c"}]}, ["cannot be called 'A wit'"]),
        ({"objectives": [{"name": "wit", "criteria": "c"}] * 2}, ["two rewards are called 'wit'"]),
        ({"objectives": [{"name": "wit", "criteria": "c", "weight": "nan"}]}, ["'nan'", "finite"]),
        ({"objectives": [{"name": "wit", "criteria": "c", "section": "all"}]}, ["section 'all'"]),
        ({"prompts": "a\nb.csv"}, ["prompts: a b.csv"]),
        ({"extra_rewards": ["r.py:f"]}, ["extra_rewards", "name: file.py:function"]),
        ({"extra_rewards": {"tag_count": "r.py:f"}}, ["cannot be called 'tag_count'"]),
        ({"ties": "sometimes"}, ["ties", "'sometimes'", "true, false"]),
        ({"extra_rewards": {"brevity": {"weight": 1}}}, ["brevity", "'function' is missing"]),
    ],
    ids=str,
)
def test_whatever_is_wrong_is_one_line_with_the_value(changes, words):
    with pytest.raises(UserError) as error:
        parsed(**changes)
    line = str(error.value)
    assert line.startswith("t.yaml: ")
    assert "\n" not in line
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.yaml", None, ["no such file"]),
        ("t.yaml", b" \n", ["is empty"]),
        ("t.yaml", b"\xff\xfe\x00", ["UTF-8"]),
        ("t.yaml", b"a: [", ["is not YAML"]),
        ("t.yaml", b"criteria: a\nname: x\ncriteria: b", ["'criteria' occurs twice", "line 1"]),
        ("t.yaml", b"[" * 5000, ["is not YAML"]),
        ("t.yaml", b"- a\n- b", ["field: value"]),
        ("t.yaml", b"? [a]\n: b", ["is not YAML"]),
        ("p.jsonl", None, ["prompts: p.jsonl: there is no such file"]),
        ("p.jsonl", b"", ["p.jsonl: is empty"]),
        ("p.jsonl", b'{"product": "x"}\n{oops}', ["p.jsonl, line 2: is not JSON"]),
        ("p.jsonl", b"[" * 100_000, ["is not JSON"]),
        ("p.jsonl", b"[1]", ["line 1: [1] is no object"]),
        ("p.csv", b"product,product\na,b", ["every column"]),
        ("p.csv", b"product,split\na,b,c", ["record 2: has 3 values for 2 columns"]),
        ("p.csv", b"product,split\na,train", ["no test prompts"]),
        ("p.csv", b'product\n"a', ["is not CSV"]),
        ("p.csv", b"name,split\na,train", ["number 1: has no 'product'"]),
        ("p.json", b"{}", ["p.json", "give a .jsonl, .csv"]),
    ],
    ids=lambda v: v.decode(errors="replace")[:20] if isinstance(v, bytes) else None,
)
def test_files_that_cannot_be_used(tmp_path, name, content, words):
    page = tmp_path / "t.yaml"
    page.write_text(yaml.safe_dump({**PAGE, "prompts": name}))
    if content is None:
        (tmp_path / name).unlink(missing_ok=True)
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        load_task(str(page))
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_topics_of_ones_own(tmp_path):
    path = tmp_path / "task.yaml"
    path.write_text(yaml.safe_dump(PAGE))
    assert [q.text for q in own_questions(str(path), "a teapot; green")] == ["Product: a teapot; green"]
    assert [q.text for q in own_questions(str(path), "product = teapot")] == ["Product: teapot"]
    two = {**PAGE, "question": "{product} for {buyer}", "examples": [], "prompts": [
        {"product": "a", "buyer": "b", "split": "train"}, {"product": "c", "buyer": "d", "split": "test"}]}  # fmt: skip
    path.write_text(yaml.safe_dump(two))
    assert [q.text for q in own_questions(str(path), "buyer=sailors; product=teapot")] == ["teapot for sailors"]
    with pytest.raises(UserError, match=r"needs the field 'product'; write \"product=...; buyer=...\""):
        own_questions(str(path), "teapot")


BASKETS = ["Mystery Basket:\n- figs\n- rye", "Mystery Basket:\n- a\n- b"]


@pytest.mark.parametrize(
    ("task", "name", "content", "texts"),
    [
        ("comedy", "p.txt", "queues\n\n bells \n", ["Roast Subject: queues", "Roast Subject: bells"]),
        ("debate", "p.csv", "motion,side\nBan cars,con\n", ["Debate Topic: Ban cars\nPosition: CON"]),
        ("debate", "p.csv", "motion\nBan cars\n", [f"Debate Topic: Ban cars\nPosition: {s}" for s in ("PRO", "CON")]),
        ("recipes", "p.jsonl", '{"ingredients": ["figs", "rye"]}\n"a, b"', BASKETS),
    ],
)
def test_a_file_of_ones_own_prompts(tmp_path, task, name, content, texts):
    (tmp_path / name).write_text(content)
    questions = questions_in(load_task(task), tmp_path / name)
    assert [q.text for q in questions] == texts
    assert len({q.id for q in questions}) == len(texts)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("p.csv", "subject\nx", "needs the field 'motion'"),
        ("p.csv", "motion,side\nx,UP", "choose from PRO, CON"),
        ("p.csv", "motion\n", "no prompts"),
        ("p.txt", "x\nx", "prompt 2: .* was there before"),
        ("p.pdf", "x", "give a .jsonl, .csv or .txt file"),
    ],
)
def test_own_prompts_that_cannot_be_asked(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=words):
        questions_in(load_task("debate"), tmp_path / name)


# --- whatever is written, a traceback is never the answer

scalars = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["{product}", "{", "}", "train", "test", "0.5", "x.csv", "a/b.csv", "nan", "<answer>", "{a!r}"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.sampled_from(["product", "train", "test", "split", "name", "answer", "id"]), scalars),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=8,
)


def try_to_parse(document):
    try:
        task = parse(document, "t.yaml", name="t", rows=no_rows, function=lambda name, what: lambda p, c: 1.0)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert len(str(error)) < 600  # noqa: PT017
        return
    assert faults(task) == []
    assert task.train
    assert task.test
    assert fingerprint(task) == fingerprint(task)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*FIELDS, "other"]), values, max_size=4))
def test_fuzzed_fields_of_a_sound_page(changes):
    try_to_parse({**copy.deepcopy(PAGE), **changes})


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_fuzzed_pages(page):
    try:
        document = read_yaml(page, "t.yaml")
    except UserError:
        return
    try_to_parse(document)


contents = st.one_of(
    st.text(max_size=80),
    st.binary(max_size=40),
    st.lists(values, max_size=3).map(lambda rows: "\n".join(json.dumps(r) for r in rows)),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(suffix=st.sampled_from([".jsonl", ".csv", ".txt"]), content=contents)
def test_fuzzed_files(tmp_path, suffix, content):
    path = tmp_path / f"p{suffix}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    (tmp_path / "t.yaml").write_text(yaml.safe_dump({**PAGE, "prompts": path.name, "test_share": 0.5}))
    for attempt in (lambda: load_task(str(tmp_path / "t.yaml")), lambda: questions_in(load_task("debate"), path)):
        try:
            attempt()
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017
