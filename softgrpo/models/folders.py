"""What a folder holds: a model, an adapter on one, or a run with models in it. Reads small files alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

from softgrpo.errors import UserError

ADAPTER = "adapter_config.json"
BASE = "base_model_name_or_path"
"""what PEFT calls the model that an adapter was trained on"""


def model_folder(folder: Path) -> Path:
    """The folder itself where it holds a model or an adapter; of a run's folder its final model.

    Raises `UserError` where there is none, naming what could be meant.
    """
    if (folder / "config.json").exists() or (folder / ADAPTER).exists():
        return folder
    if (folder / "final" / "config.json").exists():
        return folder / "final"
    if list(folder.glob("*.gguf")):
        return folder
    steps = checkpoints(folder if folder.name == "checkpoints" else folder / "checkpoints")
    is_run = (folder / "args.json").exists()
    what = "a run without a final model yet" if is_run else f"no model (no config.json, {ADAPTER} or .gguf file)"
    raise UserError(
        f"folder {str(folder)!r} holds {what}" + (f"; name a checkpoint such as {steps[-1]}" if steps else "")
    )


def checkpoints(folder: Path) -> list[Path]:
    """The folders `step-N` in it, oldest first."""
    steps = [(int(m[1]), p) for p in folder.glob("step-*") if (m := re.fullmatch(r"step-(\d+)", p.name))]
    return [path for _, path in sorted(steps)]


def base_of(file: Path) -> str:
    """The name of the model that the adapter with this configuration file was trained on.

    Raises `UserError` where the file cannot be read or names none.
    """
    try:
        name = json.loads(file.read_text(encoding="utf-8")).get(BASE)
    except (OSError, UnicodeDecodeError, ValueError, AttributeError) as error:
        raise UserError(f"adapter {file}: cannot be read ({type(error).__name__})") from error
    if not isinstance(name, str) or not name.strip():
        raise UserError(f"adapter {file}: names no model that it was trained on; write one under {BASE!r}")
    return name
