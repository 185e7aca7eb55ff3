"""The README quotes what was recorded."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses look there for their annotations
    spec.loader.exec_module(module)
    return module


def test_the_quickstart_in_the_readme_is_the_recorded_one():
    recorded = json.loads((ROOT / "benchmarks" / "quickstart.json").read_text(encoding="utf-8"))
    assert load("quickstart").as_markdown(recorded) in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_recorded_run_is_the_one_make_demo_does():
    import yaml

    recorded = json.loads((ROOT / "benchmarks" / "quickstart.json").read_text(encoding="utf-8"))
    demo = yaml.safe_load((ROOT / "configs" / "demo.yaml").read_text(encoding="utf-8"))
    for name, value in demo.items():
        assert recorded["args"][name] == (float(value) if isinstance(recorded["args"][name], float) else value), name


def test_the_python_of_the_readme_runs(capsys):
    import re

    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(code, {})
    assert capsys.readouterr().out.startswith("[0, ")


def test_links_of_the_readme_lead_somewhere():
    import re

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_the_judges_page_tells_the_recorded_experiment(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    recorded = json.loads((ROOT / "benchmarks" / "judge_hacking.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "embedded_judge.md").read_text(encoding="utf-8")
    assert load("judge_hacking").as_markdown(recorded) in page


def test_the_judges_page_tells_what_was_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    recorded = json.loads((ROOT / "benchmarks" / "embedded_judge.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "embedded_judge.md").read_text(encoding="utf-8")
    assert load("embedded_judge").as_markdown(recorded) in page


def test_the_page_on_tournaments_tells_what_was_recorded(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    recorded = json.loads((ROOT / "benchmarks" / "tournament_fidelity.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "tournaments.md").read_text(encoding="utf-8")
    assert load("tournament_fidelity").as_markdown(recorded) in page
    assert all(target["met"] for target in recorded["targets"])


def test_the_page_on_the_other_tasks_is_the_recorded_one():
    recorded = json.loads((ROOT / "benchmarks" / "other_tasks.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "other_tasks.md").read_text(encoding="utf-8")
    assert load("other_tasks").as_markdown(recorded) == page


def test_the_page_on_spending_tells_what_was_recorded(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    recorded = json.loads((ROOT / "benchmarks" / "fault_injection.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "spending.md").read_text(encoding="utf-8")
    assert load("fault_injection").as_markdown(recorded) in page
