"""A run that is watched: what its evaluations record, what an alarm does, and what is left where it ends the run."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from softgrpo import assembly, evaluator
from softgrpo.cli import run
from softgrpo.config import TrainConfig
from softgrpo.evaluation import sentinel, watch
from softgrpo.evaluation.sentinel import Sentinel
from softgrpo.files import read_lines
from softgrpo.judges.neutral import NEUTRAL
from softgrpo.model_interface import ModelPool
from softgrpo.reporting import model_card
from softgrpo.reporting.recorder import judged_alone, read_evaluations
from softgrpo.run_folder import open_run, which_weights, whole_checkpoints
from softgrpo.tasks import Tasks, load_task
from softgrpo.training import loop
from tests.fakes.openai_server import FakeOpenAI
from tests.training.runs import flags
from tests.training.test_paid_judge import answer, judging

ALARM = "markup: 9% of the characters are <b>marks</b>, 4% were at the start"
WATCHED = dict(num_train_iters=8, eval_iterations=2, eval_prompts=4, save_steps=1000, save_total_limit=1)


@pytest.fixture
def unseen(monkeypatch):
    """Nobody looks at the figures and the page, which take longer than such a run."""
    monkeypatch.setattr(loop, "write_report", lambda folder: [])


@pytest.fixture
def planned(monkeypatch):
    """The sentinel's win rates, one for each evaluation in turn, and alarms from a step on."""

    real = Sentinel.evaluate

    def plan(rates, alarm_from=10**9):
        left = list(rates)

        def evaluate(self, *args, **options):
            found, met = real(self, *args, **options)
            return replace(found, win_rate=replace(found.win_rate, win_rate=left.pop(0))), met

        monkeypatch.setattr(Sentinel, "evaluate", evaluate)
        monkeypatch.setattr(watch, "alarms", lambda start, now, before=(): (ALARM,) if now.step >= alarm_from else ())

    return plan


def asked(folder, tiny_folder, tiny_judge_folder, **options):
    """Judged by another model than the one that learns, which looks on as it was."""
    return flags(folder, tiny_folder, tiny_judge_folder, **(WATCHED | {"sentinel_judge": tiny_folder} | options))


def records(folder):
    return judged_alone(read_evaluations(folder))


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_sentinel_looks_at_every_evaluation_and_stands_beside_the_judge(
    tmp_path, tiny_folder, tiny_judge_folder, monkeypatch, capsys
):
    """The policy's own base looks on: it is kept as it was, whatever learns."""
    for place in (evaluator, sentinel):  # nobody forfeits
        monkeypatch.setattr(place, "judged_text", lambda text, *_: f"something of {text}")
    monkeypatch.setattr(watch, "alarms", lambda start, now, before=(): ())  # of so few texts of words in any order
    folder = tmp_path / "run"
    arguments = asked(folder, tiny_folder, tiny_judge_folder, num_train_iters=4, sentinel_pairs=3, kl_weight_beta=0)
    assert run("train", arguments) == 0
    said = capsys.readouterr().out
    assert said.count(f"; the sentinel {tiny_folder} sees ") == 3
    found = records(folder)
    assert [e["step"] for e in found] == [0, 2, 4]
    files = sorted(p.name.split(".")[0] for p in (folder / "evaluations").glob("step_*.json"))
    assert files == ["step_000000"] * 2 + ["step_000002"] * 2 + ["step_000004"] * 2
    for e in found:
        assert (e["judge"], e["sentinel"]) == (str(tiny_judge_folder), str(tiny_folder))
        assert e["sentinel_low"] <= e["sentinel_win_rate"] <= e["sentinel_high"]
        assert e["mean_words_base"] == found[0]["mean_words"]
        assert e["entropy"] > 1
        assert e["alarms"] == []
    by_sentinel = [e for e in read_evaluations(folder) if e["watches"]]
    assert [e["n_pairs"] + e["n_unjudged"] for e in by_sentinel] == [3, 3, 3]
    assert [e["win_rate"] for e in by_sentinel] == [e["sentinel_win_rate"] for e in found]
    assert by_sentinel[0]["watches"] == str(tiny_judge_folder)
    card, page = (folder / "final" / "README.md").read_text(), (folder / "report.html").read_text()
    shown = f"{100 * found[-1]['sentinel_win_rate']:.1f}%"
    assert f"{tiny_folder}: {shown}" in page
    assert shown in card
    assert "mean words" in page
    assert "Alarms" not in page + card


@pytest.mark.usefixtures("unseen")
def test_no_sentinel_unless_it_is_asked_for(tmp_path, tiny_folder, tiny_judge_folder, capsys):
    folder = tmp_path / "run"
    assert run("train", flags(folder, tiny_folder, tiny_judge_folder, num_train_iters=2)) == 0
    assert len(list((folder / "evaluations").glob("step_000002.*.json"))) == 1
    assert "sentinel" not in capsys.readouterr().out
    assert "mean_words_base" in records(folder)[-1]
    assert "sentinel" not in records(folder)[-1]


def test_an_alarm_is_said_once_and_shown_everywhere(tmp_path, tiny_folder, tiny_judge_folder, planned, capsys):
    planned([0.5] * 9, alarm_from=4)
    folder = tmp_path / "run"
    assert run("train", asked(folder, tiny_folder, tiny_judge_folder)) == 0
    assert capsys.readouterr().out.count(f"alarm: {ALARM}") == 1
    found = {e["step"]: e for e in records(folder)}
    assert [len(found[step]["alarms"]) for step in (0, 2, 4, 6, 8)] == [0, 0, 1, 1, 1]
    assert [len(found[step]["new_alarms"]) for step in (0, 2, 4, 6, 8)] == [0, 0, 1, 0, 0]
    page = (folder / "report.html").read_text()
    assert "iteration 4: markup: 9% of the characters are &lt;b&gt;marks&lt;/b&gt;" in page
    card = (folder / "final" / "README.md").read_text()
    assert "- iteration 4: markup: 9% of the characters are &lt;b&gt;marks&lt;/b&gt;" in card
    assert "Trained for 8 iterations" in card


def test_stop_ends_the_run_as_if_it_had_reached_its_end(tmp_path, tiny_folder, tiny_judge_folder, planned, capsys):
    planned([0.5] * 9, alarm_from=4)
    folder = tmp_path / "run"
    arguments = asked(folder, tiny_folder, tiny_judge_folder, on_alarm="stop")
    assert run("train", arguments) == 0
    assert "an alarm has ended the run at step 4; final/ is of step 4" in capsys.readouterr().out
    assert [m["step"] for m in read_lines(folder / "metrics.jsonl")] == [1, 2, 3, 4]
    assert [p.name for p in whole_checkpoints(folder)] == ["step-4"]
    assert same(weights(folder / "final"), weights(folder / "checkpoints" / "step-4"))
    assert (folder / "report.html").exists()
    assert (folder / "figures" / "win_rate.png").exists()
    assert "Trained for 4 of 8 iterations" in (folder / "final" / "README.md").read_text()
    assert which_weights(*open_run(str(folder)), "final") == (str(folder / "final"), 4)
    assert run("train", [*arguments, "--resume"]) == 0
    assert "is finished" in capsys.readouterr().out


@pytest.mark.usefixtures("unseen")
@pytest.mark.parametrize("options", [{}, {"use_lora": True, "learning_rate": 0.02}], ids=["whole", "lora"])
@pytest.mark.parametrize(("plan", "best"), [([0.3, 0.9, 0.8, 0.99], 2), ([0.9, 0.3, 0.4, 0.99], 0)])
def test_best_goes_back_to_what_the_sentinel_thought_best_before_the_alarm(
    plan, best, options, tmp_path, tiny_folder, tiny_judge_folder, planned, capsys
):
    planned(plan, alarm_from=6)
    folder = tmp_path / "run"
    assert run("train", asked(folder, tiny_folder, tiny_judge_folder, on_alarm="best", **options)) == 0
    assert f"an alarm has ended the run at step 6; final/ is of step {best}" in capsys.readouterr().out
    found = records(folder)
    assert [e["sentinel_win_rate"] for e in found] == plan
    assert [p.name for p in whole_checkpoints(folder)] == [f"step-{best}", "step-6"], "beyond the one that is kept"
    base, final = weights(tiny_folder), weights(folder / "final")
    assert same(final, base) == (best == 0)
    if not options:
        assert same(final, weights(folder / "checkpoints" / f"step-{best}"))
    assert f"Trained for {best} of 8 iterations" in (folder / "final" / "README.md").read_text()
    assert which_weights(*open_run(str(folder)), "final")[1] == best


@pytest.mark.usefixtures("unseen")
def test_without_a_sentinel_the_judge_says_what_was_best_and_without_an_alarm_the_last_stays(
    tmp_path, tiny_folder, tiny_judge_folder, planned
):
    planned([])
    folder = tmp_path / "run"
    arguments = asked(folder, tiny_folder, tiny_judge_folder, on_alarm="best", sentinel_judge="none", num_train_iters=4)
    assert run("train", arguments) == 0
    assert same(weights(folder / "final"), weights(folder / "checkpoints" / "step-4"))
    rates = {e["step"]: e["win_rate"] for e in records(folder)}
    best = min(step for step, rate in rates.items() if rate == max(rates.values()))
    assert {p.name for p in whole_checkpoints(folder)} == {f"step-{best}", "step-4"}


@pytest.mark.usefixtures("unseen")
@pytest.mark.parametrize("moment", ["at the end", "before its checkpoint"])
def test_killed_between_the_alarm_and_the_end_it_ends_the_same(
    moment, tmp_path, tiny_folder, tiny_judge_folder, planned, monkeypatch, capsys
):
    """What was said is not said again where the evaluation stands; where it does not, it is held again."""
    folder = tmp_path / "run"
    arguments = asked(folder, tiny_folder, tiny_judge_folder, on_alarm="best")
    owner, name = (model_card, "write_final") if moment == "at the end" else (watch.Watched, "write")
    real = getattr(owner, name)

    def killed(*args):
        if moment == "at the end" or args[0].evaluation.step == 6:
            raise SystemExit("killed")
        return real(*args)

    monkeypatch.setattr(owner, name, killed)
    planned([0.3, 0.9, 0.8, 0.99], alarm_from=6)
    with pytest.raises(SystemExit):
        run("train", arguments)
    assert capsys.readouterr().out.count("alarm: ") == (moment == "at the end")
    monkeypatch.setattr(owner, name, real)
    planned([] if moment == "at the end" else [0.99], alarm_from=6)
    assert run("train", [*arguments, "--resume"]) == 0
    said = capsys.readouterr().out
    assert said.count("alarm: ") == (moment != "at the end")
    assert "an alarm has ended the run at step 6; final/ is of step 2" in said
    assert [m["step"] for m in read_lines(folder / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]
    assert same(weights(folder / "final"), weights(folder / "checkpoints" / "step-2"))


@pytest.mark.usefixtures("unseen")
def test_the_best_checkpoint_that_is_left_is_taken(tmp_path, tiny_folder, tiny_judge_folder, planned, monkeypatch):
    """As in a run that was begun before there were alarms."""
    folder = tmp_path / "run"
    arguments = asked(folder, tiny_folder, tiny_judge_folder, on_alarm="best", save_total_limit=0)
    planned([0.3, 0.9, 0.8, 0.99], alarm_from=6)
    real = model_card.write_final
    monkeypatch.setattr(model_card, "write_final", lambda *a: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):
        run("train", arguments)
    shutil.rmtree(folder / "checkpoints" / "step-2")
    monkeypatch.setattr(model_card, "write_final", real)
    assert run("train", [*arguments, "--resume"]) == 0
    assert same(weights(folder / "final"), weights(folder / "checkpoints" / "step-4"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(on_alarm="best", eval_iterations=3), "give --eval_iterations 4"),
        (dict(on_alarm="perhaps"), "choose from warn, stop, best"),
        (dict(sentinel_judge="THE JUDGE"), "is the judge itself; name another, or none"),
        (dict(sentinel_judge="embedded:nonsense"), "unknown judge 'embedded:nonsense'"),
        (dict(sentinel_judge="./nowhere"), "--sentinel_judge: model folder or file './nowhere' does not exist"),
        (dict(sentinel_judge="gpt-4o"), "--sentinel_judge: model 'gpt-4o' needs a key"),
        (dict(sentinel_judge="none", sentinel_pairs=4), "--sentinel_pairs 4: there is no sentinel"),
        (dict(sentinel_judge="embedded:sentinel", dataset_name="comedy"), "motions alone, and comedy has none"),
        (dict(sentinel_pairs=0), "--sentinel_pairs 0: must be at least 1"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_before_anything_is_loaded(
    changes, says, tmp_path, tiny_folder, tiny_judge_folder, monkeypatch, capsys
):
    from softgrpo.models import loading

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(loading, "load_weights", lambda *a, **o: pytest.fail("weights were loaded"))
    changes = {name: tiny_judge_folder if value == "THE JUDGE" else value for name, value in changes.items()}
    assert run("train", asked(tmp_path / "run", tiny_folder, tiny_judge_folder, **changes)) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_the_sentinel_by_default_knows_debates_alone_and_is_told_no_criteria(monkeypatch):
    asked = []
    monkeypatch.setattr(assembly, "load_judge", lambda name, **options: asked.append(name))
    config = TrainConfig(judge_model_name="embedded")
    found = assembly.sentinel(config, Tasks.load("debate", "debate"), ModelPool())
    assert asked == ["embedded:sentinel"]
    assert {o.criteria for o in found.task.objectives} == {NEUTRAL}
    assert assembly.sentinel(config, Tasks.load("comedy", "comedy"), ModelPool()) is None
    assert (
        assembly.sentinel(replace(config, sentinel_judge="none"), Tasks.load("debate", "debate"), ModelPool()) is None
    )
    assert asked == ["embedded:sentinel"]


@pytest.fixture
def server(monkeypatch):
    with FakeOpenAI(answer=answer) as fake:
        monkeypatch.setenv("OPENAI_API_KEY", fake.key)
        monkeypatch.setenv("OPENAI_BASE_URL", fake.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield fake


@pytest.mark.usefixtures("unseen")
def test_a_sentinel_behind_a_service_is_asked_without_criteria_and_on_the_runs_budget(
    server, tmp_path, tiny_folder, monkeypatch, capsys
):
    monkeypatch.setattr(evaluator, "judged_text", lambda text, *_: f"something of {text}")  # nobody forfeits
    folder = tmp_path / "run"
    roles = dict(judge_model_name="gpt-4o", compare_model_name=tiny_folder, sentinel_judge="gpt-4o-mini")
    options = roles | dict(num_train_iters=2, sentinel_pairs=3, canary_rate=0)
    arguments = flags(folder, tiny_folder, tiny_folder, **options)
    assert run("train", arguments) == 0
    output = capsys.readouterr().out
    assert "gpt-4o-mini will be asked about 12 times at most, as the sentinel" in output
    bodies = [seen.body for seen in server.replies_asked if judging(seen.body["messages"])]
    models = ("gpt-4o", "gpt-4o-mini")
    shown = {model: [b["messages"][1]["content"] for b in bodies if b["model"] == model] for model in models}
    criteria = load_task("debate").objectives[0].criteria
    assert 6 <= len(shown["gpt-4o-mini"]) <= 12
    assert shown["gpt-4o"]
    assert all(NEUTRAL in text and criteria not in text for text in shown["gpt-4o-mini"])
    assert all(criteria in text for text in shown["gpt-4o"])
    spent = json.loads((folder / "spending.json").read_text())
    assert spent["calls"] == len(server.replies_asked)
    asked_before = len(server.replies_asked)
    assert run("evaluate", ["--run", str(folder)]) == 0
    assert len(server.replies_asked) == asked_before, "the ledger knows what either has said"
    assert "as the sentinel" in capsys.readouterr().out


@pytest.mark.usefixtures("unseen")
def test_an_alarm_while_the_next_groups_are_with_the_judge(server, tmp_path, tiny_folder, planned, capsys):
    """With a staleness of one they are on their way when the run ends."""
    planned([0.5] * 9, alarm_from=2)
    folder = tmp_path / "run"
    roles = dict(judge_model_name="gpt-4o", compare_model_name=tiny_folder, sentinel_judge=tiny_folder)
    options = WATCHED | roles | dict(on_alarm="stop", max_staleness=1)
    assert run("train", flags(folder, tiny_folder, tiny_folder, **options)) == 0
    assert "an alarm has ended the run at step 2" in capsys.readouterr().out
    assert [m["step"] for m in read_lines(folder / "metrics.jsonl")] == [1, 2]
    assert (folder / "finished").exists()


@pytest.mark.usefixtures("unseen")
def test_another_checkpoint_is_compared_with_the_runs_start(tmp_path, tiny_folder, tiny_judge_folder, capsys):
    folder = tmp_path / "run"
    assert run("train", asked(folder, tiny_folder, tiny_judge_folder, num_train_iters=4, save_steps=2)) == 0
    start = records(folder)[0]
    for path in (folder / "evaluations").glob("step_000004.*"):
        path.unlink()
    capsys.readouterr()
    assert run("evaluate", ["--run", str(folder), "--checkpoint", "step-4"]) == 0
    assert f"the sentinel {tiny_folder} sees" in capsys.readouterr().out
    found = {e["step"]: e for e in records(folder)}[4]
    assert found["model"] == "step-4"
    assert found["mean_words_base"] == start["mean_words"]
    assert found["sentinel_win_rate"] is not None
    assert found["entropy"] > 1
    assert run("evaluate", ["--run", str(folder), "--checkpoint", "step-4"]) == 0
    again = {e["step"]: e for e in records(folder)}[4]
    assert again["entropy"] == pytest.approx(found["entropy"]), "from the record too"
    aside = tmp_path / "aside"
    other = ["--run", str(folder), "--judge_model_name", str(tiny_folder), "--output_dir", str(aside)]
    assert run("evaluate", other) == 0
    (path,) = aside.glob("step_*.json")
    beside = json.loads(path.read_text())
    assert "sentinel" not in beside, "another judge is asked alone"
    assert beside["mean_words_base"] == start["mean_words"]
    assert run("evaluate", [*other, "--sentinel_judge", str(tiny_judge_folder)]) == 0
    assert len(list(aside.glob("step_*.json"))) == 2
    assert run("evaluate", [*other, "--sentinel_judge", str(tiny_folder)]) == 2
    assert "is the judge itself" in capsys.readouterr().err
