"""Tasks and rewards from a Python file of the user's."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from softgrpo.errors import UserError
from softgrpo.tasks.rows import read_text, show
from softgrpo.tasks.task import Task, checked, digest


def load_code(path: Path, given: str) -> Task:
    """What the file's `task()` returns."""
    function = load_function(path, "task", given)
    try:
        task = function()
    except (Exception, SystemExit) as error:
        raise UserError(f"{given}: task() fails: {_said(error)}; mend it") from error
    if not isinstance(task, Task):
        raise UserError(f"{given}: task() returns {show(task)}; return a softgrpo.tasks.Task")
    try:
        return checked(task, given)
    except (TypeError, AttributeError) as error:  # a list of what is no question, a weight that is a text
        raise UserError(
            f"{given}: something in its Task has a wrong type: {_said(error)}; see docs/tasks.md"
        ) from error


def load_function(path: Path, name: str, what: str) -> Any:
    """A function of a file by its name."""
    read_text(path, what)
    stat = path.stat()
    found = getattr(_module(path.resolve(), stat.st_mtime_ns, stat.st_size, what), name, None)
    if not callable(found):
        raise UserError(f"{what}: {path.name} has no function {name}(); define one")
    return found


@cache
def _module(path: Path, changed: int, size: int, what: str) -> ModuleType:
    """The file run as a module: once as long as it stays the same."""
    name = f"softgrpo_user_{path.stem}_{digest(str(path), changed, size)}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{what}: {path.name} is no Python file; give one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UserError(f"{what}: {path.name} cannot be run: {_said(error)}; mend it") from error
    return module


def _said(error: BaseException) -> str:
    return " ".join(f"{error.__class__.__name__}: {error}".split())[:200]
