"""The model that learns: its weights in compute precision, with an adapter or without."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from softgrpo.models import names
from softgrpo.models.huggingface import HuggingFaceModel
from softgrpo.models.local.capabilities import Capabilities, measured
from softgrpo.records import Completion, Message, Sampling


class Policy(HuggingFaceModel):
    """A `HuggingFaceModel` whose weights change.

    With an adapter the base weights are shared with whoever judges, compares or serves as reference. So the adapter
    is off unless somebody is inside `with policy.active()`.
    """

    def __init__(
        self,
        name: str,
        module: Any,
        tokenizer: Any,
        *,
        adapter: bool = False,
        turn: threading.RLock | None = None,
    ) -> None:
        super().__init__(name, module, tokenizer, turn=turn)
        self.adapter = adapter
        self._is_active = False
        if adapter:
            self.module.base_model.disable_adapter_layers()
        else:
            self.module.requires_grad_(True)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """The policy's own weights are in force, and it is this thread's turn; whoever is inside already stays so."""
        with self.turn:
            if not self.adapter or self._is_active:
                yield
                return
            self._is_active = True
            self.module.base_model.enable_adapter_layers()
            try:
                yield
            finally:
                self.module.base_model.disable_adapter_layers()
                self._is_active = False

    def _measured(self) -> Capabilities:
        with self.active():
            return measured(self.module)

    def stream(self, chats: Sequence[Sequence[Message]], sampling: Sampling) -> Iterator[tuple[int, list[Completion]]]:
        """As of any model; the adapter is on while it computes, and at rest while somebody looks at what came."""
        rows = super().stream(chats, sampling)
        while True:
            with self.active():
                found = next(rows, None)
            if found is None:
                return
            yield found

    def trainable(self) -> dict[str, Any]:
        """The parameters that learn, by name; tied ones once."""
        with self.active():
            return {name: p for name, p in self.module.named_parameters() if p.requires_grad}

    def save(self, folder: Path) -> None:
        """Hugging Face format: the weights, or the adapter alone with its base's name; the tokenizer beside it."""
        if self.adapter:
            self.module.peft_config["default"].base_model_name_or_path = base_name(self.name)
        with self.active():
            self.module.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def save_merged(self, folder: Path) -> None:
        """A folder that `transformers` loads without anything else: the adapter is added into the weights."""
        if self.adapter:
            base = self.module.get_base_model()
            base.save_pretrained(folder, state_dict=_merged(base))
        else:
            self.module.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def base_name(name: str) -> str:
    """How an adapter's folder names its base, so that it is found from any working folder.

    >>> base_name("embedded:prompt"), base_name("hf:Qwen/Qwen2.5-1.5B-Instruct")
    ('embedded', 'Qwen/Qwen2.5-1.5B-Instruct')
    """
    model = names.parse(name)
    if model.provider == names.EMBEDDED:
        return names.EMBEDDED
    path = Path(model.name).expanduser()
    return str(path.resolve()) if path.exists() else model.name


def with_lora(model: HuggingFaceModel, *, rank: int, alpha: int, dropout: float, seed: int) -> Policy:
    """A policy on the same weights with a fresh low-rank adapter on every linear layer (Hu et al., 2021)."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    # eval: dropout belongs to learning alone
    return Policy(
        model.name, get_peft_model(model.module, config).eval(), model.tokenizer, adapter=True, turn=model.turn
    )


def full(model: HuggingFaceModel, *, shared: bool) -> Policy:
    """A policy whose weights all learn; a copy where others use the model too."""
    ours = model.copy(model.name) if shared else model
    return Policy(model.name, ours.module, model.tokenizer, turn=ours.turn)


def _merged(base: Any) -> dict[str, Any]:
    """The base model's weights with each adapter's product added, under the names the base had without adapters."""
    delta = {
        f"{name}.base_layer.weight": module.get_delta_weight("default")
        for name, module in base.named_modules()
        if hasattr(module, "get_delta_weight")
    }
    return {
        name.replace(".base_layer", ""): (value.float() + delta[name].float()).to(value.dtype)
        if name in delta
        else value
        for name, value in base.state_dict().items()
        if ".lora_" not in name
    }
