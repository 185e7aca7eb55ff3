"""A recorded run used again: evaluated by another judge, or asked about a topic of one's own."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from softgrpo.config import EvaluateConfig, SampleConfig, TrainConfig
from softgrpo.errors import UserError
from softgrpo.evaluator import Evaluator
from softgrpo.files import file_name, read_lines
from softgrpo.judging.judge import check_judge, load_judge
from softgrpo.model_interface import load_local
from softgrpo.models import names
from softgrpo.records import Completion, Sampling
from softgrpo.reporting.console import Console, harmless
from softgrpo.reporting.report import write_report
from softgrpo.rewards.format import section
from softgrpo.tasks import load_task, own_questions
from softgrpo.training import checkpoint, heldout, setup


def evaluate(config: EvaluateConfig) -> int:
    """`softgrpo evaluate`: recorded answers are judged again; only what was never answered is generated."""
    folder, run = open_run(config.run)
    asked = {
        name: getattr(config, name)
        for name in ("judge_model_name", "compare_model_name", "eval_prompts", "eval_samples")
        if getattr(config, name) is not None
    }
    run = replace(run, device=config.device, **asked)
    check_judge(run.judge_model_name)
    setup.check_eval_prompts(run)
    for name in ("judge_model_name", "compare_model_name"):
        setup.check_name(name, getattr(run, name))
    model_name, step = _which(folder, run, config.checkpoint)
    task = load_task(run.task)
    questions = heldout.held_out(task, run.eval_prompts)
    ours = _recorded(folder, step, questions, run)
    if ours is None:
        player = heldout.Player(
            name=model_name,
            model=load_local(model_name, dtype=run.dtype, device=run.device),
            num_shots=run.shots_for(run.model_name),
            sampling=setup.eval_sampling(run, run.model_name, "policy"),
        )
        ours = player.answer(task, questions)
    theirs = heldout.opponent_answers(folder / "evaluations" / "opponent.jsonl", setup.opponent(run), task, questions)
    judge = load_judge(run.judge_model_name, dtype=run.dtype, device=run.device)
    weights = run.weights(judge_is_local=names.parse(run.judge_model_name).is_local)
    evaluator = Evaluator(load_task(run.scoring_task), judge, weights, orders=run.judge_orders)
    evaluation, met = heldout.evaluate(
        task, questions, ours, theirs, evaluator=evaluator, step=step, opponent=run.compare_model_name
    )
    if run.compare_model_name == _asked(folder).compare_model_name:
        written = heldout.write(folder / "evaluations", evaluation, met)
    else:  # another opponent is another question: kept apart from the run's own curve
        aside = folder / "evaluations" / f"against_{file_name(run.compare_model_name)}"
        written = heldout.write(aside, evaluation, met)
    Console(0).evaluated(evaluation.to_dict())
    print(f"wrote {written}")
    write_report(folder)
    return 0


def sample(config: SampleConfig) -> int:
    """`softgrpo sample`: the base and the trained model on one topic, one after the other."""
    folder, run = open_run(config.run)
    if not config.topic.strip():
        raise UserError('sample needs a topic: softgrpo sample --run output "Cities should ban cars"')
    model_name, _ = _which(folder, run, "final")
    task = load_task(run.task)
    sampling = Sampling(
        temperature=config.temperature,
        max_tokens=run.max_completion_length,
        seed=config.seed,
        prefill=run.opening_for(run.model_name),
    )
    for question in own_questions(run.task, config.topic):
        prompt = task.prompt(question, num_shots=run.shots_for(run.model_name))
        print(f"\n=== {harmless(question.text)}")
        for title, name in (("base", run.model_name), ("trained", model_name)):
            model = load_local(name, dtype=run.dtype, device=config.device)
            text = model.generate([prompt.messages], sampling)[0][0].text
            shown = section(text, "answer") or f"(no answer section)\n{text}"
            print(f"\n--- {title}\n{harmless(shown)}")
    return 0


def open_run(name: str) -> tuple[Path, TrainConfig]:
    """A run's folder and what was asked of it."""
    folder = Path(name)
    if not (folder / "args.json").exists():
        raise UserError(f"--run {name}: holds no run (no args.json)")
    return folder, _asked(folder)


def _asked(folder: Path) -> TrainConfig:
    values: dict[str, Any] = json.loads((folder / "args.json").read_text(encoding="utf-8"))
    known = {f.name for f in fields(TrainConfig)}
    return TrainConfig(**{name: value for name, value in values.items() if name in known})


def _which(folder: Path, run: TrainConfig, name: str) -> tuple[str, int]:
    """Where the asked-for weights lie, and at which step they were."""
    if name == "base":
        return run.model_name, 0
    if name == "final":
        if not (folder / "final" / "config.json").exists():
            raise UserError(f"{folder} has no final model yet; finish the run with --resume, or name a checkpoint")
        return str(folder / "final"), run.num_train_iters
    path = folder / "checkpoints" / name
    if path not in checkpoint.found(folder / "checkpoints"):
        there = ", ".join(p.name for p in checkpoint.found(folder / "checkpoints")) or "none"
        raise UserError(f"--checkpoint {name}: not in {folder}; there are: final, base, {there}")
    return str(path), int(name.removeprefix("step-"))


def _recorded(folder: Path, step: int, questions: Any, run: TrainConfig) -> list[list[Completion]] | None:
    """Our answers of an earlier evaluation at that step, if all of them are there."""
    for path in sorted((folder / "evaluations").glob(f"step_{step:06d}.*.pairs.jsonl")):
        by_prompt: dict[str, list[Completion]] = {}
        for line in read_lines(path):
            completion = Completion(text=line["ours"], finish_reason=line["ours_finish"])
            by_prompt.setdefault(line["prompt_id"], []).append(completion)
        if all(len(by_prompt.get(q.id, ())) == run.eval_samples for q in questions):
            return [by_prompt[q.id] for q in questions]
    return None
