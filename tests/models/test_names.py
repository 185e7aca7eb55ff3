"""Names of models: who serves them, where, and what is wrong with them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from softgrpo.errors import UserError
from softgrpo.models.names import PROVIDERS, ModelName, address, check, parse


@pytest.mark.parametrize(
    ("name", "provider", "model", "base_url"),
    [
        ("gpt-4o", "openai", "gpt-4o", ""),
        ("o3-mini", "openai", "o3-mini", ""),
        ("chatgpt-4o-latest", "openai", "chatgpt-4o-latest", ""),
        ("ft:gpt-4o-mini:me::id", "openai", "ft:gpt-4o-mini:me::id", ""),
        ("claude-haiku-4-5", "anthropic", "claude-haiku-4-5", ""),
        ("openai/gpt-oss-20b", "hf", "openai/gpt-oss-20b", ""),
        ("hf:gpt-4o", "hf", "gpt-4o", ""),
        ("embedded", "embedded", "", ""),
        ("ollama:llama3.2:1b", "ollama", "llama3.2:1b", ""),
        ("openrouter:openai/gpt-4o:free", "openrouter", "openai/gpt-4o:free", ""),
        ("vllm:Qwen/Qwen3@http://gpu:8000/v1", "vllm", "Qwen/Qwen3", "http://gpu:8000/v1"),
        ("openai:me@work@https://host/v1", "openai", "me@work", "https://host/v1"),
    ],
)
def test_parse(name, provider, model, base_url):
    assert parse(name) == ModelName(provider, model, base_url)


def test_every_provider_has_a_place_and_a_key():
    for provider in PROVIDERS.values():
        assert provider.base_url or provider.url_variable
        assert provider.package in ("openai", "anthropic")
        assert provider.key
        assert parse(f"{provider.prefix}:name:tag").name == "name:tag"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "empty"),
        ("nobody:model", "unknown provider 'nobody'.*choose from embedded, hf, openai"),
        ("openai:", "names no model"),
        ("openai:m@http://", "is no address"),
        ("openai:m@http://host:port/v1", "is no address"),
        ("openai:m@http:8000", "is no address"),
    ],
)
def test_wrong_names_are_told_in_one_line(name, words):
    with pytest.raises(UserError, match=words) as error:
        parse(name)
    assert "\n" not in str(error.value)


def test_a_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(UserError, match="password") as error:
        parse("openai:m@http://me:secret@host/v1")
    assert "secret" not in str(error.value)


def test_check_asks_for_a_key_only_where_one_is_needed(monkeypatch):
    for provider in PROVIDERS.values():
        monkeypatch.delenv(provider.key, raising=False)
        monkeypatch.delenv(provider.url_variable or "NOTHING", raising=False)
    for name in ("gpt-4o", "claude-haiku-4-5", "groq:llama"):
        with pytest.raises(UserError, match=r"set the environment variable [A-Z_]+_API_KEY"):
            check(name)
    for name in ("ollama:llama3.2:1b", "vllm:m", "llamacpp:m", "openai:m@http://localhost:8000/v1"):
        assert check(name).provider == name.split(":")[0]
    with pytest.raises(UserError, match="AZURE_OPENAI_ENDPOINT"):
        check("azure:mine")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://me.openai.azure.com/")
    with pytest.raises(UserError, match="AZURE_OPENAI_API_KEY"):
        check("azure:mine")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k")
    assert address(check("azure:mine")) == "https://me.openai.azure.com/openai/v1"


def test_a_wrong_address_in_the_environment_is_named(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "localhost:8000")
    with pytest.raises(UserError, match="OPENAI_BASE_URL"):
        check("gpt-4o")


def test_the_sdks_are_imported_only_when_used():
    code = (
        "import sys, softgrpo.models.api.openai, softgrpo.models.api.anthropic, softgrpo.model_interface; "
        "sys.exit(bool({'openai', 'anthropic', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
