"""The README quotes what was recorded."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

ROOT = Path(__file__).parents[1]


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
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


def test_links_of_the_readme_lead_somewhere():
    import re

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_the_page_on_the_other_tasks_is_the_recorded_one():
    recorded = json.loads((ROOT / "benchmarks" / "other_tasks.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "other_tasks.md").read_text(encoding="utf-8")
    assert load("other_tasks").as_markdown(recorded) == page
