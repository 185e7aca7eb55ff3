"""From a model's name to who serves it, where, and with which key. Pure: nothing is loaded or asked here."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from softgrpo.errors import UserError
from softgrpo.models.folders import ADAPTER, base_of, model_folder

EMBEDDED = "embedded"
LOCAL = "hf"


@dataclass(frozen=True, slots=True)
class Provider:
    """One way to reach a model: a line in the table below."""

    prefix: str
    package: str
    """the SDK, which is also the name of the extra that installs it"""
    base_url: str
    """where it answers; empty when every user has an address of their own"""
    key: str
    """environment variable of the key"""
    pattern: str = ""
    """names that need no prefix"""
    url_variable: str = ""
    """environment variable that overrides the address"""
    key_optional: bool = False
    """a server of one's own, which may ask for no key"""
    lists_names: bool = True
    """its list of models tells the names that it accepts"""


PROVIDERS = {
    p.prefix: p
    for p in (
        Provider(
            prefix="openai",
            package="openai",
            base_url="https://api.openai.com/v1",
            key="OPENAI_API_KEY",
            pattern=r"(gpt-|o\d|chatgpt-|ft:)[^/]*",
            url_variable="OPENAI_BASE_URL",
        ),
        Provider(
            prefix="anthropic",
            package="anthropic",
            base_url="https://api.anthropic.com",
            key="ANTHROPIC_API_KEY",
            pattern=r"claude-[^/]*",
            url_variable="ANTHROPIC_BASE_URL",
        ),
        # servers on this machine
        Provider("ollama", "openai", "http://localhost:11434/v1", "OLLAMA_API_KEY", key_optional=True),
        Provider("vllm", "openai", "http://localhost:8000/v1", "VLLM_API_KEY", key_optional=True),
        Provider("llamacpp", "openai", "http://localhost:8080/v1", "LLAMA_API_KEY", key_optional=True),
        # services that speak OpenAI's protocol
        Provider("openrouter", "openai", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
        Provider("together", "openai", "https://api.together.xyz/v1", "TOGETHER_API_KEY"),
        Provider("groq", "openai", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
        Provider("mistral", "openai", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
        Provider("gemini", "openai", "https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
        # Azure lists the base models of a region, while a name is that of one's own deployment
        Provider(
            "azure",
            "openai",
            "",
            "AZURE_OPENAI_API_KEY",
            url_variable="AZURE_OPENAI_ENDPOINT",
            lists_names=False,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class ModelName:
    """A name taken apart.

    >>> parse("gpt-4o").provider, parse("claude-haiku-4-5").provider, parse("Qwen/Qwen2.5-1.5B-Instruct").provider
    ('openai', 'anthropic', 'hf')
    >>> parse("embedded:likelihood")
    ModelName(provider='embedded', name='likelihood', base_url='')
    >>> parse("openai:my-model@http://localhost:8000/v1").base_url
    'http://localhost:8000/v1'
    >>> parse("ollama:llama3.2:1b")
    ModelName(provider='ollama', name='llama3.2:1b', base_url='')
    """

    provider: str
    name: str
    base_url: str = ""
    """the address in the name itself; `address()` says where the model is asked"""

    @property
    def is_local(self) -> bool:
        return self.provider in (LOCAL, EMBEDDED)

    @property
    def label(self) -> str:
        """The shortest name for people, without the address.

        >>> parse("openai:gpt-4o").label, parse("groq:llama-4@http://localhost:1/v1").label
        ('gpt-4o', 'groq:llama-4')
        """
        if self.provider == LOCAL or (self.provider in PROVIDERS and _matches(PROVIDERS[self.provider], self.name)):
            return self.name
        return f"{self.provider}:{self.name}" if self.name else self.provider


def parse(name: str) -> ModelName:
    """Take a model's name apart; the first colon ends the prefix, the first `@http` begins the address."""
    if not name.strip():
        raise UserError("a model's name is empty; give a Hugging Face name, a folder, `embedded`, or an API model")
    if name == EMBEDDED:
        return ModelName(EMBEDDED, "")
    if _exists(name):
        return ModelName(LOCAL, name)
    prefix, colon, rest = name.partition(":")
    if colon and prefix in (LOCAL, EMBEDDED):
        return ModelName(prefix, rest)
    if colon and prefix in PROVIDERS:
        return _api_name(prefix, rest)
    for provider in PROVIDERS.values():
        if _matches(provider, name):
            return _api_name(provider.prefix, name)
    if colon and "/" not in prefix and os.sep not in prefix:
        known = ", ".join([EMBEDDED, LOCAL, *PROVIDERS])
        raise UserError(f"unknown provider {prefix!r} in model name {hide_userinfo(name)!r}; choose from {known}")
    return ModelName(LOCAL, name)


def check(name: str) -> ModelName:
    """Parse, and see that what can be known without loading is there: the folder, the address, the key."""
    model = parse(name)
    if model.provider == LOCAL:
        _check_local(model.name)
    elif not model.is_local:
        provider = PROVIDERS[model.provider]
        own_address = address(model) != provider.base_url
        needs_key = not provider.key_optional and (not own_address or not provider.base_url)
        if needs_key and not os.environ.get(provider.key, "").strip():
            raise UserError(
                f"model {name!r} needs a key: set the environment variable {provider.key}, or use `embedded`"
            )
    return model


def address(model: ModelName, environ: Mapping[str, str] = os.environ) -> str:
    """Where an API model is asked: the address in its name, else the environment's, else the provider's own.

    >>> address(parse("gpt-4o"), {})
    'https://api.openai.com/v1'
    >>> address(parse("gpt-4o"), {"OPENAI_BASE_URL": "http://localhost:8000/v1/"})
    'http://localhost:8000/v1'
    >>> address(parse("azure:my-deployment"), {"AZURE_OPENAI_ENDPOINT": "https://me.openai.azure.com"})
    'https://me.openai.azure.com/openai/v1'
    """
    provider = PROVIDERS[model.provider]
    from_environment = environ.get(provider.url_variable, "").strip() if provider.url_variable else ""
    url = model.base_url or from_environment or provider.base_url
    if not url:
        raise UserError(
            f"model {model.label!r} has no address: set {provider.url_variable}, "
            f"or write {provider.prefix}:{model.name}@https://…"
        )
    if url == from_environment:
        _check_address(url, provider.url_variable)
    url = url.rstrip("/")
    if provider.prefix == "azure" and not urlsplit(url).path:
        url += "/openai/v1"
    return url


def hide_userinfo(text: str) -> str:
    """Addresses in `text` without the user and password they may hold.

    >>> hide_userinfo("http://me:secret@host/v1 does not answer")
    'http://***@host/v1 does not answer'
    """
    return re.sub(r"(https?://)[^/\s@]*@", r"\1***@", text)


def _api_name(prefix: str, rest: str) -> ModelName:
    model, base_url = rest, ""
    if at := re.search(r"@(?=https?:)", rest):
        model, base_url = rest[: at.start()], rest[at.end() :]
        _check_address(base_url, f"model {model!r}")
    if not model.strip():
        raise UserError(f"model name {hide_userinfo(f'{prefix}:{rest}')!r} names no model; write {prefix}:NAME")
    return ModelName(prefix, model, base_url)


def _check_address(url: str, whose: str) -> None:
    shown = hide_userinfo(url)
    try:
        parts = urlsplit(url)
        wrong = parts.scheme not in ("http", "https") or not parts.hostname or (parts.port == 0)
    except ValueError:
        wrong = True
    if wrong:
        raise UserError(f"{shown!r} is no address ({whose}); write it as http://host:port/v1")
    if "@" in parts.netloc:
        raise UserError(f"the address {shown!r} ({whose}) holds a password; keys come from the environment alone")


def _matches(provider: Provider, name: str) -> bool:
    return bool(provider.pattern and re.fullmatch(provider.pattern, name))


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except OSError:  # too long for a path
        return False


def _check_local(name: str) -> None:
    path = Path(name).expanduser()
    looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith(".gguf")
    if path.is_dir() and (file := model_folder(path) / ADAPTER).exists():
        try:
            check(base_of(file))
        except UserError as error:
            raise UserError(f"adapter {name!r} was trained on another model: {error}") from None
    if looks_like_path and not path.exists():
        raise UserError(f"model folder or file {name!r} does not exist")
    if not path.exists() and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise UserError(f"{name!r} is no model name; give `organisation/name`, a folder, a .gguf file or `embedded`")
