"""The page on serving is true: its answers, its commands, its figures."""

from __future__ import annotations

import json
import re
import shlex
import threading
import urllib.request
from pathlib import Path

import pytest

from softgrpo import Scorer
from softgrpo.cli import COMMANDS
from softgrpo.flags import parse, parser_for
from tests.serving.running import serving

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
SHELL = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
EXAMPLES = re.findall(r"```bash\n(curl.*?)```\n\n```json\n(.*?)```", PAGE, re.DOTALL)


def longer(prompt, first, second):
    return 0.9 if len(first) > len(second) else 0.1


def send(url, command):
    """What curl would send."""
    words = shlex.split(command)
    path = words[2].removeprefix("http://127.0.0.1:8009")
    assert words[:2] == ["curl", "-s"]
    assert words[3:6] == ["-H", "Content-Type: application/json", "-d"]
    request = urllib.request.Request(url + path, words[6].encode(), {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        return json.load(answer)


@pytest.mark.parametrize(("commands", "expected"), EXAMPLES)
def test_the_answers_are_those_of_the_page(commands, expected):
    *before, last = re.split(r" &\n", commands)
    scorer = Scorer(criteria="The better answer gives a reason.", judge=longer)
    with serving(scorer) as url:
        threads = [threading.Thread(target=send, args=(url, command)) for command in before]
        for thread in threads:
            thread.start()
        found = send(url, last)
        for thread in threads:
            thread.join()
    rounded = json.loads(json.dumps(found), parse_float=lambda text: round(float(text), 6) + 0.0)
    assert rounded == json.loads(expected)


def test_there_are_examples_and_the_commands_parse():
    assert len(EXAMPLES) == 3
    lines = [shlex.split(line) for block in SHELL for line in block.splitlines() if line.startswith("softgrpo ")]
    assert len(lines) == 2
    for _, name, *rest in lines:
        cls, description = COMMANDS[name]
        parse(cls, parser_for(cls, "softgrpo", description), rest)


def test_the_metrics_are_those_of_the_page():
    with serving(Scorer(criteria="c", judge=longer)) as url:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        there = opener.open(f"{url}/metrics", timeout=30).read().decode()
    for name in re.findall(r"`(softgrpo_\w+)`", PAGE):
        assert f"# HELP {name}" in there, name


def test_the_figures_are_the_recorded_ones(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import serving_rate

    record = json.loads((ROOT / "benchmarks" / "serving_rate.json").read_text(encoding="utf-8"))
    assert serving_rate.as_markdown(record) in PAGE
    assert record["processor"].split(",")[0] in PAGE
