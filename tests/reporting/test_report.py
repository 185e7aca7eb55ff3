"""Figures and one page from what was recorded, whatever a model has written."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from html.parser import HTMLParser

import pytest

from softgrpo import files
from softgrpo.config import ReportConfig, TrainConfig
from softgrpo.errors import UserError
from softgrpo.evaluation import head_to_head
from softgrpo.evaluator import Evaluator
from softgrpo.reporting.model_card import card
from softgrpo.reporting.recorder import read_evaluations
from softgrpo.reporting.report import report, samples, write_report
from tests.fakes.builders import completion, reply, task
from tests.fakes.judges import ScriptedJudge

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror="alert(1)">',
    "</div></body><svg/onload=alert(1)>",
    "{{ 7 * 7 }} {% raw %}",
    "\x1b[31mred\x1b]0;title\x07\x00",
    "lone \ud83d half",
    "&lt;b&gt; & 'quotes'",
    "\u202egnp.exe",
]


class Tags(HTMLParser):
    """The elements of a page, their attributes, and the text between them."""

    def __init__(self, page):
        super().__init__()
        self.names, self.attributes, self.texts = set(), set(), []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.texts.append(data)


def run_folder(folder, *, answers=(), steps=(0, 40), metrics=True, config=None):
    """A run as it is recorded: two evaluations on the same prompts, and a line of metrics."""
    folder.mkdir(exist_ok=True)
    files.write_json(folder / "args.json", asdict(config or TrainConfig()))
    environment = {"python": "3.11", "packages": {"torch": "2", "peft": None}, "processor": "<b>cpu</b>", "threads": 2}
    files.write_json(folder / "environment.json", environment)
    if metrics:
        times = dict(time_sample=2.0, time_judge=3.0, time_wait=0.5, time_step=3.0, peak_rss=1 << 30)
        times |= dict(strict_format_mean=0.5, n_forfeits=1)
        for step in (1, 2):
            files.append_line(folder / "metrics.jsonl", dict(step=step, reward_mean=0.1 * step, kl=None, **times))
    toy = task(n_subjects=max(1, -(-len(answers) // 2)))
    questions = toy.test[: len(answers)]
    judge = ScriptedJudge(lambda a, b: float(len(a) > len(b)), name="<i>judge</i>")
    for step in steps if answers else ():
        ours = [[completion(reply(f"{a} {step}"))] for a in answers]
        theirs = [[completion(reply("middling"))] for _ in answers]
        evaluator = Evaluator(toy, judge, {"answer": 1.0})
        found, met = head_to_head.evaluate(
            toy, questions, ours, theirs, evaluator=evaluator, step=step, opponent="<u>opponent</u>"
        )
        head_to_head.write(folder / "evaluations", found, met)
    return folder


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """The page of a run whose model wrote all of the above."""
    folder = run_folder(tmp_path_factory.mktemp("hostile"), answers=HOSTILE)
    written = write_report(folder)
    return folder, written, (folder / "report.html").read_text(encoding="utf-8")


def test_figures_and_page_are_written(hostile):
    folder, written, page = hostile
    assert [p.relative_to(folder).as_posix() for p in written] == [
        "figures/win_rate.png",
        "figures/training.pdf",
        "report.html",
    ]
    assert written[0].read_bytes().startswith(b"\x89PNG")
    assert written[1].read_bytes().startswith(b"%PDF")
    assert "data:image/png;base64," in page
    assert sorted(p.name for p in (folder / "figures").iterdir()) == ["training.pdf", "win_rate.png"]


def test_what_a_model_wrote_is_text_and_nothing_else(hostile):
    _, _, page = hostile
    tags = Tags(page)
    assert not tags.names & {"script", "svg", "iframe", "object", "b", "i", "u", "a"}
    assert not any(name.startswith("on") for name in tags.attributes)
    shown = "".join(tags.texts)
    for text in ("<script>alert(1)</script>", "{{ 7 * 7 }}", "&lt;b&gt; & 'quotes'", "<i>judge</i>", "<u>opponent</u>"):
        assert text in shown
    assert page.count("<img ") == 1, "only the figure"


def test_the_page_runs_nothing_and_fetches_nothing(hostile):
    _, _, page = hostile
    assert "default-src 'none'" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)


def test_the_page_tells_the_figures_of_the_last_evaluation(hostile):
    folder, _, page = hostile
    last = json.loads(next((folder / "evaluations").glob("step_000040.*judge*.json")).read_text())
    shown = "".join(Tags(page).texts)
    for value in ("win_rate", "low", "high", "win_rate_both_formed", "format_adherence"):
        assert f"{100 * last[value]:.1f}%" in shown
    assert "1.00 GiB" in shown
    assert "Sampling bounds this run: 80.0% of the time" in shown, "a judge that works meanwhile bounds nothing"


def watched(folder, *, alarms=(), name="<i>sentinel</i>|$x_1"):
    """The same run with a sentinel beside the judge, and measures; the alarms at its last evaluation."""
    for path in sorted((folder / "evaluations").glob("step_*judge*.json")):
        judged = json.loads(path.read_text(encoding="utf-8"))
        own = judged | {"judge": name, "watches": judged["judge"], "win_rate": 0.25, "n_pairs": 7}
        files.write_json(head_to_head.path_of(folder / "evaluations", judged["step"], name), own)
        files.write_lines(folder / "evaluations" / f"step_{judged['step']:06d}.i_sentinel_i_x_1.pairs.jsonl", [])
        beside = {"sentinel": name, "sentinel_win_rate": 0.25, "sentinel_low": 0.125, "sentinel_high": None}
        beside |= {"mean_words": 20.5, "mean_words_low": 18.0, "mean_words_high": None, "mean_words_base": 31.0}
        found = list(alarms) if judged["step"] else []
        files.write_json(path, judged | beside | {"alarms": found, "new_alarms": found})
    return folder


def test_the_sentinel_the_measures_and_the_alarms_are_shown_and_are_text(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn, lines = [], []
    real_plot, real_line = Axes.plot, Axes.axvline
    monkeypatch.setattr(Axes, "plot", lambda self, *a, **o: drawn.append(o.get("label")) or real_plot(self, *a, **o))
    monkeypatch.setattr(Axes, "axvline", lambda self, x, **o: lines.append((x, o["label"])) or real_line(self, x, **o))
    alarms = ["markup: <script>alert(1)</script> 9%", "$x_1: | [a](b)"]
    folder = watched(run_folder(tmp_path, answers=HOSTILE), alarms=alarms)
    write_report(folder)
    assert "against <u>opponent</u>, seen by the sentinel <i>sentinel</i>|\\$x_1" in drawn
    assert drawn.count("where both kept the form") == 1, "the judge's alone"
    assert lines == [(40, r"alarm at 40: markup, \$x_1")]
    page = (folder / "report.html").read_text(encoding="utf-8")
    shown = " ".join("".join(Tags(page).texts).split())
    assert "<i>sentinel</i>|$x_1: 25.0%, 12.5% – –" in shown
    assert shown.count("<i>judge</i>") == 2, "what the sentinel saw is no row of its own"
    assert "mean words" in shown
    assert "20.5" in shown
    for alarm in alarms:
        assert f"iteration 40: {alarm}" in shown
    assert not Tags(page).names & {"script", "i", "a"}
    text = card(folder, TrainConfig(), 40)
    assert "Trained for 40 of 1000 iterations" in text
    assert r"&lt;i&gt;sentinel&lt;/i&gt;\|$x_1: 25.0% [12.5%, -]" in text
    assert "- iteration 40: markup: &lt;script&gt;alert(1)&lt;/script&gt; 9%" in text
    assert r"- iteration 40: $x_1: \| \[a](b)" in text
    assert "<i>" not in text
    (row,) = (line for line in text.splitlines() if line.startswith("| 40 "))
    assert row.replace("\\|", "").count("|") == 10, "a name makes no cell"


def test_samples_are_the_judges_whoever_looks_on(tmp_path):
    folder = watched(run_folder(tmp_path, answers=["a", "b", "c"]), name="a sentinel")
    drawn = samples(folder, read_evaluations(folder))
    assert len(drawn) == 3
    assert {s["before"]["p_win"] for s in drawn} <= {0.0, 0.5, 1.0}


def test_a_run_of_an_earlier_softgrpo_has_its_page_and_card(tmp_path):
    """Its evaluations know of no sentinel, no measures but words, no alarms."""
    folder = run_folder(tmp_path, answers=["a", "b"])
    for path in (folder / "evaluations").glob("step_*.json"):
        old = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("watches", "model")}
        files.write_json(path, old | {"mean_words": 12.0})
    assert len(write_report(folder)) == 3
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Alarms" not in page
    assert "How the texts have changed" not in page
    assert "Trained for 1000 iterations" in card(folder, TrainConfig())


def test_samples_are_the_same_prompts_before_and_after_and_the_same_each_time(tmp_path):
    folder = run_folder(tmp_path, answers=[f"answer {i}" for i in range(24)])
    evaluations = read_evaluations(folder)
    drawn = samples(folder, evaluations)
    assert drawn == samples(folder, evaluations)
    assert len({s["question"] for s in drawn}) == 10
    for s in drawn:
        assert s["before"]["prompt_id"] == s["after"]["prompt_id"]
        assert s["before"]["ours"].replace(" 0\n", " 40\n") == s["after"]["ours"]
    assert samples(folder, evaluations, seed=1) != drawn


def test_a_run_that_has_only_begun_has_a_page(tmp_path):
    folder = run_folder(tmp_path, metrics=False)
    assert [p.name for p in write_report(folder)] == ["report.html"]


def test_a_run_of_which_nothing_was_judged_has_figures_and_a_page(tmp_path):
    folder = run_folder(tmp_path, answers=["a", "b"])
    for path in (folder / "evaluations").glob("step_*.json"):
        names = ("win_rate", "low", "high", "win_rate_both_formed", "both_formed_low", "both_formed_high")
        files.write_json(path, json.loads(path.read_text()) | dict.fromkeys(names))
    assert len(write_report(folder)) == 3


def test_a_name_with_dollar_signs_is_no_formula(tmp_path):
    folder = run_folder(tmp_path, answers=["a", "b"], metrics=False)
    for path in (folder / "evaluations").glob("step_*.json"):
        files.write_json(path, json.loads(path.read_text()) | {"opponent": r"models/$\frac{x$_1"})
    assert (folder / "figures" / "win_rate.png") in write_report(folder)


def test_metrics_cut_off_by_a_crash_are_read_up_to_there(tmp_path):
    folder = run_folder(tmp_path)
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 3, "rew')
    assert "report.html" in [p.name for p in write_report(folder)]


def test_report_says_what_it_wrote_or_that_there_is_no_run(tmp_path, capsys):
    with pytest.raises(UserError, match="holds no run"):
        report(ReportConfig(run=str(tmp_path / "none")))
    folder = run_folder(tmp_path / "run", metrics=False)
    assert report(ReportConfig(run=str(folder))) == 0
    assert capsys.readouterr().out == f"wrote {folder}/report.html\n"


def test_a_run_without_a_form_has_no_figures_of_one(tmp_path):
    """Its metrics hold no format rewards, its evaluations no share that kept a form."""
    folder = run_folder(tmp_path / "run", answers=["a", "b"])
    lines = files.read_lines(folder / "metrics.jsonl")
    files.write_lines(folder / "metrics.jsonl", [{k: v for k, v in m.items() if "format" not in k} for m in lines])
    for path in (folder / "evaluations").glob("step_*.json"):
        files.write_json(path, json.loads(path.read_text()) | {"format_adherence": None})
    assert len(write_report(folder)) == 3
    assert "<td>–</td>" in (folder / "report.html").read_text(encoding="utf-8")
    files.write_lines(folder / "metrics.jsonl", [{"step": 1, "peak_rss": 1}])
    assert len(write_report(folder)) == 3, "nothing to draw"


@pytest.mark.parametrize(
    ("recorded", "opened", "rewards"),
    [
        (None, "opened by `<reasoning>`", "`embedded`, beside format rewards."),
        ({"format": "reasoning_answer"}, "opened by `<reasoning>`", "`embedded`, beside format rewards."),
        ({"format": None}, "with nothing added", "`embedded`."),
    ],
)
def test_the_card_tells_the_form_that_was_asked_for(tmp_path, recorded, opened, rewards):
    config = TrainConfig(model_name="embedded", judge_model_name="embedded")
    folder = run_folder(tmp_path / "run", config=config)
    if recorded:
        files.write_json(folder / "task.json", {"dataset": {"name": "t", **recorded}, **recorded})
    text = " ".join(card(folder, config).split())
    assert opened in text
    assert f"judged by {rewards}" in text
