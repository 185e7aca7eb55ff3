"""`softgrpo evaluate`: two players and a judge on held-out or own prompts, with a run or without one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from softgrpo.config import EvaluateConfig, TrainConfig
from softgrpo.errors import UserError
from softgrpo.files import file_name, read_lines
from softgrpo.judging.ledger import Ledger
from softgrpo.models import names
from softgrpo.records import Completion
from softgrpo.reporting.console import Console
from softgrpo.reporting.recorder import Recorder
from softgrpo.reporting.report import write_report
from softgrpo.tasks import Question, Task, load_task, questions_in
from softgrpo.tasks.task import plain
from softgrpo.training import heldout, setup
from softgrpo.training.again import asked, open_run, which_weights
from softgrpo.training.players import player, short, weights_of
from softgrpo.training.services import LEDGER, asks_about_pairs

OF_RUN = ("judge_model_name", "compare_model_name", "eval_prompts", "eval_samples", "dataset_name")
OF_PLAIN = ("num_shots", "prefill", "eval_temperature", "max_completion_length", "seed", "dtype")
"""what a run has settled: other values would be other texts under the same name"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bout:
    """One evaluation: who answers what, and where it is written."""

    settings: TrainConfig
    """of which only what concerns an evaluation is read"""
    task: Task
    questions: tuple[Question, ...]
    player: heldout.Player
    opponent: heldout.Player
    recorded: list[list[Completion]] | None = None
    """the player's texts, where a run's own evaluation has them"""
    answers: Path
    opponent_answers: Path
    results: Path
    ledger: Path
    step: int = 0


def evaluate(config: EvaluateConfig) -> int:
    """Recorded answers are judged again; only what was never answered is generated."""
    if config.model_name is not None:
        _meet(_of_models(config))
        return 0
    folder, run = open_run(config.run or "output")
    _meet(_of_run(config, folder, run))
    write_report(folder)
    return 0


def _meet(bout: Bout) -> None:
    task, questions = bout.task, bout.questions
    ours = bout.recorded or heldout.recorded_answers(bout.answers, bout.player, task, questions)
    theirs = heldout.recorded_answers(bout.opponent_answers, bout.opponent, task, questions)
    ledger = Ledger(bout.ledger) if asks_about_pairs(bout.settings.judge_model_name) else None
    evaluator = setup.evaluator(bout.settings, ledger)
    evaluation, met = heldout.evaluate(
        task, questions, ours, theirs, evaluator=evaluator, step=bout.step, opponent=bout.opponent.name
    )
    written = heldout.write(bout.results, replace(evaluation, model=bout.player.name), met)
    Console(0).evaluated(evaluation.to_dict())
    print(f"wrote {written}")


def _of_run(config: EvaluateConfig, folder: Path, run: TrainConfig) -> Bout:
    """A run's model, asked as in the run's own evaluations."""
    for name in OF_PLAIN:
        if getattr(config, name) is not None:
            raise UserError(f"--{name} {getattr(config, name)}: a run has its own; drop it, or give --model_name")
    settings = replace(run, device=config.device, **_given(config, OF_RUN))
    remedy = f"evaluate the model apart from its run, with --model_name {folder / 'final'}"
    Recorder(folder).check_task(setup.task_record(settings), remedy)
    task = load_task(settings.task)
    questions = _questions(config, settings, task)
    setup.check_roles(settings, ("judge_model_name", "compare_model_name"))
    model_name, step = which_weights(folder, run, config.checkpoint)
    _say_what_comes(settings, questions)
    trained = {plain(q.subject) for q in task.train}
    if n := sum(plain(q.subject) in trained for q in questions):
        print(f"warning: {n} of the {len(questions)} prompts are about subjects that the run was trained on")
    evaluations = folder / "evaluations"
    results = Path(config.output_dir) if config.output_dir else evaluations
    if config.prompts:  # the run's curve stays its own
        results /= file_name(Path(config.prompts).stem)
    if settings.compare_model_name != asked(folder).compare_model_name:  # another opponent is another question
        results /= f"against_{short(settings.compare_model_name)}"
    ours = player(settings, model_name, "policy", asked_as=run.model_name)
    return Bout(
        settings=settings,
        task=task,
        questions=questions,
        player=replace(ours, name=config.checkpoint),
        opponent=player(settings, settings.compare_model_name, "opponent"),
        recorded=_recorded(evaluations, step, questions, settings),
        answers=evaluations / "answers.jsonl",
        opponent_answers=evaluations / "opponent.jsonl",
        results=results,
        ledger=Path(config.ledger or run.ledger or folder / LEDGER),
        step=step,
    )


def _of_models(config: EvaluateConfig) -> Bout:
    """Two models of whatever kind, without a run."""
    if config.run is not None:
        raise UserError(f"--run {config.run} and --model_name {config.model_name}: two models to evaluate; name one")
    if config.checkpoint != "final":
        raise UserError(f"--checkpoint {config.checkpoint}: is a run's; give --run, or name its folder as --model_name")
    for name in ("compare_model_name", "judge_model_name"):
        if getattr(config, name) is None:
            raise UserError(f"--model_name {config.model_name}: without a run, --{name} must be given too")
    settings = TrainConfig(device=config.device, **_given(config, ("model_name", *OF_RUN, *OF_PLAIN)))
    task = load_task(settings.task)
    if config.eval_prompts is None:
        settings = replace(settings, eval_prompts=min(settings.eval_prompts, len(task.test)))
    questions = _questions(config, settings, task)
    setup.check_shots(settings, task)
    setup.check_roles(settings, ("model_name", "judge_model_name", "compare_model_name"))
    _say_what_comes(settings, questions)
    folder = Path(config.output_dir or "evaluations") / file_name(task.name)
    results = folder / file_name(Path(config.prompts).stem) if config.prompts else folder
    opponent = settings.compare_model_name
    return Bout(
        settings=settings,
        task=task,
        questions=questions,
        player=player(settings, settings.model_name, "policy", weights=weights_of(settings.model_name)),
        opponent=player(settings, opponent, "opponent", weights=weights_of(opponent)),
        answers=folder / "answers.jsonl",
        opponent_answers=folder / "answers.jsonl",
        ledger=Path(config.ledger or folder / LEDGER),
        results=results / f"{short(settings.model_name)}_against_{short(opponent)}",
    )


def _given(config: EvaluateConfig, wanted: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(config, name) for name in wanted if getattr(config, name) is not None}


def _questions(config: EvaluateConfig, settings: TrainConfig, task: Task) -> tuple[Question, ...]:
    if config.output_dir and Path(config.output_dir).exists() and not Path(config.output_dir).is_dir():
        raise UserError(f"--output_dir {config.output_dir}: is a file; name a folder")
    if config.prompts is None:
        setup.check_eval_prompts(settings)
        return heldout.held_out(task, settings.eval_prompts)
    own = questions_in(task, Path(config.prompts))
    n = config.eval_prompts or len(own)
    if n > len(own):
        raise UserError(
            f"--eval_prompts {n}: {config.prompts} has {len(own)} prompts; give --eval_prompts {len(own)}, or none"
        )
    return own[:n]


def _say_what_comes(settings: TrainConfig, questions: tuple[Question, ...]) -> None:
    setup.check_services(settings)
    if not names.parse(settings.judge_model_name).is_local:
        calls = 2 * len(questions) * settings.eval_samples
        print(f"{settings.judge_model_name} will be asked about {calls} times at most")


def _recorded(folder: Path, step: int, questions: Any, run: TrainConfig) -> list[list[Completion]] | None:
    """Our answers of an earlier evaluation at that step, if all of them are there."""
    for path in sorted(folder.glob(f"step_{step:06d}.*.pairs.jsonl")):
        by_prompt: dict[str, list[Completion]] = {}
        for line in read_lines(path):
            completion = Completion(text=line["ours"], finish_reason=line["ours_finish"])
            by_prompt.setdefault(line["prompt_id"], []).append(completion)
        if all(len(by_prompt.get(q.id, ())) == run.eval_samples for q in questions):
            return [by_prompt[q.id] for q in questions]
    return None
