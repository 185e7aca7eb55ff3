"""A run killed at any moment and resumed is the run that was never killed."""

from __future__ import annotations

import random
import signal
import time

import pytest

from softgrpo.cli import run
from softgrpo.files import read_lines
from softgrpo.reporting.recorder import Recorder
from softgrpo.run_folder import STATE, whole_checkpoints
from softgrpo.training.loop import Loop
from tests.training.runs import flags, start, steady


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_folder, tiny_judge_folder):
    """A run without interruption, in a process of its own."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    process = start(flags(folder, tiny_folder, tiny_judge_folder, num_train_iters=14))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return folder


def test_the_run_learns_something(whole):
    """Otherwise equal weights would show nothing."""
    metrics = read_lines(whole / "metrics.jsonl")
    assert [m["step"] for m in metrics] == list(range(1, 15))
    assert sum(1 for m in metrics if m.get("grad_norm")) >= 5
    assert sum(m["n_flat_groups"] == 0 for m in metrics) >= 7
    assert any(v["how"] == "log_odds" for p in (whole / "groups").iterdir() for v in read_lines(p)[0]["verdicts"])


def test_sigkill_at_random_moments(whole, tmp_path, tiny_folder, tiny_judge_folder):
    rng = random.Random(time.time_ns())
    folder = tmp_path / "run"
    arguments = [*flags(folder, tiny_folder, tiny_judge_folder, num_train_iters=14), "--resume"]
    waits = []
    while len(waits) < 4:
        process = start(arguments)
        while "memory:" not in process.stdout.readline():
            assert process.poll() is None
        waits.append(round(rng.uniform(0.2, 2.5), 3))
        time.sleep(waits[-1])
        process.kill()
        process.communicate()
        if (folder / "finished").exists():
            break
    output, _ = (process := start(arguments)).communicate(timeout=120)
    assert process.returncode == 0, (waits, output)
    assert steady(folder) == steady(whole), waits


def test_ctrl_c_saves_and_says_how_to_go_on(whole, tmp_path, tiny_folder, tiny_judge_folder):
    folder = tmp_path / "run"
    arguments = flags(folder, tiny_folder, tiny_judge_folder, num_train_iters=14, save_steps=1000)
    process = start(arguments)
    while not (line := process.stdout.readline()).startswith("step 5/"):
        assert line or process.poll() is None
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume goes on" in output
    assert whole_checkpoints(folder)
    assert "holds a run with --save_steps 1000" in start([*arguments, "--save_steps", "2", "--resume"]).communicate()[0]
    process = start([*arguments, "--resume"])
    output, _ = process.communicate(timeout=120)
    assert "resumed at step" in output
    assert steady(folder) == steady(whole)


@pytest.mark.parametrize("moment", ["_evaluate", "record", "save"])
def test_an_interrupt_between_update_and_save_loses_nothing(
    moment, whole, tmp_path, tiny_folder, tiny_judge_folder, monkeypatch, capsys
):
    """Ctrl-C while step 8, which has an update, is evaluated, recorded or saved: on resume all of it is there."""
    folder = tmp_path / "run"
    arguments = flags(folder, tiny_folder, tiny_judge_folder, num_train_iters=14)
    real = getattr(Loop, moment)

    def interrupted(self):
        if self.state.iteration == 8 and not done:
            done.append(moment)
            raise KeyboardInterrupt
        return real(self)

    done: list[str] = []
    monkeypatch.setattr(Loop, moment, interrupted)
    assert run("train", arguments) == 130
    assert "saved at step 8" in capsys.readouterr().out
    assert run("train", [*arguments, "--resume"]) == 0
    assert done
    assert steady(folder) == steady(whole)


def test_lora_with_dropout_resumes_too(tmp_path, tiny_folder, tiny_judge_folder):
    """Adapter and dropout: in one process, stopped at a checkpoint and gone on from it."""
    options = dict(use_lora=True, lora_dropout=0.1, num_train_iters=8, save_total_limit=0)
    one, two = tmp_path / "one", tmp_path / "two"
    assert run("train", flags(one, tiny_folder, tiny_judge_folder, **options)) == 0
    assert run("train", flags(two, tiny_folder, tiny_judge_folder, **options)) == 0
    _back_to(two, 4)
    assert run("train", [*flags(two, tiny_folder, tiny_judge_folder, **options), "--resume"]) == 0
    assert steady(one) == steady(two)


def test_the_mixed_reference_resumes_too(tmp_path, tiny_folder, tiny_judge_folder):
    options = dict(update_ref_model=True, update_ref_model_freq=1, ref_model_mixup_alpha=0.5, save_total_limit=0)
    one, two = tmp_path / "one", tmp_path / "two"
    assert run("train", flags(one, tiny_folder, tiny_judge_folder, **options)) == 0
    assert run("train", flags(two, tiny_folder, tiny_judge_folder, **options)) == 0
    _back_to(two, 4)
    assert run("train", [*flags(two, tiny_folder, tiny_judge_folder, **options), "--resume"]) == 0
    assert steady(one) == steady(two)
    plain = tmp_path / "plain"
    assert run("train", flags(plain, tiny_folder, tiny_judge_folder)) == 0
    assert steady(plain)["weights"] != steady(one)["weights"]


def test_a_finished_run_says_so(whole, capsys, tiny_folder, tiny_judge_folder):
    before = steady(whole)
    arguments = [*flags(whole, tiny_folder, tiny_judge_folder, num_train_iters=14), "--resume"]
    assert run("train", arguments) == 0
    assert "is finished" in capsys.readouterr().out
    assert steady(whole) == before


def test_a_checkpoint_that_was_damaged_is_named(tmp_path, capsys, tiny_folder, tiny_judge_folder):
    folder = tmp_path / "run"
    assert run("train", flags(folder, tiny_folder, tiny_judge_folder)) == 0
    _back_to(folder, 6)
    state = folder / "checkpoints" / "step-6" / STATE
    state.write_bytes(state.read_bytes()[:1000])
    assert run("train", [*flags(folder, tiny_folder, tiny_judge_folder), "--resume"]) == 2
    assert "step-6 cannot be read" in capsys.readouterr().err


def _back_to(folder, step):
    """As if the process had been killed after that checkpoint."""
    import shutil

    (folder / "finished").unlink()
    shutil.rmtree(folder / "final")
    for path in whole_checkpoints(folder):
        if int(path.name.removeprefix("step-")) > step:
            shutil.rmtree(path)


def test_two_processes_do_not_write_one_run(tmp_path, capsys, tiny_folder, tiny_judge_folder):
    """A run that is gone on with while it is still going would be spoilt, and its budget spent twice."""
    folder = tmp_path / "run"
    arguments = flags(folder, tiny_folder, tiny_judge_folder, num_train_iters=200)
    process = start(arguments)
    while not (line := process.stdout.readline()).startswith("step 2/"):
        assert line or process.poll() is None
    assert run("train", [*arguments, "--resume"]) == 2
    assert f"another process works on the run in {folder}" in capsys.readouterr().err
    process.kill()
    process.communicate()
    (after := Recorder(folder)).hold()  # a kill lets the folder go
    after.release()
