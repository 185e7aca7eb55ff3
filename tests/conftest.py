"""What many tests share: a tiny model with a vocabulary of words, and the real embedded one, each loaded once."""

from __future__ import annotations

import os
import random
import zlib
from pathlib import Path

import pytest

from softgrpo.threads import settle

settle(0, "sleep")  # as the commands do, before torch is there: two processes at once then cost two, not six times
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

settings.register_profile("softgrpo", print_blob=True)
settings.load_profile("softgrpo")
SEED = int(os.environ.get("SOFTGRPO_TEST_SEED") or random.SystemRandom().getrandbits(31))
PURE = (
    *("tournament", "rewards", "grpo", "tasks", "evaluation/test_win_rate", "judges/test_callable"),
    *("judges/chat/test_prompt", "judges/chat/test_sanitize", "judges/chat/test_parse", "judges/chat/test_keys"),
    *("judges/chat/test_elicitation", "judges/embedded/test_guards", "judges/embedded/test_stems"),
    *("judges/test_text_scores", "test_config", "test_flags", "test_files", "test_registry", "test_streams"),
    *("training/test_run_state", "training/test_session", "reporting/test_measure", "reporting/test_recorder"),
)
LONGER = (
    *("tournament/test_noise", "tournament/test_win_share", "tasks/test_from_yaml", "tasks/test_chat_rows"),
    *("tournament/test_bradley_terry", "grpo/test_tree", "grpo/test_loss", "rewards/test_sameness"),
)
"""simulations and fuzz, which are pure but take their time"""
RUNS = ("training", "rollout", "evaluation/test_evaluate", "test_embedded_run", "test_docs", "test_cli", "test_threads")
"""the tiers: arithmetic and parsing; whole runs and processes; what is in neither is between them"""


def pytest_report_header() -> str:
    """How chance is repeated."""
    return f"random tests: SOFTGRPO_TEST_SEED={SEED} repeats them"


def tier_of(path: Path) -> str:
    """Of a test file: it follows from where it lies."""
    here = Path(__file__).parent
    name = path.relative_to(here).as_posix() if path.is_relative_to(here) else ""
    tiers = {"longer": LONGER, "pure": PURE, "runs": RUNS}
    matches = lambda places: any(name.startswith((f"{place}/", f"{place}.py")) for place in places)  # noqa: E731
    return next((tier for tier, places in tiers.items() if matches(places)), "")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its tier."""
    for item in items:
        if tier := tier_of(item.path):
            item.add_marker(tier)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where only a tier is asked for, other files are not even read."""
    asked = config.getoption("markexpr")
    return True if asked == "pure" and collection_path.suffix == ".py" and tier_of(collection_path) != asked else None


@pytest.fixture(autouse=True)
def chance(request: pytest.FixtureRequest) -> None:
    """Python's own random numbers follow from the session's seed and the test's name."""
    random.seed(SEED ^ zlib.crc32(request.node.nodeid.encode()))


WORDS = [f"w{i}" for i in range(40)] + ["A", "B", "<reasoning>", "</reasoning>", "<answer>", "</answer>"]
PREFILL = "<reasoning> w1 </reasoning> <answer> "
"""with this opening every reply that says `</answer>` once is well formed, so that a random model has rewards"""
TEMPLATE = "{% for m in messages %}{{ m.role + ' ' + m.content + ' <eos> ' }}{% endfor %}{{ 'assistant ' }}"


def build_tiny(folder: Path, seed: int = 0) -> Path:
    """A two-layer Llama with random weights and one token per word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = ["<pad>", "<eos>", "<unk>", "system", "user", "assistant", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", chat_template=TEMPLATE
    )
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=1,
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that loads in a moment."""
    return build_tiny(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def tiny_judge_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one, with other weights."""
    return build_tiny(tmp_path_factory.mktemp("judge") / "model", seed=1)


@pytest.fixture
def tiny(tiny_folder: Path):
    """The tiny model in float32, fresh for each test."""
    from softgrpo.models.huggingface import HuggingFaceModel
    from softgrpo.models.names import parse

    return HuggingFaceModel.load(str(tiny_folder), parse(str(tiny_folder)), dtype="float32", device="cpu")


@pytest.fixture(scope="session")
def embedded_model():
    """The packaged small model, shared: never train it."""
    from softgrpo.model_interface import load_local

    return load_local("embedded")
