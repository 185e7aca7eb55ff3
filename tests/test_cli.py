"""Wrong input: one line that names the value and the remedy, before a model is loaded, and nothing left behind."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

import softgrpo
from softgrpo import assembly, files
from softgrpo.cli import COMMANDS, main, run
from softgrpo.commands import audit, sample, train
from softgrpo.config import TrainConfig
from softgrpo.model_interface import ModelPool
from softgrpo.training import build

ROOT = Path(__file__).parents[1]
LOCAL = "--model_name embedded --judge_model_name embedded --compare_model_name embedded".split()


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """An empty folder, no keys, and no way to load a model."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)

    def loaded(*_, **__):
        raise AssertionError("got as far as loading a model")

    monkeypatch.setattr(build, "build", loaded)
    for name in ("get", "local"):
        monkeypatch.setattr(ModelPool, name, loaded)
    for module in (assembly, audit):
        monkeypatch.setattr(module, "load_judge", loaded)
    monkeypatch.setattr(ModelPool, "check", lambda self, name: [])
    return tmp_path


def refused(capsys, command, *argv, status=2):
    """The one line on stderr of a command that was refused."""
    assert run(command, argv) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("softgrpo: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1, err
    return err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        pytest.param("--learning_rat 1", ["--learning_rat"], id="unknown flag"),
        pytest.param("--num_chains 1", ["--num_chains 1", "at least 2"], id="a group of one"),
        pytest.param("--num_chains two", ["--num_chains", "'two'"], id="a number in words"),
        pytest.param("--learning_rate nan", ["--learning_rate nan"], id="no number"),
        pytest.param("--loss ppo", ["--loss ppo", "grpo, dr_grpo, dapo, gspo"], id="unknown loss"),
        pytest.param("--dataset_name poems", ["unknown dataset 'poems'", "debate"], id="unknown dataset"),
        pytest.param("--dataset_name poems.yaml", ["poems.yaml", "no such file"], id="no such task file"),
        pytest.param("--dataset_name poems.py", ["poems.py", "no such file"], id="no such task in code"),
        pytest.param("--evaluator poems.yaml", ["poems.yaml", "no such file"], id="no such evaluator file"),
        pytest.param("--evaluator poems", ["'poems'", "debate"], id="unknown evaluator"),
        pytest.param("--model_name ./nowhere", ["--model_name", "'./nowhere'", "does not exist"], id="no such folder"),
        pytest.param("--judge_model_name /no/where", ["--judge_model_name", "'/no/where'"], id="no such judge"),
        pytest.param("--compare_model_name x.gguf", ["--compare_model_name", "'x.gguf'"], id="no such file"),
        pytest.param("--model_name gpt-4o-mini", ["--model_name"], id="an API model cannot be trained"),
        pytest.param("--judge_model_name embedded:oracle", ["embedded:oracle", "likelihood"], id="unknown part"),
        pytest.param("--judge_model_name nobody:x", ["'nobody'", "openai"], id="unknown provider"),
        pytest.param("--judge_model_name=", ["name is empty"], id="no name"),
        pytest.param("--eval_prompts 100000", ["--eval_prompts 100000"], id="more prompts than there are"),
        pytest.param("--update_ref_model --use_lora", ["--update_ref_model", "--use_lora"], id="mixing with LoRA"),
        pytest.param("--update_ref_model --kl_weight_beta 0", ["--kl_weight_beta 0"], id="mixing without a reference"),
        pytest.param("--config nowhere.yaml", ["nowhere.yaml"], id="no such configuration"),
    ],
)
def test_a_run_is_refused_before_anything_is_loaded(capsys, nowhere, argv, words):
    err = refused(capsys, "train", *LOCAL, *argv.split())
    for word in words:
        assert word in err
    assert list(nowhere.iterdir()) == []


@pytest.mark.parametrize(
    ("flag", "model", "variable"),
    [
        ("--judge_model_name", "gpt-4o", "OPENAI_API_KEY"),
        ("--judge_model_name", "claude-haiku-4-5", "ANTHROPIC_API_KEY"),
        ("--compare_model_name", "gpt-4o-mini", "OPENAI_API_KEY"),
        ("--judge_model_name", "groq:llama-4", "GROQ_API_KEY"),
    ],
)
def test_a_paid_model_without_its_key_names_the_variable(capsys, nowhere, monkeypatch, flag, model, variable):
    monkeypatch.delenv(variable, raising=False)
    err = refused(capsys, "train", *LOCAL, flag, model)
    assert flag in err
    assert f"'{model}'" in err
    assert variable in err
    assert list(nowhere.iterdir()) == []


def test_a_key_is_never_printed(capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    refused(capsys, "train", *LOCAL, "--judge_model_name", "gpt-4o", "--dataset_name", "poems")
    with pytest.raises(AssertionError, match="as far as loading"):
        run("train", [*LOCAL, "--judge_model_name", "gpt-4o"])
    out, err = capsys.readouterr()
    assert "sk-secret" not in out + err


def test_a_folder_that_holds_another_run_is_not_touched(capsys, nowhere):
    files.write_json(nowhere / "output" / "args.json", asdict(TrainConfig()))
    before = (nowhere / "output" / "args.json").read_bytes()
    assert "--resume" in refused(capsys, "train", *LOCAL)
    err = refused(capsys, "train", *LOCAL, "--resume")
    assert "--model_name Qwen/Qwen2.5-1.5B-Instruct, not embedded" in err
    assert [p.name for p in (nowhere / "output").iterdir()] == ["args.json"]
    assert (nowhere / "output" / "args.json").read_bytes() == before


def test_an_output_folder_that_is_a_file_is_refused_before_a_model_is_loaded(capsys, nowhere):
    (nowhere / "taken").write_text("mine")
    err = refused(capsys, "train", *LOCAL, "--output_dir", "taken")
    assert "--output_dir taken" in err
    assert (nowhere / "taken").read_text() == "mine"


def test_a_finished_run_says_so(capsys, nowhere):
    config = TrainConfig(model_name="embedded", judge_model_name="embedded", compare_model_name="embedded")
    files.write_json(nowhere / "output" / "args.json", asdict(config))
    for name in ("finished", "final/config.json"):
        files.write_text(nowhere / "output" / name, "")
    assert run("train", [*LOCAL, "--resume"]) == 0
    assert "is finished" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["report", "evaluate", "sample"])
def test_commands_on_a_run_need_a_run(capsys, nowhere, command):
    topic = ["a topic"] if command == "sample" else []
    err = refused(capsys, command, "--run", "nowhere", *topic)
    assert "--run nowhere" in err
    assert list(nowhere.iterdir()) == []


def test_sample_needs_a_topic_and_evaluate_a_checkpoint_that_is_there(capsys, nowhere):
    config = TrainConfig(model_name="embedded", judge_model_name="embedded", compare_model_name="embedded")
    files.write_json(nowhere / "output" / "args.json", asdict(config))
    assert "needs a topic" in refused(capsys, "sample", "--run", "output")
    assert "no final model" in refused(capsys, "evaluate", "--run", "output")
    err = refused(capsys, "evaluate", "--run", "output", "--checkpoint", "step-7")
    assert "--checkpoint step-7" in err
    assert "base" in err
    assert "OPENAI_API_KEY" in refused(capsys, "evaluate", "--judge_model_name", "gpt-4o")
    assert "--eval_prompts 0" in refused(capsys, "evaluate", "--eval_prompts", "0")
    assert [p.name for p in (nowhere / "output").iterdir()] == ["args.json"]


def test_evaluate_refuses_more_prompts_than_there_are(capsys, nowhere):
    config = TrainConfig(model_name="embedded", judge_model_name="embedded", compare_model_name="embedded")
    files.write_json(nowhere / "output" / "args.json", asdict(config))
    err = refused(capsys, "evaluate", "--checkpoint", "base", "--eval_prompts", "100000")
    assert "--eval_prompts 100000" in err


@pytest.mark.parametrize(
    "argv",
    [
        ["Cities should ban cars"],
        ["--run", "r", "Cities should ban cars"],
        ["--run=r", "Cities should ban cars"],
        ["--run", "r", "--topic", "Cities should ban cars"],
        ["--topic=Cities should ban cars", "--run", "r"],
    ],
    ids=" ".join,
)
def test_the_topic_of_a_sample_may_stand_alone(monkeypatch, argv):
    asked = []
    monkeypatch.setattr(sample, "run", lambda config: asked.append(config) or 0)
    assert run("sample", argv) == 0
    assert [c.topic for c in asked] == ["Cities should ban cars"]
    assert [c.run for c in asked] == ["output" if len(argv) == 1 else "r"]


def test_print_config_shows_what_results_and_does_nothing(capsys, nowhere):
    (nowhere / "c.yaml").write_text("learning_rate: 1e-6\nnum_chains: 4\n")
    assert run("train", ["--config", "c.yaml", "--num_chains", "8", "--print_config"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["learning_rate"], shown["num_chains"], shown["seed"]) == (1e-6, 8, 7111994)
    assert [p.name for p in nowhere.iterdir()] == ["c.yaml"]


def test_an_unknown_command_is_named_with_the_choices(capsys):
    assert main(["trian"]) == 2
    err = capsys.readouterr().err
    assert "'trian'" in err
    assert all(command in err for command in COMMANDS)
    assert err.count("\n") == 1


def test_usage(capsys):
    assert main([]) == 2
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {command}" in out for command in COMMANDS)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"softgrpo {softgrpo.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"usage: softgrpo {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [(OSError(28, "No space left on device"), 1, "No space left"), (KeyboardInterrupt(), 130, "interrupted")],
)
def test_write_errors_and_interrupts_end_in_one_line(capsys, monkeypatch, error, status, words):
    def fails(config):
        raise error

    monkeypatch.setattr(train, "run", fails)
    assert words in refused(capsys, "train", *LOCAL, status=status)


def test_main_py_from_another_folder_ends_with_status_2_and_one_line(nowhere):
    done = subprocess.run(
        [sys.executable, ROOT / "main.py", "--num_chains", "1"], capture_output=True, text=True, timeout=60, cwd=nowhere
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "softgrpo: --num_chains 1: must be at least 2\n"
    assert list(nowhere.iterdir()) == []
