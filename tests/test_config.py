"""The flags of the seed, their defaults, and what follows from the fields."""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml

from softgrpo.config import TrainConfig
from softgrpo.errors import UserError
from softgrpo.flags import parse, parser_for

ROOT = Path(__file__).parents[1]
SEED_COMMAND = """--model_name "Qwen/Qwen2.5-1.5B-Instruct" --judge_model_name "gpt-4o" \
--compare_model_name "gpt-4o-mini" --dataset_name "debate" --output_dir "output" """
SEED_DEFAULTS = dict(
    model_name="Qwen/Qwen2.5-1.5B-Instruct",
    judge_model_name="Qwen/Qwen2.5-1.5B-Instruct",
    compare_model_name="gpt-4o-mini",
    dataset_name="debate",
    evaluator=None,
    verbose=False,
    resume=False,
    eval_iterations=40,
    learning_rate=5e-6,
    adam_beta1=0.9,
    adam_beta2=0.99,
    weight_decay=0.1,
    max_grad_norm=0.1,
    gradient_accumulation_steps=4,
    warmup_percent=0.18,
    update_ref_model=False,
    update_ref_model_freq=200,
    ref_model_mixup_alpha=0.1,
    temperature=0.9,
    num_chains=16,
    max_prompt_length=256,
    max_completion_length=786,
    num_train_iters=1000,
    kl_weight_beta=0.04,
    seed=7111994,
)


def read(*argv: str) -> TrainConfig:
    return parse(TrainConfig, parser_for(TrainConfig, "main.py", ""), argv)[0]


def test_the_seeds_command_line_is_accepted_letter_for_letter():
    config = read(*shlex.split(SEED_COMMAND))
    assert (config.judge_model_name, config.output_dir) == ("gpt-4o", "output")


def test_the_seeds_flags_have_the_seeds_defaults():
    config = TrainConfig()
    assert {name: getattr(config, name) for name in SEED_DEFAULTS} == SEED_DEFAULTS
    assert {"output_dir", "save_steps"} <= {f.name for f in fields(TrainConfig)}


def test_every_flag_of_the_seed_is_read():
    argv = []
    for name, value in SEED_DEFAULTS.items():
        argv += [] if value in (None, False) else [f"--{name}", str(value)]
    assert read(*argv, "--verbose", "--resume", "--update_ref_model") == TrainConfig(
        verbose=True, resume=True, update_ref_model=True
    )


@pytest.mark.parametrize(
    "argv",
    ["--num_chains 1", "--temperature 0", "--learning_rate 0", "--learning_rate -1e-6", "--num_train_iters 0",
     "--gradient_accumulation_steps 0", "--clip_low 0", "--clip_low 1.5", "--clip_dual 0.9", "--kl_weight_beta -0.1",
     "--adam_beta2 1", "--warmup_percent 18", "--eval_prompts 0", "--seed -1", "--loss ppo", "--dtype float8",
     "--judge_orders one", "--ref_model_mixup_alpha 2", "--num_shots 9"],
)  # fmt: skip
def test_values_out_of_range_are_refused(argv):
    with pytest.raises(UserError, match=argv.split()[0]):
        read(*argv.split())


def test_aliases_name_the_tasks_and_the_evaluator_follows_the_dataset():
    assert (TrainConfig(dataset_name="ld").task, TrainConfig(dataset_name="chopped").task) == ("comedy", "recipes")
    assert TrainConfig(dataset_name="ld").scoring_task == "comedy"
    assert TrainConfig(dataset_name="debate", evaluator="ld").scoring_task == "comedy"


@pytest.mark.parametrize(("iterations", "every", "updates"), [(8, 4, 2), (9, 4, 3), (1, 4, 1), (5, 1, 5)])
def test_the_last_iteration_always_has_an_update(iterations, every, updates):
    config = TrainConfig(num_train_iters=iterations, gradient_accumulation_steps=every)
    assert config.n_updates == updates


def test_advantages_are_divided_unless_the_loss_or_the_user_says_otherwise():
    in_force = lambda **given: TrainConfig(**given).scales_advantages  # noqa: E731
    assert [in_force(loss=loss) for loss in ("grpo", "dr_grpo", "dapo", "gspo")] == [True, False, True, True]
    assert in_force(loss="dr_grpo", scale_advantages=True)
    assert not in_force(loss="grpo", scale_advantages=False)
    assert read("--loss", "dr_grpo", "--scale_advantages").scales_advantages
    assert not read("--no-scale_advantages").scales_advantages
    assert read("--loss", "dr_grpo").scale_advantages is None


@pytest.mark.parametrize(
    ("judge", "given", "sentinel", "pairs"),
    [
        ("embedded", None, "embedded:sentinel", None),
        ("embedded:likelihood", None, "embedded:sentinel", None),
        ("embedded:prompt", None, "embedded:sentinel", None),
        ("embedded:sentinel", None, None, None),
        ("gpt-4o", None, None, None),
        ("Qwen/Qwen2.5-1.5B-Instruct", None, None, None),
        ("embedded", "none", None, None),
        ("embedded", "gpt-4o", "gpt-4o", 64),
        ("gpt-4o", "embedded", "embedded", None),
    ],
)
def test_who_watches_which_judge(judge, given, sentinel, pairs):
    config = TrainConfig(judge_model_name=judge, sentinel_judge=given)
    assert (config.sentinel_name, config.sentinel_limit) == (sentinel, pairs)
    assert (config.settled["sentinel_judge"], config.settled["sentinel_pairs"]) == (sentinel or "none", pairs)
    assert replace(config, sentinel_pairs=9).sentinel_limit == 9
    assert ("gpt-4o" in config.services) == ("gpt-4o" in (judge, sentinel))


def test_the_losses_are_those_that_there_are():
    from softgrpo.grpo import LOSSES

    (field,) = (f for f in fields(TrainConfig) if f.name == "loss")
    assert field.metadata["choices"] == tuple(LOSSES)


def test_the_weights_are_the_seeds_and_reasoning_counts_where_it_is_free():
    weights = TrainConfig().weights(judge_is_local=True)
    assert weights == dict(answer=1.0, reasoning=0.5, strict_format=0.5, soft_format=0.5, tag_count=1.0)
    assert TrainConfig().weights(judge_is_local=False)["reasoning"] == 0
    assert TrainConfig(reasoning_weight=0.2).weights(judge_is_local=False)["reasoning"] == 0.2
    assert TrainConfig(sameness_weight=2.0).weights(judge_is_local=True) == weights | {"sameness": 2.0}


def test_only_the_embedded_model_is_shown_an_example_and_opened_unasked():
    config = TrainConfig()
    form = "reasoning_answer"
    assert (config.shots_for("embedded"), config.prefill_for("embedded", form)) == (1, "<reasoning>\n")
    assert (config.shots_for("gpt-4o"), config.prefill_for("gpt-4o", form)) == (0, "")
    assert config.prefill_for("embedded", None) == "", "a task without a form is not opened like one that has it"
    asked = TrainConfig(num_shots=2, prefill="")
    assert (asked.shots_for("embedded"), asked.prefill_for("embedded", form)) == (2, "")
    assert TrainConfig(prefill="So").prefill_for("gpt-4o", None) == "So"
    assert asked.shots_for("gpt-4o") == 2


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_the_projects_own_files_are_read(path):
    config = read("--config", str(path))
    for name, value in yaml.safe_load(path.read_text()).items():
        assert str(getattr(config, name)) == str(value) or getattr(config, name) == float(value)


def test_main_help_names_every_flag_without_loading_anything_heavy():
    script = """
import runpy, sys
sys.argv = ["main.py", "--help"]
try:
    runpy.run_path("main.py", run_name="__main__")
finally:
    heavy = {"torch", "transformers", "numpy", "matplotlib", "openai", "anthropic", "peft", "rich"}
    print("loaded:", sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr == "loaded: []\n"
    assert done.stdout.startswith("usage: main.py")
    assert all(f"--{f.name}" in done.stdout for f in fields(TrainConfig))
