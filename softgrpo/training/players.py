"""Who answers in an evaluation outside training: any model by name, loaded only if it is asked something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from softgrpo.config import TrainConfig
from softgrpo.files import file_name
from softgrpo.model_interface import load_model
from softgrpo.models import names
from softgrpo.models.folders import model_folder
from softgrpo.records import Completion
from softgrpo.tasks.task import digest
from softgrpo.training import setup
from softgrpo.training.heldout import Player


def player(settings: TrainConfig, name: str, role: str, *, asked_as: str = "", weights: str = "") -> Player:
    """A player whose model is loaded when it is first asked; a run's model is asked as its base was."""
    return Player(
        name=name,
        model=_Later(name, settings),
        num_shots=settings.shots_for(asked_as or name),
        sampling=setup.eval_sampling(settings, asked_as or name, role),
        weights=weights,
    )


class _Later:
    """A model that is loaded when it is first asked: recorded answers need none."""

    def __init__(self, name: str, settings: TrainConfig) -> None:
        self.name = name
        self.settings = settings

    def generate(self, chats: Any, sampling: Any) -> list[list[Completion]]:
        """What the model says."""
        model = load_model(self.name, dtype=self.settings.dtype, device=self.settings.device)
        return model.generate(chats, sampling)


def weights_of(name: str) -> str:
    """Changes when other weights come to lie in a model's folder."""
    model = names.parse(name)
    folder = Path(model.name).expanduser()
    if model.provider != names.LOCAL or not folder.exists():
        return ""
    if folder.is_dir():
        folder = model_folder(folder)
    files = sorted(p for pattern in ("*.safetensors", "*.bin", "*.gguf") for p in folder.glob(pattern)) or [folder]
    return digest([[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in files])


def short(name: str) -> str:
    """A model's name as a folder's, short, and another for another model.

    >>> short("gpt-4o"), short("/a/long/way/to/a/folder/with/a/model/in/it")
    ('gpt-4o', 'to_a_folder_with_a_model_in_it_c1e698')
    """
    whole = file_name(name)
    return (
        whole
        if whole == name.replace("/", "_") and len(whole) <= 40
        else f"{whole[-30:].strip('-_')}_{digest(name)[:6]}"
    )
