"""A name says what kind of judge it is, and each kind is made in the same way."""

from __future__ import annotations

import pytest

from softgrpo.errors import UserError
from softgrpo.judges import JUDGES
from softgrpo.judges.by_name import check_judge, kind_of, load_judge
from softgrpo.judges.chat.judge import ChatJudge
from softgrpo.judges.embedded import PARTS
from softgrpo.judges.embedded.judge import EmbeddedJudge
from softgrpo.judges.local import LogOddsJudge
from tests.fakes.chat_models import DictLedger, Weighing, Writing


class Pool:
    """Gives one model, and remembers for which name."""

    def __init__(self, model):
        self.model, self.asked = model, []

    def get(self, name):
        self.asked.append(name)
        return self.model


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("embedded", "embedded"),
        ("embedded:convincing", "embedded"),
        ("embedded:prompt", "local"),
        ("Qwen/Qwen3-0.6B", "local"),
        ("gpt-4o", "chat"),
        ("openai:anything@http://localhost:1/v1", "chat"),
    ],
)
def test_the_kind_of_a_name(name, kind):
    assert kind_of(name) == kind


@pytest.mark.parametrize("kind", JUDGES)
def test_every_kind_is_there(kind):
    assert callable(JUDGES[kind])


def test_an_unknown_kind_names_the_others():
    with pytest.raises(ValueError, match="unknown kind of judge 'oracle'; choose from embedded, local, chat"):
        JUDGES["oracle"]


def test_an_unknown_part_of_the_embedded_judge_names_the_others():
    with pytest.raises(
        UserError,
        match="unknown judge 'embedded:fluency'; choose from embedded, embedded:sentinel, "
        "embedded:first, embedded:likelihood, embedded:convincing, embedded:prompt",
    ):
        check_judge("embedded:fluency")


@pytest.mark.parametrize("part", PARTS)
def test_every_part_of_the_embedded_judge_is_there(part):
    name = f"embedded:{part}" if part else "embedded"
    judge = load_judge(name, models=Pool(object()))
    assert isinstance(judge, EmbeddedJudge)
    assert (judge.name, judge.scores_texts) == (name, True)
    assert judge.temperature > 0


@pytest.mark.parametrize(
    ("name", "kind", "model"),
    [
        ("embedded:prompt", LogOddsJudge, Weighing(lambda sheet: [-1.0, -1.0])),
        ("gpt-4o", ChatJudge, Writing(lambda call, sheet: sheet.labels[0])),
    ],
)
def test_a_judge_is_made_on_the_model_that_is_handed_in(name, kind, model):
    pool, ledger = Pool(model), DictLedger()
    judge = load_judge(name, models=pool, votes=3, ledger=ledger, secret=b"of the run")
    assert isinstance(judge, kind)
    assert pool.asked == [name]
    assert (judge.name, judge.model, judge.ledger, judge.secret) == (name, model, ledger, b"of the run")


def test_without_models_it_is_loaded_as_precision_and_device_say(monkeypatch):
    model, asked = Weighing(lambda sheet: [-1.0, -1.0]), []
    monkeypatch.setattr("softgrpo.judges.by_name.load_model", lambda name, **how: asked.append((name, how)) or model)
    assert load_judge("embedded:prompt", dtype="float32", device="cpu").model is model
    assert asked == [("embedded:prompt", {"dtype": "float32", "device": "cpu"})]
