"""A run's folder: what is written down, what a resumed run must share, and what it forgets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from softgrpo import files
from softgrpo.config import TrainConfig
from softgrpo.errors import UserError
from softgrpo.flags import parse, parser_for
from softgrpo.reporting.recorder import MAY_DIFFER, Recorder, environment, peak_rss, processor

CONFIG = TrainConfig(model_name="embedded", learning_rate=3e-6)


@pytest.fixture
def recorder(tmp_path):
    recorder = Recorder(tmp_path / "run")
    recorder.start(CONFIG)
    return recorder


def test_a_run_begins_with_what_was_asked_and_by_which_versions(recorder):
    asked = json.loads((recorder.folder / "args.json").read_text())
    assert TrainConfig(**asked) == CONFIG
    config = str(recorder.folder / "config.yaml")
    assert parse(TrainConfig, parser_for(TrainConfig, "p", ""), ["--config", config])[0] == CONFIG
    made_with = json.loads((recorder.folder / "environment.json").read_text())
    assert made_with["packages"]["torch"].startswith("2.")


def test_the_environment_names_no_user_host_or_path():
    found = environment()
    assert set(found) == {"python", "packages", "processor", "cpu_count", "threads", "cuda"}
    assert str(Path.cwd()) not in json.dumps(found)
    assert processor() == found["processor"]
    assert peak_rss() > 1 << 20


def test_a_folder_without_a_run(tmp_path):
    recorder = Recorder(tmp_path)
    assert not recorder.exists()
    assert not recorder.finished()


def test_a_run_is_finished_when_it_has_ended_and_its_model_is_there(recorder):
    assert recorder.exists()
    recorder.finish()
    assert not recorder.finished(), "no final model"
    files.write_text(recorder.folder / "final" / "config.json", "{}")
    assert recorder.finished()


def test_a_resumed_run_must_be_the_one_that_was_begun(recorder):
    recorder.check_same(CONFIG)
    with pytest.raises(UserError, match=r"--learning_rate 3e-06, not 0.1.*another --output_dir"):
        recorder.check_same(replace(CONFIG, learning_rate=0.1))
    with pytest.raises(UserError, match="--num_chains 16, not 8"):
        recorder.check_same(replace(CONFIG, num_chains=8))


@pytest.mark.parametrize(
    ("loss", "recorded", "same"),
    [("grpo", True, True), ("grpo", False, False), ("dr_grpo", True, False), ("dr_grpo", False, True)],
)
def test_a_run_begun_when_advantages_were_divided_by_default_goes_on_if_they_still_are(recorder, loss, recorded, same):
    """What counts is what is in force: a flag that is left open is no other run than the same thing said."""
    config = replace(CONFIG, loss=loss)
    recorder.start(config)
    args = json.loads((recorder.folder / "args.json").read_text())
    (recorder.folder / "args.json").write_text(json.dumps(args | {"scale_advantages": recorded}))
    if same:
        recorder.check_same(config)
    else:
        with pytest.raises(UserError, match=f"--scale_advantages {recorded}, not {not recorded}"):
            recorder.check_same(config)
    recorder.check_same(replace(config, scale_advantages=recorded))


def test_a_flag_that_came_later_is_no_difference(recorder):
    args = json.loads((recorder.folder / "args.json").read_text())
    del args["clip_dual"]
    (recorder.folder / "args.json").write_text(json.dumps(args | {"a_flag_of_old": 1}))
    recorder.check_same(CONFIG)


def test_what_does_not_touch_the_weights_may_differ(recorder):
    recorder.check_same(replace(CONFIG, resume=True, verbose=True, output_dir="elsewhere", save_total_limit=7))
    assert {"resume", "verbose", "output_dir"} <= MAY_DIFFER


def test_steps_and_groups_are_appended_and_what_lies_after_a_checkpoint_is_forgotten(recorder):
    for step in (1, 2, 3, 4):
        recorder.groups(step, [{"prompt_id": f"p{step}"}])
        recorder.step({"step": step, "reward_mean": float("nan")})
    for step in (0, 2, 4):
        files.write_json(recorder.folder / "evaluations" / f"step_{step:06d}.judge.json", {})
        files.write_lines(recorder.folder / "evaluations" / f"step_{step:06d}.judge.pairs.jsonl", [])
    files.write_lines(recorder.folder / "evaluations" / "opponent.jsonl", [{"prompt_id": "p"}])
    recorder.rewind(2)
    assert [m["step"] for m in files.read_lines(recorder.metrics)] == [1, 2]
    assert sorted(p.name for p in (recorder.folder / "groups").iterdir()) == ["step_000001.jsonl", "step_000002.jsonl"]
    assert sorted(p.name for p in (recorder.folder / "evaluations").iterdir()) == [
        "opponent.jsonl",
        "step_000000.judge.json",
        "step_000000.judge.pairs.jsonl",
        "step_000002.judge.json",
        "step_000002.judge.pairs.jsonl",
    ]
    recorder.step({"step": 3})
    assert [m["step"] for m in files.read_lines(recorder.metrics)] == [1, 2, 3]


def test_a_run_that_starts_over_forgets_all_but_the_opponents_texts(recorder):
    recorder.step({"step": 1})
    files.write_json(recorder.folder / "evaluations" / "step_000000.judge.json", {})
    files.write_lines(recorder.folder / "evaluations" / "opponent.jsonl", [{}])
    recorder.rewind(-1)
    assert files.read_lines(recorder.metrics) == []
    assert [p.name for p in (recorder.folder / "evaluations").iterdir()] == ["opponent.jsonl"]


def test_a_line_cut_off_by_a_crash_does_not_spoil_the_next(recorder):
    recorder.step({"step": 1})
    with open(recorder.metrics, "a") as file:
        file.write('{"step": 2, "rew')
    recorder.rewind(1)
    recorder.step({"step": 2})
    assert [m["step"] for m in files.read_lines(recorder.metrics)] == [1, 2]


def test_the_recorded_configuration_is_yaml_for_people(recorder):
    written = yaml.safe_load((recorder.folder / "config.yaml").read_text())
    assert list(written)[:3] == ["model_name", "judge_model_name", "compare_model_name"]
