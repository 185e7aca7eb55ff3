"""Fields as flags: help, files, types, ranges, and the way back to a file."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softgrpo.config import AuditConfig, EvaluateConfig, ReportConfig, RescoreConfig, SampleConfig, TrainConfig
from softgrpo.errors import UserError
from softgrpo.flags import flag, parse, parser_for, to_yaml

COMMANDS = [TrainConfig, EvaluateConfig, ReportConfig, AuditConfig, RescoreConfig, SampleConfig]


@dataclass(frozen=True, kw_only=True)
class Toy:
    """One flag of each kind."""

    name: str = flag("a", "a name", group="texts")
    way: str = flag("left", "a choice", group="texts", choices=("left", "right"))
    opening: str | None = flag(None, "a text or none", group="texts")
    count: int = flag(3, "a whole number of 100% sense", group="numbers", low=1, high=9)
    rate: float = flag(0.5, "a number", group="numbers", above=0)
    limit: int | None = flag(None, "a whole number or none", group="numbers", low=0)
    fast: bool = flag(False, "a switch", group="switches")
    safe: bool = flag(True, "a switch that is on", group="switches")


def read(*argv: str, cls: type = Toy):
    return parse(cls, parser_for(cls, "prog", "does something"), argv)[0]


@pytest.fixture
def file(tmp_path):
    """Writes a YAML file and returns the flags that name it."""

    def write(text: str) -> list[str]:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return ["--config", str(path)]

    return write


@pytest.mark.parametrize("cls", COMMANDS)
def test_every_field_has_help_and_a_group(cls):
    for field in fields(cls):
        assert field.metadata["help"].strip(), field.name
        assert field.metadata["group"].strip(), field.name


@pytest.mark.parametrize("cls", [*COMMANDS, Toy])
def test_help_names_every_flag_and_group(cls):
    text = parser_for(cls, "prog", "does something").format_help()
    for field in fields(cls):
        assert re.search(rf"^  --{field.name}\b", text, re.MULTILINE), field.name
        assert f"\n{field.metadata['group']}:\n" in text
    assert "--config" in text
    assert "--print_config" in text


def test_help_shows_defaults_and_percent_signs():
    text = parser_for(Toy, "prog", "does something").format_help()
    assert "a whole number of 100% sense (default: 3)" in text


@pytest.mark.parametrize("cls", COMMANDS)
def test_defaults_have_the_types_and_ranges_they_announce(cls):
    assert read(cls=cls) == cls()
    hints = get_type_hints(cls)
    for field in fields(cls):
        assert field.default is None or isinstance(field.default, hints[field.name]), field.name


def test_flags_win_over_the_file_and_the_file_over_defaults(file):
    config = file("count: 5\nname: from file\n")
    assert read(*config) == Toy(count=5, name="from file")
    assert read(*config, "--count", "7") == Toy(count=7, name="from file")
    assert read("--count", "7", *config) == Toy(count=7, name="from file"), "wherever the file is named"
    assert read(*config, "--count", "3").count == 3, "also when the flag says the default"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Toy()),
        ("# only a comment\n", Toy()),
        ("rate: 5e-6", Toy(rate=5e-6)),
        ("rate: 1", Toy(rate=1.0)),
        ("name: 7", Toy(name="7")),
        ("limit: null\nopening: null", Toy()),
        ("opening: ''", Toy(opening="")),
        ("opening: '<reasoning>'", Toy(opening="<reasoning>")),
        ("fast: true\nsafe: false", Toy(fast=True, safe=False)),
    ],
)
def test_what_a_file_may_say(file, text, expected):
    found = read(*file(text))
    assert found == expected
    assert isinstance(found.rate, float)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("coutn: 5", ["coutn", "count"]),
        ("zzzzzz: 5", ["zzzzzz", "--help"]),
        ("count: many", ["count", "many", "int"]),
        ("count: 2.5", ["count", "2.5"]),
        ("count: true", ["count", "True"]),
        ("count: null", ["count", "None"]),
        ("count: [1, 2]", ["count", "[1, 2]"]),
        ("rate: fast", ["rate", "fast", "float"]),
        ("fast: 1", ["fast", "1", "bool"]),
        ("fast: 'yes'", ["fast", "yes", "bool"]),
        ("name: true", ["name", "True"]),
        ("name: {a: 1}", ["name"]),
        ("name: 2020-01-31", ["name"]),
        ("count: 99", ["count", "99", "at most 9"]),
        ("rate: .nan", ["rate", "nan", "finite"]),
        ("rate: -.inf", ["rate", "-inf", "finite"]),
        ("way: up", ["way", "up", "left, right"]),
        ("- count", ["flag: value"]),
        ("just words", ["flag: value"]),
        ("count: [1", ["YAML"]),
        ("a: b: c", ["YAML"]),
        ("count: 2020-13-45", ["YAML"]),
        ("1: 2", ["1"]),
    ],
)
def test_what_a_file_may_not_say(file, text, words):
    with pytest.raises(UserError) as error:
        read(*file(text))
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", "folder"])
def test_a_file_that_cannot_be_read(tmp_path, content):
    path = tmp_path / "config.yaml"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"config\.yaml"):
        read("--config", str(path))


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--count", "0"], ["--count 0", "at least 1"]),
        (["--count", "10"], ["--count 10", "at most 9"]),
        (["--count", "2.5"], ["--count", "2.5", "whole number"]),
        (["--count", ""], ["--count", "whole number"]),
        (["--count"], ["--count", "expected one argument"]),
        (["--count", "9" * 400], ["--count"]),
        (["--rate", "0"], ["--rate 0", "more than 0"]),
        (["--rate", "-1"], ["--rate -1", "more than 0"]),
        (["--rate", "nan"], ["--rate nan", "finite"]),
        (["--rate", "inf"], ["--rate inf", "finite"]),
        (["--rate", "1e400"], ["--rate inf", "finite"]),
        (["--rate", "x"], ["--rate", "'x'", "number"]),
        (["--limit", "-1"], ["--limit -1", "at least 0"]),
        (["--way", "up"], ["--way up", "left, right"]),
        (["--fast", "yes"], ["yes"]),
        (["--nonsense", "1"], ["--nonsense"]),
        (["--cou", "5"], ["--cou"]),
        (["word"], ["word"]),
    ],
)
def test_what_a_command_line_may_not_say(argv, words):
    with pytest.raises(UserError) as error:
        read(*argv)
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_switches_go_on_and_off(file):
    assert read("--fast", "--no-safe") == Toy(fast=True, safe=False)
    assert read(*file("fast: true"), "--no-fast").fast is False


def test_an_empty_text_is_a_value():
    assert read("--opening", "").opening == ""
    assert read("--name=", "--opening=-x") == Toy(name="", opening="-x")


def test_print_config_is_said_apart():
    _, only_print = parse(Toy, parser_for(Toy, "prog", ""), ["--print_config"])
    assert only_print
    with pytest.raises(UserError, match="--count 0"):
        read("--print_config", "--count", "0")


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x85"), max_size=12)  # PyYAML loses NEL
toys = st.builds(
    Toy,
    name=text | st.sampled_from(["null", "~", "true", "1e5", "5e-6", "0x1f", "- a", "a: b", "#", "\n\n", " x "]),
    way=st.sampled_from(["left", "right"]),
    opening=st.none() | text,
    count=st.integers(1, 9),
    rate=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    limit=st.none() | st.integers(0, 10**30),
    fast=st.booleans(),
    safe=st.booleans(),
)


@settings(deadline=None)
@given(toys)
def test_to_yaml_gives_the_configuration_back(tmp_path_factory, toy):
    path = tmp_path_factory.getbasetemp() / "round_trip.yaml"
    path.write_text(to_yaml(toy), encoding="utf-8")
    assert read("--config", str(path)) == toy


@pytest.mark.parametrize("cls", COMMANDS)
def test_the_commands_defaults_survive_the_round_trip(cls, file):
    assert read(*file(to_yaml(cls())), cls=cls) == cls()
    changed = {
        f.name: "another"
        for f in fields(cls)
        if f.default is not None and f.type == "str" and not f.metadata["choices"]
    }
    assert read(*file(to_yaml(replace(cls(), **changed))), cls=cls) == replace(cls(), **changed)
