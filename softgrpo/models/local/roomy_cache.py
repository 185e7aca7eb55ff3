"""A key-value cache with room to grow: a new token is written in place, not behind a copy of all that came before."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

ROOM = 64
"""tokens for which room is made at a time"""


class RoomyLayer(DynamicLayer):
    """Keys and values are views of larger buffers. Whatever replaces the views (a selection of rows, a repetition)
    simply finds a new buffer at the next token."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        """Append `[B, heads, new, width]`; returns all keys and values so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys = self._appended("keys", self.keys, key_states)
        self.values = self._appended("values", self.values, value_states)
        return self.keys, self.values

    def _appended(self, name: str, old: torch.Tensor | None, new: torch.Tensor) -> torch.Tensor:
        length = old.shape[-2] if old is not None and old.numel() else 0
        total = length + new.shape[-2]
        buffer = self.__dict__.get(f"_{name}_buffer")
        if buffer is None or old is None or old.data_ptr() != buffer.data_ptr() or total > buffer.shape[-2]:
            buffer = new.new_empty(*new.shape[:-2], total + ROOM, new.shape[-1])
            if old is not None and length:
                buffer[..., :length, :] = old
            self.__dict__[f"_{name}_buffer"] = buffer
        buffer[..., length:total, :] = new
        return buffer[..., :total, :]


def roomy_cache(config: Any) -> DynamicCache:
    """The usual cache of a model, with roomy layers where its layers are of the plain growing kind."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
