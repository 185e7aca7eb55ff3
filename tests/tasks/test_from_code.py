"""A task and its rewards from a Python file."""

from __future__ import annotations

import pytest

from softgrpo.errors import UserError
from softgrpo.tasks import load_task, own_questions

GOOD = """
from __future__ import annotations
from dataclasses import dataclass
from softgrpo.records import Objective
from softgrpo.tasks import Question, Task

@dataclass
class Mine:
    x: int = 0

def ask(name):
    return Question(id=name, subject=name, text=f"On {name}.")

def task():
    return Task(name="mine", system="s", train=(ask("a"),), test=(ask("b"),),
                objectives=(Objective(name="answer", criteria="c"),), extra_rewards={"short": len}{more})
"""


def written(tmp_path, content):
    path = tmp_path / "mine.py"
    path.write_text(content)
    return str(path)


def test_a_file_whose_task_is_a_task(tmp_path):
    path = written(tmp_path, GOOD.replace("{more}", ", extra_weights={'short': 0.5}"))
    task = load_task(path)
    assert (task.name, task.train[0].text, task.weights) == ("mine", "On a.", {"answer": 1.0, "short": 0.5})
    with pytest.raises(UserError, match="does not say how it asks"):
        own_questions(path, "c")


def test_a_file_that_has_changed_is_read_again(tmp_path):
    path = written(tmp_path, GOOD.replace("{more}", ""))
    load_task(path)
    written(tmp_path, GOOD.replace("{more}", "").replace('"mine"', '"another"'))
    assert load_task(path).name == "another"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        ("x = 1", r"no function task\(\)"),
        ("def task(:", "cannot be run: SyntaxError"),
        ("import sys; sys.exit(1)", "cannot be run: SystemExit"),
        ("def task():\n    return 1 / 0", r"task\(\) fails: ZeroDivisionError"),
        ("def task():\n    return 3", r"task\(\) returns 3"),
        (GOOD.replace('ask("b")', 'ask("a")').replace("{more}", ""), "'a' occurs 2 times"),
        (GOOD.replace('criteria="c"', 'criteria=" "').replace("{more}", ""), "criteria of 'answer' are empty"),
        (GOOD.replace('test=(ask("b"),)', "test=()").replace("{more}", ""), "no test prompts"),
        (GOOD.replace('test=(ask("b"),)', "test=(1,)").replace("{more}", ""), "wrong type"),
        (GOOD.replace("{more}", ", format='json'"), "format 'json': choose from"),
        (
            GOOD.replace('criteria="c"', 'criteria="c", section="reasoning"').replace("{more}", ", format=None"),
            "for the reasoning section, which format none does not have",
        ),
        (GOOD.replace('"short"', '"reasoning"').replace("{more}", ""), "cannot be called 'reasoning'"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path, content, words):
    path = written(tmp_path, content) if content is not None else str(tmp_path / "nowhere.py")
    with pytest.raises(UserError, match=words) as error:
        load_task(path)
    assert "\n" not in str(error.value)
