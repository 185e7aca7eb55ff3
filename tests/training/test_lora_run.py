"""An adapter's run: killed and gone on from, judged by its own base; and what it leaves is read again as a model."""

from __future__ import annotations

import random
import sqlite3
import time

import pytest

from softgrpo.cli import run
from softgrpo.files import read_lines
from softgrpo.model_interface import load_local
from softgrpo.run_folder import whole_checkpoints
from softgrpo.spending.ledger import SqliteLedger
from tests.training.runs import PREFILL, flags, start, steady

LORA = dict(use_lora=True, num_train_iters=14, learning_rate=0.02, save_total_limit=0)


def judgements(folder):
    """The keys of all judgements of a run."""
    with sqlite3.connect(folder / "verdicts.sqlite") as file:
        return {key for (key,) in file.execute("SELECT key FROM judgements")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_folder):
    """A run without interruption whose judge, opponent and reference are the policy's own base."""
    folder = tmp_path_factory.mktemp("lora") / "run"
    process = start(flags(folder, tiny_folder, tiny_folder, **LORA))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return folder


def test_the_adapter_learns_something(whole, tiny_folder):
    metrics = read_lines(whole / "metrics.jsonl")
    assert sum(1 for m in metrics if m.get("grad_norm")) >= 5
    assert any(m.get("kl", 0) > 1e-4 for m in metrics)


def test_killed_at_random_moments_it_asks_and_learns_the_same(whole, tmp_path, tiny_folder):
    seed = time.time_ns()
    rng = random.Random(seed)
    folder = tmp_path / "run"
    arguments = [*flags(folder, tiny_folder, tiny_folder, **LORA), "--resume"]
    waits = []
    while len(waits) < 3:
        process = start(arguments)
        while "memory:" not in process.stdout.readline():
            assert process.poll() is None
        waits.append(round(rng.uniform(0.3, 3.0), 3))
        time.sleep(waits[-1])
        process.kill()
        process.communicate()
        if (folder / "finished").exists():
            break
    output, _ = (process := start(arguments)).communicate(timeout=120)
    assert process.returncode == 0, (seed, waits, output)
    assert steady(folder) == steady(whole), (seed, waits)
    assert judgements(folder) == judgements(whole), (seed, waits)


def test_gone_on_from_a_checkpoint_every_judgement_is_known(whole, tmp_path, tiny_folder):
    """With the ledger of the whole run at hand, nothing is left to be judged."""
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    (folder / "finished").unlink()
    shutil.rmtree(folder / "final")
    for path in whole_checkpoints(folder):
        if int(path.name.removeprefix("step-")) > 4:
            shutil.rmtree(path)
    assert run("train", [*flags(folder, tiny_folder, tiny_folder, **LORA), "--resume"]) == 0
    with SqliteLedger(folder / "verdicts.sqlite") as ledger, SqliteLedger(whole / "verdicts.sqlite") as before:
        assert ledger.spent() == before.spent()
    assert steady(folder) == steady(whole)


def test_every_folder_of_the_run_is_a_model(whole, tmp_path, tiny_folder, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no relative path may be needed
    step = whole_checkpoints(whole)[0]
    assert run("evaluate", ["--run", str(whole), "--checkpoint", step.name, "--device", "cpu"]) == 0
    assert run("sample", ["--run", str(whole), "--checkpoint", step.name, "--topic", "w1 w2"]) == 0
    assert "--- trained" in capsys.readouterr().out
    common = ["--compare_model_name", str(tiny_folder), "--eval_prompts", "2", "--max_completion_length", "8"]
    common += ["--prefill", PREFILL, "--dtype", "float32"]
    for folder in (step, whole / "final", whole):
        words = ["--model_name", str(folder), "--judge_model_name", str(folder), *common]
        assert run("evaluate", [*words, "--output_dir", str(tmp_path / "results")]) == 0, folder
    again = tmp_path / "again"
    asked = flags(again, step, step, num_train_iters=2, eval_iterations=2, compare_model_name=whole / "final")
    assert run("train", asked) == 0
    assert run("train", flags(tmp_path / "third", again, tiny_folder, num_train_iters=2, use_lora=True)) == 0


def test_the_last_checkpoint_is_the_final_model(whole):
    last = whole_checkpoints(whole)[-1]
    assert last.name == "step-14"
    read, final = (load_local(str(f), dtype="float32", device="cpu").module for f in (last, whole / "final"))
    for (name, one), (_, other) in zip(read.named_parameters(), final.named_parameters(), strict=True):
        assert one.equal(other), name
