"""A run from its command line: what it leaves behind, what stops it, what it shares."""

from __future__ import annotations

import json
import resource
from dataclasses import replace

import numpy as np
import pytest

from softgrpo.cli import run
from softgrpo.commands import train
from softgrpo.config import TrainConfig
from softgrpo.engines.local import engine as engines
from softgrpo.engines.local.engine import LocalEngine
from softgrpo.errors import UserError
from softgrpo.files import read_lines
from softgrpo.model_interface import ModelPool
from softgrpo.reporting.console import Console
from softgrpo.rollout.prompts import prompts_of
from softgrpo.run_folder import whole_checkpoints
from softgrpo.tasks import Tasks, load_task
from softgrpo.training import build, checkpoint, memory
from tests.training.runs import PREFILL, flags, start


def test_a_run_leaves_everything_behind(tmp_path, tiny_folder, tiny_judge_folder, capsys):
    folder = tmp_path / "run"
    assert run("train", flags(folder, tiny_folder, tiny_judge_folder, save_total_limit=1)) == 0
    for name in (
        "config.yaml",
        "args.json",
        "environment.json",
        "metrics.jsonl",
        "groups/step_000006.jsonl",
        "evaluations/opponent.jsonl",
        "figures/win_rate.png",
        "figures/training.pdf",
        "report.html",
        "final/model.safetensors",
        "final/tokenizer.json",
    ):
        assert (folder / name).stat().st_size > 0, name
    assert [p.name for p in whole_checkpoints(folder)] == ["step-6"]
    evaluations = sorted(p.name for p in (folder / "evaluations").glob("*.json"))
    assert [name.split(".")[0] for name in evaluations] == ["step_000000", "step_000004", "step_000006"]
    figures = json.loads((folder / "evaluations" / evaluations[-1]).read_text())
    for key in (
        "win_rate low high win_rate_both_formed n_prompts n_pairs n_forfeits n_unjudged format_adherence judge opponent"
    ).split():
        assert key in figures
    card = (folder / "final" / "README.md").read_text()
    assert f"{100 * figures['win_rate']:.1f}%" in card
    assert "win rate" in capsys.readouterr().out
    assert not list(folder.rglob(".*")), "nothing half-written stays"
    saving = [m["time_save"] > 0 for m in read_lines(folder / "metrics.jsonl")]
    assert saving == [False, False, True, False, True, False], "each checkpoint once, in the record after it"


def test_final_loads_in_transformers_from_its_folder_alone(tmp_path, tiny_folder, tiny_judge_folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path / "run"
    assert run("train", flags(folder, tiny_folder, tiny_judge_folder, use_lora=True, num_train_iters=2)) == 0
    assert not (folder / "final" / "adapter_config.json").exists()
    model = AutoModelForCausalLM.from_pretrained(folder / "final")
    tokenizer = AutoTokenizer.from_pretrained(folder / "final")
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "w1"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    assert model.generate(**ids, max_new_tokens=3, do_sample=False).shape[1] > ids["input_ids"].shape[1]


def test_groups_are_the_record_from_which_rewards_follow(tmp_path, tiny_folder, tiny_judge_folder):
    folder = tmp_path / "run"
    assert run("train", flags(folder, tiny_folder, tiny_judge_folder)) == 0
    weights = TrainConfig().weights(judge_is_local=True)
    for path in (folder / "groups").iterdir():
        for line in read_lines(path):
            for completion in line["completions"]:
                parts = completion["reward_parts"]
                assert completion["reward"] == pytest.approx(sum(weights[name] * parts[name] for name in parts))
            rewards = np.array([c["reward"] for c in line["completions"]])
            if np.ptp(rewards) > 1e-9:
                expected = (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-4)
                assert np.allclose([c["advantage"] for c in line["completions"]], expected)


@pytest.mark.parametrize(
    ("options", "divided"),
    [(dict(loss="dr_grpo"), False), (dict(loss="dr_grpo", scale_advantages=True), True), (dict(loss="dapo"), True)],
    ids=str,
)
def test_dr_grpo_does_not_divide_by_the_deviation_unless_told_to(
    options, divided, tmp_path, tiny_folder, tiny_judge_folder
):
    """In the run, and when its rewards are computed again from the record."""
    folder = tmp_path / "run"
    assert run("train", flags(folder, tiny_folder, tiny_judge_folder, num_train_iters=2, **options)) == 0
    assert run("rescore", ["--run", str(folder)]) == 0
    again = [line["advantages"] for line in read_lines(folder / "rescored" / "win_share.jsonl")]
    told = 0
    for path, rescored in zip(sorted((folder / "groups").iterdir()), again, strict=True):
        completions = read_lines(path)[0]["completions"]
        rewards = np.array([c["reward"] for c in completions])
        if np.ptp(rewards) > 1e-9:
            expected = (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-4 if divided else 1)
            assert [c["advantage"] for c in completions] == pytest.approx(expected)
            assert rescored == pytest.approx(expected)
            told += 1
    assert told


def test_every_line_says_how_learner_and_sampler_differ(tmp_path, tiny_folder, tiny_judge_folder):
    """Also on iterations without an update, and the same numbers when done twice."""
    found = []
    for name in ("one", "two"):
        assert run("train", flags(tmp_path / name, tiny_folder, tiny_judge_folder, gradient_accumulation_steps=3)) == 0
        lines = read_lines(tmp_path / name / "metrics.jsonl")
        found.append([[m[k] for k in ("entropy", "mismatch_abs", "mismatch_k3", "bounded_share")] for m in lines])
    assert len(found[0]) == 6
    assert sum("loss" in m for m in lines) == 2
    assert all(-1e-9 <= x < 10 for line in found[0] for x in line)
    assert all(line[0] > 1 and line[1] < 1e-4 for line in found[0]), "nothing was learned since it was sampled"
    assert found[0] == found[1]


def test_write_errors_end_the_run_with_the_last_checkpoint_whole(tmp_path, tiny_folder, tiny_judge_folder):
    folder = tmp_path / "run"
    arguments = flags(folder, tiny_folder, tiny_judge_folder, num_train_iters=4)
    assert run("train", arguments) == 0
    size = max(p.stat().st_size for p in (folder / "checkpoints" / "step-4").iterdir())
    (folder / "finished").unlink()
    before = {p.name: p.read_bytes() for p in (folder / "checkpoints" / "step-4").iterdir()}
    limit = size // 2  # metrics and groups fit, the next checkpoint does not
    more = flags(folder, tiny_folder, tiny_judge_folder, num_train_iters=8)
    args = json.loads((folder / "args.json").read_text()) | {"num_train_iters": 8}
    (folder / "args.json").write_text(json.dumps(args))
    process = start([*more, "--resume"], preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    assert "Traceback" not in output
    assert "could not be written" in output or "File too large" in output
    assert [p.name for p in whole_checkpoints(folder)][-1] == "step-4"
    assert before == {p.name: p.read_bytes() for p in (folder / "checkpoints" / "step-4").iterdir()}
    assert run("train", [*more, "--resume"]) == 0


def test_three_non_finite_gradients_in_a_row_stop_the_run_with_sound_weights(
    tmp_path, tiny_folder, tiny_judge_folder, monkeypatch, capsys
):
    import torch

    from softgrpo.engines.local import learner

    real = learner.policy_loss

    def spoiled(*args, **options):
        terms = real(*args, **options)
        return replace(terms, loss=terms.loss * float("nan"))

    calls = iter(range(100))
    monkeypatch.setattr(learner, "policy_loss", lambda *a, **o: (spoiled if next(calls) >= 2 else real)(*a, **o))
    folder = tmp_path / "run"
    options = dict(num_train_iters=20, gradient_accumulation_steps=1, save_steps=1000, eval_iterations=1000)
    assert run("train", flags(folder, tiny_folder, tiny_judge_folder, **options)) == 1
    output = capsys.readouterr().out
    assert output.count("update skipped") == 3
    assert "in a row" in output
    state = torch.load(whole_checkpoints(folder)[-1] / engines.STATE)
    assert all(torch.isfinite(m).all() for m in state["masters"].values())
    assert read_lines(folder / "metrics.jsonl")[-1]["skipped"]


@pytest.mark.parametrize("moment", ["sampling", "learning", "second epoch", "saving", "saving again"])
def test_out_of_memory_ends_the_run_with_one_line_and_it_goes_on_with_smaller_batches(
    moment, tmp_path, tiny_folder, tiny_judge_folder, monkeypatch, capsys
):
    """What was learned is kept, but not weights that lie between the two steps of an update."""
    import torch

    from softgrpo.engines.local import learner

    places = {
        "sampling": (LocalEngine, "stream", {5}, 4),
        "learning": (learner.Learner, "_epoch", {5}, 4),
        "second epoch": (learner.Learner, "_epoch", {4}, 2),
        "saving": (checkpoint, "save", {2}, 4),
        "saving again": (checkpoint, "save", {2, 3}, 2),
    }
    owner, name, at, saved = places[moment]
    real, calls = getattr(owner, name), iter(range(1, 1000))

    def full(*args, **options):
        if next(calls) in at:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(*args, **options)

    monkeypatch.setattr(owner, name, full)
    folder = tmp_path / "run"
    options = dict(num_inner_epochs=2)
    arguments = flags(folder, tiny_folder, tiny_judge_folder, **options)
    assert run("train", arguments) == 1
    captured = capsys.readouterr()
    (line,) = (text for text in captured.out.splitlines() if text.startswith("stopped:"))
    assert "Traceback" not in captured.out + captured.err
    assert "out of memory (OutOfMemoryError: CUDA out of memory" in line
    for flag in ("--micro_batch_tokens 2048", "--gradient_checkpointing", "--use_lora", "--max_completion_length"):
        assert flag in line
    assert f"saved at step {saved}; softgrpo train --config" in line
    assert [p.name for p in whole_checkpoints(folder)][-1] == f"step-{saved}"
    monkeypatch.setattr(owner, name, real)
    assert run("train", [*arguments, "--micro_batch_tokens", "2048", "--gradient_checkpointing", "--resume"]) == 0
    whole = tmp_path / "whole"
    assert run("train", flags(whole, tiny_folder, tiny_judge_folder, **options)) == 0
    ours, theirs = (read_lines(f / "metrics.jsonl") for f in (folder, whole))
    assert [m["step"] for m in ours] == [m["step"] for m in theirs]
    assert [m["reward_mean"] for m in ours] == pytest.approx([m["reward_mean"] for m in theirs])


def test_out_of_memory_before_anything_was_learned(tmp_path, tiny_folder, tiny_judge_folder, monkeypatch, capsys):
    import torch

    monkeypatch.setattr(LocalEngine, "stream", lambda *a, **o: torch.empty(1 << 55, dtype=torch.uint8))
    assert run("train", flags(tmp_path / "run", tiny_folder, tiny_judge_folder)) == 1
    assert "nothing was learned yet; softgrpo train" in capsys.readouterr().out
    monkeypatch.setattr(ModelPool, "local", lambda *a, **o: torch.empty(1 << 55, dtype=torch.uint8))
    assert run("train", flags(tmp_path / "other", tiny_folder, tiny_judge_folder)) == 1
    assert "stopped: out of memory (RuntimeError: [enforce fail" in capsys.readouterr().out


def test_any_other_error_is_a_mistake_of_ours_and_seen_whole(tmp_path, tiny_folder, tiny_judge_folder, monkeypatch):
    def broken(*args, **options):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(LocalEngine, "stream", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        run("train", flags(tmp_path / "run", tiny_folder, tiny_judge_folder))


def test_the_same_weights_are_loaded_once(tiny_folder, tiny_judge_folder, tmp_path, monkeypatch):
    from softgrpo.models import loading

    loads = []
    real = loading.load_weights
    monkeypatch.setattr(loading, "load_weights", lambda *a, **o: loads.append(a) or real(*a, **o))
    config = TrainConfig(**_values(tmp_path / "run", tiny_folder, tiny_folder))
    pool, tasks = ModelPool(dtype=config.dtype, device=config.device), Tasks.load(config.task, config.scoring_task)
    parts = build.build(config, tasks, pool, Console(1))
    assert len(loads) == 1
    base = parts.evaluator.judge.model
    assert parts.opponent.model is base
    assert parts.engine.learner.reference.module is base.module
    assert parts.engine.policy.module is not base.module
    lora = build.build(replace(config, use_lora=True), tasks, pool, Console(1))
    shared = {id(p) for p in lora.evaluator.judge.model.module.parameters()}
    assert len(loads) == 1
    assert all(id(p) in shared for name, p in lora.engine.policy.module.named_parameters() if ".lora_" not in name)


def test_memory_says_what_is_needed_and_which_flags_help(tmp_path, tiny_folder, tiny_judge_folder, monkeypatch, capsys):
    monkeypatch.setattr(memory, "available", lambda device: 1000)
    assert run("train", flags(tmp_path / "run", tiny_folder, tiny_judge_folder)) == 2
    error = capsys.readouterr().err
    assert "needs about" in error
    assert "smaller model" in error
    assert not (tmp_path / "run").exists()


def test_remedies_are_the_mildest_that_help():
    sizes = memory.Sizes(
        parameters=1_540_000_000, layers=28, hidden=1536, inner=8960, kv=512, vocabulary=151_936
    )  # the seed's default model
    options = dict(bytes_per_weight=2, shared_base=True)
    full = sum(memory.need(sizes, TrainConfig(), **options).values())
    assert 30 * memory.GIB < full < 80 * memory.GIB
    assert memory.remedies(sizes, TrainConfig(), room=full * 0.99, **options).endswith("--micro_batch_tokens 1024")
    assert "--use_lora" in memory.remedies(sizes, TrainConfig(), room=16 * memory.GIB, **options)
    assert "smaller model" in memory.remedies(sizes, TrainConfig(), room=memory.GIB, **options)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(dataset_name="poems"), "unknown dataset 'poems'; choose from"),
        (dict(evaluator="poems"), "unknown dataset 'poems'"),
        (dict(model_name="gpt-4o"), "OPENAI_API_KEY"),
        (dict(model_name="/no/such/model"), "does not exist"),
        (dict(judge_model_name="embedded:nonsense"), "unknown judge"),
        (dict(judge_model_name="claude-haiku-4-5"), "ANTHROPIC_API_KEY"),
        (dict(max_prompt_length=20), "raise it to"),
        (dict(eval_prompts=10_000), "held-out prompts"),
        (dict(device="abacus"), "is no device"),
        (dict(device="cuda:7"), "CUDA devices"),
        (dict(use_lora=True, update_ref_model=True), "drop one of them"),
        (dict(kl_weight_beta=0.0, update_ref_model=True), "drop one of them"),
        (dict(num_chains=1), "at least 2"),
        (dict(num_chains=8, judge_calls_per_group=6), "need at least 7 matches"),
        (dict(max_staleness=1), "computes on this machine"),
    ],
)
def test_wrong_input_is_one_line_before_anything_is_loaded(
    changes, says, tmp_path, tiny_folder, tiny_judge_folder, monkeypatch, capsys
):
    from softgrpo.models import loading

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.setattr(loading, "load_weights", lambda *a, **o: pytest.fail("weights were loaded"))
    folder = tmp_path / "run"
    assert run("train", flags(folder, tiny_folder, tiny_judge_folder, **changes)) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.err.count("\n") == 1
    assert not folder.exists()


@pytest.mark.parametrize(
    "wrong", [dict(loss="ppo"), dict(rating="elo"), dict(dtype="float16"), dict(judge_orders="one")], ids=str
)
def test_a_configuration_made_in_python_is_checked_like_flags(wrong, tmp_path, tiny_folder, tiny_judge_folder):
    values = _values(tmp_path / "run", tiny_folder, tiny_judge_folder) | wrong
    with pytest.raises(UserError, match=f"--{next(iter(wrong))} .*choose from"):
        train.run(TrainConfig(**values))
    assert not (tmp_path / "run").exists()


def test_a_folder_with_another_run_is_left_alone(tmp_path, tiny_folder, tiny_judge_folder, capsys):
    folder = tmp_path / "run"
    arguments = flags(folder, tiny_folder, tiny_judge_folder, num_train_iters=2)
    assert run("train", arguments) == 0
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert run("train", arguments) == 2
    assert "holds a run" in capsys.readouterr().err
    assert run("train", [*arguments, "--resume", "--learning_rate", "1e-4"]) == 2
    assert "--learning_rate 0.003, not 0.0001" in capsys.readouterr().err
    assert before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_evaluate_reads_recorded_answers_and_sample_and_report_work(
    tmp_path, tiny_folder, tiny_judge_folder, capsys, monkeypatch
):
    folder = tmp_path / "run"
    assert run("train", flags(folder, tiny_folder, tiny_judge_folder, num_train_iters=2)) == 0
    other = ["--run", str(folder), "--judge_model_name", str(tiny_folder)]
    assert run("evaluate", other) == 0
    assert "win rate" in capsys.readouterr().out
    names = {p.name for p in (folder / "evaluations").glob("step_000002.*.json")}
    assert len(names) == 2, "one per judge"
    assert run("evaluate", [*other, "--checkpoint", "base"]) == 0
    assert run("evaluate", [*other, "--checkpoint", "step-7"]) == 2
    assert "there are: final, base, step-2" in capsys.readouterr().err
    assert run("report", ["--run", str(folder)]) == 0
    assert run("report", ["--run", str(tmp_path)]) == 2
    assert run("sample", ["--run", str(folder), "w1 w2"]) == 0
    output = capsys.readouterr().out
    assert output.count("--- trained") == 2
    assert run("sample", ["--run", str(folder)]) == 2


def _values(folder, model, judge):
    return dict(
        model_name=str(model),
        judge_model_name=str(judge),
        compare_model_name=str(model),
        output_dir=str(folder),
        prefill=PREFILL,
        max_prompt_length=200,
        max_completion_length=16,
        eval_prompts=4,
        num_train_iters=2,
        dtype="float32",
        device="cpu",
    )


def test_every_epoch_goes_through_all_training_questions_once():
    config, task = TrainConfig(prompts_per_step=2), load_task("debate")
    n = len(task.train) // 2
    seen = []
    for iteration in range(1, 2 * n + 1):
        seen += [p.id for p in prompts_of(iteration, task, config)]
    first, second = seen[: 2 * n], seen[2 * n :]
    assert sorted(first) == sorted(second) == sorted(q.id for q in task.train)
    assert first != second


def test_an_evaluator_from_a_file_brings_its_objectives_and_rewards(tmp_path, tiny_folder, tiny_judge_folder, capsys):
    """A reward that fails is told once; the completions it fails on are counted and in no loss."""
    (tmp_path / "mine.py").write_text("def odd(prompt, completion):\n    return 1 / (len(completion.text) % 2)\n")
    (tmp_path / "mine.yaml").write_text(
        "system: {reasoning: r, answer: a}\nquestion: 'On {x}.'\nprompts: {train: [a], test: [b]}\ncriteria: Better?\n"
        "objectives: [{name: wit, criteria: 'Wittier?', weight: 0.25}]\n"
        "extra_rewards: {odd: {function: 'mine.py:odd', weight: 2}}\n"
    )
    folder = tmp_path / "run"
    options = dict(evaluator=tmp_path / "mine.yaml", num_train_iters=3)
    assert run("train", flags(folder, tiny_folder, tiny_judge_folder, **options)) == 0
    assert capsys.readouterr().out.count("reward 'odd' fails (ZeroDivisionError") == 1
    weights = json.loads((folder / "task.json").read_text())["weights"]
    failed = 0
    for path in (folder / "groups").iterdir():
        for completion in read_lines(path)[0]["completions"]:
            parts = completion["reward_parts"]
            if len(completion["text"]) % 2:
                assert completion["reward"] == pytest.approx(sum(weights[name] * parts[name] for name in parts))
                assert {"answer", "wit", "odd"} <= set(parts)
                assert "reasoning" not in parts
            else:
                failed += 1
                assert (completion["reward"], parts["odd"], completion["trained"]) == (None, None, False)
    metrics = read_lines(folder / "metrics.jsonl")
    assert failed == sum(m["n_failed_rewards"] for m in metrics) == sum(m["n_left_out"] for m in metrics) > 0
    assert "wit_mean" in metrics[0]


def test_a_task_without_a_form_is_trained_evaluated_and_reported(tmp_path, tiny_folder, tiny_judge_folder, capsys):
    """Whole replies meet; nothing is said of a form that nobody asked for."""
    (tmp_path / "plain.yaml").write_text(
        "system: You write.\nformat: none\nquestion: 'On {x}.'\ncriteria: Better?\n"
        "prompts: {train: [w1], test: [w2, w3, w4, w5]}\n"
    )
    folder = tmp_path / "run"
    options = dict(dataset_name=tmp_path / "plain.yaml", prefill="", num_train_iters=2)
    assert run("train", flags(folder, tiny_folder, tiny_judge_folder, **options)) == 0
    said = capsys.readouterr().out
    assert "win rate" in said
    assert "format" not in said
    metrics = read_lines(folder / "metrics.jsonl")[-1]
    assert metrics["reward_mean"] == metrics["answer_mean"]
    assert not {"strict_format_mean", "tag_count_mean", "reasoning_mean"} & set(metrics)
    assert run("evaluate", ["--run", str(folder), "--judge_model_name", str(tiny_folder)]) == 0
    assert (folder / "report.html").exists()
    assert run("sample", ["--run", str(folder), "w1 w2"]) == 0
    said = capsys.readouterr().out
    assert "--- trained" in said
    assert "no answer section" not in said
