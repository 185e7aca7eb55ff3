"""Who answers in an evaluation: any model by name, loaded only if it is asked something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from softgrpo.config.evaluation import Settings
from softgrpo.evaluation.head_to_head import Player
from softgrpo.files import file_name
from softgrpo.model_interface import ModelPool
from softgrpo.models import names
from softgrpo.models.folders import model_folder
from softgrpo.records import Completion, Sampling, TextModel
from softgrpo.streams import seed_for
from softgrpo.tasks.task import digest


def player(
    settings: Settings,
    name: str,
    role: str,
    model: TextModel,
    *,
    form: str | None,
    asked_as: str = "",
    weights: str = "",
) -> Player:
    """A player of a task whose replies are of that form; a run's model is asked as its base was."""
    return Player(
        name=name,
        model=model,
        num_shots=settings.shots_for(asked_as or name),
        sampling=eval_sampling(settings, asked_as or name, role, form),
        weights=weights,
    )


def eval_sampling(settings: Settings, name: str, role: str, form: str | None) -> Sampling:
    """How a player answers at test time; its stream never touches the trainer's."""
    return Sampling(
        n=settings.eval_samples,
        temperature=settings.eval_temperature,
        max_tokens=settings.max_completion_length,
        seed=seed_for(settings.seed, "evaluation", role),
        prefill=settings.prefill_for(name, form),
    )


class LoadedWhenAsked:
    """A model that is loaded when it is first asked: recorded answers need none."""

    def __init__(self, name: str, pool: ModelPool) -> None:
        self.name = name
        self.pool = pool

    def generate(self, chats: Any, sampling: Sampling) -> list[list[Completion]]:
        """What the model says."""
        return self.pool.get(self.name).generate(chats, sampling)


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
