"""`softgrpo evaluate`: two players and a judge on held-out or own prompts, with a run or without one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from softgrpo import assembly
from softgrpo.config import EvaluateConfig, TrainConfig
from softgrpo.config.evaluation import EvaluationSettings
from softgrpo.config.players import NONE
from softgrpo.errors import UserError
from softgrpo.evaluation import head_to_head, watch
from softgrpo.evaluation.players import LoadedWhenAsked, player, short, weights_of
from softgrpo.evaluation.sentinel import Sentinel
from softgrpo.files import file_name, read_lines
from softgrpo.model_interface import ModelPool
from softgrpo.records import Completion
from softgrpo.reporting.console import Console
from softgrpo.reporting.recorder import Recorder
from softgrpo.reporting.report import write_report
from softgrpo.run_folder import LEDGER, open_run, recorded_config, which_weights
from softgrpo.spending.ledger import SqliteLedger
from softgrpo.spending.services import asks_about_pairs
from softgrpo.tasks import Question, Task, Tasks, questions_in
from softgrpo.tasks.task import same_letters

OF_RUN = (
    *("judge_model_name", "compare_model_name", "sentinel_judge", "sentinel_pairs"),
    *("eval_prompts", "eval_samples", "dataset_name"),
)
OF_PLAIN = ("num_shots", "prefill", "eval_temperature", "max_completion_length", "seed", "dtype")
"""what a run has settled: other values would be other texts under the same name"""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadToHead:
    """One evaluation: who answers what, and where it is written."""

    settings: EvaluationSettings
    tasks: Tasks
    pool: ModelPool
    questions: tuple[Question, ...]
    player: head_to_head.Player
    opponent: head_to_head.Player
    recorded: list[list[Completion]] | None = None
    """the player's texts, where a run's own evaluation has them"""
    answers: Path
    opponent_answers: Path
    results: Path
    ledger: Path
    step: int = 0
    like: tuple[Path, ...] = ()
    """folders with evaluations on the same prompts: what they say of the start is what this one is compared with"""


def run(config: EvaluateConfig) -> int:
    """Recorded answers are judged again; only what was never answered is generated."""
    if config.model_name is not None:
        _meet(_of_models(config))
        return 0
    folder, run = open_run(config.run or "output")
    _meet(_of_run(config, folder, run))
    write_report(folder)
    return 0


def _meet(meeting: HeadToHead) -> None:
    task, questions = meeting.tasks.dataset, meeting.questions
    ours = meeting.recorded or head_to_head.recorded_answers(meeting.answers, meeting.player, task, questions)
    theirs = head_to_head.recorded_answers(meeting.opponent_answers, meeting.opponent, task, questions)
    settings, judges = meeting.settings, (meeting.settings.judge, meeting.settings.sentinel)
    ledger = SqliteLedger(meeting.ledger) if any(judge and asks_about_pairs(judge) for judge in judges) else None
    evaluator = assembly.evaluator(settings, meeting.tasks, meeting.pool, ledger)
    watching = assembly.sentinel(settings, meeting.tasks, meeting.pool, ledger)
    found = watch.evaluate(
        task,
        questions,
        ours,
        theirs,
        evaluator=evaluator,
        sentinel=Sentinel.of(watching, settings.sentinel_limit),
        step=meeting.step,
        opponent=meeting.opponent.name,
        model=meeting.player.name,
        earlier=_earlier(meeting, evaluator.judge.name),
    )
    written, console = found.write(meeting.results), Console(0)
    console.evaluated(found.evaluation.to_dict())
    for alarm in found.evaluation.beside["alarms"]:
        console.say(f"alarm: {alarm}")
    print(f"wrote {written}")


def _earlier(meeting: HeadToHead, judge: str) -> list[watch.Record]:
    """What is known of the steps before, of each the evaluation that is likest: by this judge, against this opponent,
    where this one will lie."""
    by_step: dict[int, watch.Record] = {}
    for folder in meeting.like:
        for record in (*watch.recorded(folder, judge, meeting.opponent.name), *watch.recorded(folder)):
            by_step.setdefault(record["step"], record)
    return [by_step[step] for step in sorted(by_step)]


def _of_run(config: EvaluateConfig, folder: Path, run: TrainConfig) -> HeadToHead:
    """A run's model, asked as in the run's own evaluations."""
    for name in OF_PLAIN:
        if getattr(config, name) is not None:
            raise UserError(f"--{name} {getattr(config, name)}: a run has its own; drop it, or give --model_name")
    settings = EvaluationSettings.of(run, device=config.device, **_given(config, OF_RUN))
    if config.sentinel_judge is None and settings.judge != run.judge:  # another judge is asked alone
        settings = replace(settings, sentinel_judge=NONE)
    if settings.sentinel_name is None:
        settings = replace(settings, sentinel_pairs=config.sentinel_pairs)
    tasks, pool = (
        Tasks.load(settings.task, settings.scoring_task),
        ModelPool(dtype=settings.dtype, device=settings.device),
    )
    remedy = f"evaluate the model apart from its run, with --model_name {folder / 'final'}"
    Recorder(folder).check_task(assembly.task_record(settings, tasks), remedy)
    questions = _questions(config, settings, tasks.dataset)
    assembly.check_players(settings, ("judge_model_name", "compare_model_name"), settings.device)
    assembly.check_sentinel(settings, tasks.dataset)
    model_name, step = which_weights(folder, run, config.checkpoint)
    _say_what_comes(settings, questions, pool)
    trained = {same_letters(q.subject) for q in tasks.dataset.train}
    if n := sum(same_letters(q.subject) in trained for q in questions):
        print(f"warning: {n} of the {len(questions)} prompts are about subjects that the run was trained on")
    evaluations = folder / "evaluations"
    results = Path(config.output_dir) if config.output_dir else evaluations
    if config.prompts:  # the run's curve stays its own
        results /= file_name(Path(config.prompts).stem)
    if (
        settings.compare_model_name != recorded_config(folder).compare_model_name
    ):  # another opponent is another question
        results /= f"against_{short(settings.compare_model_name)}"
    form, opponent = tasks.dataset.format, settings.compare_model_name
    ours = player(settings, model_name, "policy", LoadedWhenAsked(model_name, pool), form=form, asked_as=run.model_name)
    return HeadToHead(
        settings=settings,
        tasks=tasks,
        pool=pool,
        questions=questions,
        player=replace(ours, name=config.checkpoint),
        opponent=player(settings, opponent, "opponent", LoadedWhenAsked(opponent, pool), form=form),
        recorded=_recorded(evaluations, step, questions, settings),
        answers=evaluations / "answers.jsonl",
        opponent_answers=evaluations / "opponent.jsonl",
        results=results,
        ledger=Path(config.ledger or run.ledger or folder / LEDGER),
        step=step,
        like=(results,) if config.prompts else (results, evaluations),
    )


def _of_models(config: EvaluateConfig) -> HeadToHead:
    """Two models of whatever kind, without a run."""
    if config.run is not None:
        raise UserError(f"--run {config.run} and --model_name {config.model_name}: two models to evaluate; name one")
    if config.checkpoint != "final":
        raise UserError(f"--checkpoint {config.checkpoint}: is a run's; give --run, or name its folder as --model_name")
    for name in ("compare_model_name", "judge_model_name"):
        if getattr(config, name) is None:
            raise UserError(f"--model_name {config.model_name}: without a run, --{name} must be given too")
    settings = EvaluationSettings(device=config.device, **_given(config, ("model_name", *OF_RUN, *OF_PLAIN)))
    tasks, pool = (
        Tasks.load(settings.task, settings.scoring_task),
        ModelPool(dtype=settings.dtype, device=settings.device),
    )
    if config.eval_prompts is None:
        settings = replace(settings, eval_prompts=min(settings.eval_prompts, len(tasks.dataset.test)))
    questions = _questions(config, settings, tasks.dataset)
    assembly.check_shots(settings, tasks.dataset)
    assembly.check_players(settings, ("model_name", "judge_model_name", "compare_model_name"), settings.device)
    assembly.check_sentinel(settings, tasks.dataset)
    _say_what_comes(settings, questions, pool)
    folder = Path(config.output_dir or "evaluations") / file_name(tasks.dataset.name)
    results = folder / file_name(Path(config.prompts).stem) if config.prompts else folder

    def plays(name: str, role: str) -> head_to_head.Player:
        model = LoadedWhenAsked(name, pool)
        return player(settings, name, role, model, form=tasks.dataset.format, weights=weights_of(name))

    return HeadToHead(
        settings=settings,
        tasks=tasks,
        pool=pool,
        questions=questions,
        player=plays(settings.model_name, "policy"),
        opponent=plays(settings.compare_model_name, "opponent"),
        answers=folder / "answers.jsonl",
        opponent_answers=folder / "answers.jsonl",
        ledger=Path(config.ledger or folder / LEDGER),
        results=results / f"{short(settings.model_name)}_against_{short(settings.compare_model_name)}",
    )


def _given(config: EvaluateConfig, wanted: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(config, name) for name in wanted if getattr(config, name) is not None}


def _questions(config: EvaluateConfig, settings: EvaluationSettings, task: Task) -> tuple[Question, ...]:
    if config.output_dir and Path(config.output_dir).exists() and not Path(config.output_dir).is_dir():
        raise UserError(f"--output_dir {config.output_dir}: is a file; name a folder")
    if config.prompts is None:
        assembly.check_eval_prompts(settings, task)
        return head_to_head.held_out(task, settings.eval_prompts)
    own = questions_in(task, Path(config.prompts))
    n = config.eval_prompts or len(own)
    if n > len(own):
        raise UserError(
            f"--eval_prompts {n}: {config.prompts} has {len(own)} prompts; give --eval_prompts {len(own)}, or none"
        )
    return own[:n]


def _say_what_comes(settings: EvaluationSettings, questions: tuple[Question, ...], pool: ModelPool) -> None:
    assembly.check_services(settings, pool)
    pairs = len(questions) * settings.eval_samples
    if not settings.judge.is_local:
        print(f"{settings.judge_model_name} will be asked about {2 * pairs} times at most")
    if settings.sentinel and not settings.sentinel.is_local:
        calls = 2 * min(pairs, settings.sentinel_limit or pairs)
        print(f"{settings.sentinel_name} will be asked about {calls} times at most, as the sentinel")


def _recorded(
    folder: Path, step: int, questions: Sequence[Question], run: EvaluationSettings
) -> list[list[Completion]] | None:
    """Our answers of an earlier evaluation at that step, if all of them are there."""
    for path in sorted(folder.glob(f"step_{step:06d}.*.json")):
        if json.loads(path.read_text(encoding="utf-8")).get("watches"):  # a sentinel may have seen a part of them
            continue
        by_prompt = head_to_head.answers_in(read_lines(path.with_name(f"{path.stem}.pairs.jsonl")))
        if all(len(by_prompt.get(q.id, ())) == run.eval_samples for q in questions):
            return [by_prompt[q.id] for q in questions]
    return None
