"""The quickstart's own command, made tiny: the real packaged model in all roles."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from softgrpo.cli import run
from softgrpo.files import read_lines
from softgrpo.models import loading
from softgrpo.models.names import parse

DEMO = Path(__file__).parents[1] / "configs" / "demo.yaml"


def test_the_quickstart_in_small(embedded_model, tmp_path, capsys):
    folder = tmp_path / "run"
    small = (
        "--num_train_iters 2 --prompts_per_step 1 --num_chains 4 --max_completion_length 40 --eval_prompts 2 "
        "--eval_iterations 2 --learning_rate 1e-4"
    )
    before = {name: p.clone() for name, p in embedded_model.module.named_parameters()}
    assert run("train", ["--config", str(DEMO), "--output_dir", str(folder), *small.split()]) == 0
    metrics = read_lines(folder / "metrics.jsonl")
    assert len(metrics) == 2
    assert all(0 < m["peak_rss"] < 8 * 2**30 for m in metrics)
    assert all(m["n_unjudged"] == 0 for m in metrics)
    line = read_lines(folder / "groups" / "step_000001.jsonl")[0]
    assert all(c["text"].startswith("<reasoning>\n") for c in line["completions"])
    evaluation = json.loads((folder / "evaluations" / "step_000002.embedded.json").read_text())
    assert evaluation["n_prompts"] == 2
    assert evaluation["n_subjects"] == 1, "both sides of a motion are one unit"
    assert evaluation["sentinel"] == "embedded:sentinel", "it looks on unasked"
    assert 0 <= evaluation["sentinel_win_rate"] <= 1
    assert (folder / "evaluations" / "step_000002.embedded_sentinel.json").exists()
    assert all(torch.equal(p, before[n]) for n, p in embedded_model.module.named_parameters())
    assert "win rate" in capsys.readouterr().out


def test_a_gguf_file_is_a_model_name():
    gguf = loading._embedded_gguf()
    assert loading.locate(parse(str(gguf))) == loading.locate(parse("embedded"))
    assert loading.locate(parse(str(gguf.parent))) == loading.locate(parse("embedded"))


def test_the_embedded_model_keeps_the_form_with_an_example_and_an_opening(embedded_model):
    from softgrpo.records import Sampling
    from softgrpo.rewards.format import strict_format
    from softgrpo.tasks import load_task

    task = load_task("debate")
    shots = [[task.prompt(q, num_shots=n).messages for q in task.train[:8]] for n in (1, 0)]
    sampling = Sampling(temperature=0.7, max_tokens=80, prefill="<reasoning>\n")
    formed = [sum(strict_format(row[0].text) for row in embedded_model.generate(chats, sampling)) for chats in shots]
    assert formed[0] >= 4 > formed[1]


def test_the_packaged_model_goes_every_fast_way(embedded_model):
    """In the precision it has here: rounding in bfloat16 must not be taken for another architecture."""
    import copy

    from softgrpo.models.local.capabilities import Capabilities, measured

    every = Capabilities(tree_attention=True, tree_mask=True, plain_head=True)
    for module in (embedded_model.module, copy.deepcopy(embedded_model.module).bfloat16()):
        assert measured(module) == every
