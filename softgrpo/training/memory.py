"""What a run will need, before its first step, and how its memory is kept. An estimate from sizes; `reporting` records
what it really took."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from softgrpo.config.train import TrainConfig
from softgrpo.errors import UserError
from softgrpo.models import loading
from softgrpo.models.faults import in_words
from softgrpo.models.local.sampler import ROWS_AT_ONCE

GIB = 1 << 30
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""names of glibc's malloc.h"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """A model's shape."""

    parameters: int
    layers: int
    hidden: int
    inner: int
    kv: int
    """keys and values of one token in one layer"""
    vocabulary: int

    @classmethod
    def of(cls, config: Any) -> Sizes:
        """From a `transformers` configuration, without its weights."""
        from transformers import AutoModelForCausalLM

        with torch.device("meta"):
            module = AutoModelForCausalLM.from_config(config)
        heads = getattr(config, "num_attention_heads", 1)
        width = getattr(config, "head_dim", None) or config.hidden_size // heads
        return cls(
            parameters=sum(p.numel() for p in module.parameters()),
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            inner=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
            kv=2 * width * (getattr(config, "num_key_value_heads", None) or heads),
            vocabulary=config.vocab_size,
        )


def need(sizes: Sizes, config: TrainConfig, *, bytes_per_weight: int, shared_base: bool) -> dict[str, float]:
    """Bytes by purpose at the run's peak; the judge and opponent count only where they share the base."""
    n, b = sizes.parameters, bytes_per_weight
    if config.use_lora:
        adapted = sizes.layers * config.lora_rank * (4 * 2 * sizes.hidden + 3 * (sizes.hidden + sizes.inner))
        weights, learning = n * b, 16.0 * adapted
    else:
        weights = n * b * (2 if shared_base else 1)
        learning = n * (12.0 + b + (4 if b < 4 else 0))
    if config.update_ref_model and config.kl_weight_beta:
        weights += n * (b + 4)
    longest = config.max_prompt_length + config.max_completion_length
    group_tokens = config.max_prompt_length + config.num_chains * config.max_completion_length
    step_tokens = group_tokens * config.prompts_per_step * config.gradient_accumulation_steps
    tokens = min(step_tokens, max(config.micro_batch_tokens, longest))
    per_layer = 2 * sizes.hidden if config.gradient_checkpointing else 16 * sizes.hidden + 6 * sizes.inner
    activations = tokens * sizes.layers * per_layer * b + tokens * sizes.vocabulary * (b + 12) + tokens**2 * (b + 1)
    rows = max(
        config.num_chains * config.prompts_per_step,
        min(max(ROWS_AT_ONCE.values()), config.eval_prompts * config.eval_samples),
    )
    sampling = 2 * rows * longest * sizes.layers * sizes.kv * b + rows * sizes.vocabulary * 12
    return {"weights": weights, "learning": learning, "activations": max(activations, sampling)}


def keep_freed() -> bool:
    """What tensors on a processor leave free stays with the process, where its C library can be told so (glibc).

    Given back, as large pieces are by default, it returns a page at a time with the next tensor: on two cores that is a
    good part of a step of learning. Returns whether it could be told.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, 1 << 30) and mallopt(_TRIM_THRESHOLD, (1 << 31) - 1))


def available(device: torch.device) -> int:
    """Bytes that can still be had."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and limit.read_text().strip() != "max":
        free = min(free, int(limit.read_text()) - int(used.read_text()))
    return free


def too_much(error: BaseException, config: TrainConfig) -> str:
    """What to do after memory ran out all the same: on the way first what a run may go on with."""
    now = [f"--micro_batch_tokens {max(1, config.micro_batch_tokens // 2)}"]
    now += [] if config.gradient_checkpointing else ["--gradient_checkpointing"]
    later = [] if config.use_lora else ["--use_lora"]
    later += [f"--max_completion_length {max(1, config.max_completion_length // 2)}"]
    return (
        f"stopped: out of memory ({in_words(error)}); go on with {' or '.join(now)}, or begin another run with "
        f"{' or '.join(later)}"
    )


def check(config: TrainConfig, location: str, shared: bool, say: Callable[[str], None]) -> None:
    """Say what the run will need; raises `UserError` where that is more than there is, with flags that help."""
    device = loading.pick_device(config.device)
    sizes = Sizes.of(loading.load_config(location))
    options: dict[str, Any] = {
        "bytes_per_weight": loading.pick_dtype(config.dtype, device).itemsize,
        "shared_base": shared and not config.use_lora,
    }
    parts = need(sizes, config, **options)
    total, room = sum(parts.values()), available(device)
    words = ", ".join(f"{name} {size / GIB:.1f}" for name, size in parts.items())
    say(f"memory: about {total / GIB:.1f} GiB ({words}); {room / GIB:.1f} GiB free on {device}")
    if total > room and not config.skip_memory_check:
        raise UserError(
            f"{config.model_name} needs about {total / GIB:.1f} GiB on {device}, {room / GIB:.1f} are free; "
            f"{remedies(sizes, config, room=room, **options)} (--skip_memory_check starts anyway)"
        )


def remedies(sizes: Sizes, config: TrainConfig, *, bytes_per_weight: int, shared_base: bool, room: float) -> str:
    """The first flags, from the mildest on, that bring the need under the room."""
    steps: list[tuple[str, dict[str, Any]]] = [
        ("--micro_batch_tokens 1024", dict(micro_batch_tokens=1024)),
        ("--gradient_checkpointing", dict(gradient_checkpointing=True)),
        ("--use_lora", dict(use_lora=True)),
        (
            f"--max_completion_length {config.max_completion_length // 2}",
            dict(max_completion_length=config.max_completion_length // 2),
        ),
    ]
    used = []
    for text, change in steps:
        config = replace(config, **change)
        used.append(text)
        if sum(need(sizes, config, bytes_per_weight=bytes_per_weight, shared_base=shared_base).values()) <= room:
            return "these flags would make it fit: " + " ".join(used)
    return "no flag makes it fit; choose a smaller model"
