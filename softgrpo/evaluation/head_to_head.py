"""Head to head on held-out prompts. The same machinery while training and afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from softgrpo.evaluation.answers import as_kept, from_kept, neg_logprob
from softgrpo.evaluation.pairing import at_most, pairings
from softgrpo.evaluation.win_rate import PairOutcome, WinRate, win_rate
from softgrpo.evaluator import FAILED, Comparison, Evaluator
from softgrpo.files import file_name, read_lines, write_json, write_lines
from softgrpo.models.api.errors import APIStop
from softgrpo.records import NOTHING, Completion, Sampling, TextModel
from softgrpo.reporting.measure import verdict_line
from softgrpo.rewards.format import soft_format, strict_format
from softgrpo.tasks import Question, Task
from softgrpo.tasks.task import digest
from softgrpo.tournament.outcomes import position_bias


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    """Who answers: a model, and how it is asked."""

    name: str
    model: TextModel
    num_shots: int
    sampling: Sampling
    weights: str = ""
    """changes when other weights come to lie under the same name"""

    def answer(self, task: Task, questions: Sequence[Question]) -> list[list[Completion]]:
        """`sampling.n` completions for each question."""
        prompts = [task.prompt(q, num_shots=self.num_shots) for q in questions]
        return self.model.generate([p.messages for p in prompts], self.sampling)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One evaluation's figures."""

    step: int
    judge: str
    opponent: str
    win_rate: WinRate
    format_adherence: float | None
    """share of our texts in strict form; None where the task asks for no form"""
    format_adherence_soft: float | None
    opponent_format_adherence: float | None
    position_bias: float
    """mean log-odds that the text read first wins; NaN where no pair was judged in both orders"""
    n_truncated: int
    """our texts cut off at the length limit"""
    model: str = ""
    """who answered, where it is not the policy of a run at that step"""
    watches: str = ""
    """the judge beside whose evaluation this one stands, where it is a sentinel's"""
    beside: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    """what else is known of it (`watch.py`): the sentinel's win rate, measures of drift, alarms"""

    def to_dict(self) -> dict[str, Any]:
        """One flat mapping, as it is written."""
        own = {k: v for k, v in asdict(self).items() if k not in ("win_rate", "beside")}
        return {"step": self.step, **asdict(self.win_rate), **own, **self.beside}


def held_out(task: Task, n: int) -> tuple[Question, ...]:
    """The first n test questions: always the same, subject by subject."""
    return task.test[:n]


def evaluate(
    task: Task,
    questions: Sequence[Question],
    ours: Sequence[Sequence[Completion]],
    theirs: Sequence[Sequence[Completion]],
    *,
    evaluator: Evaluator,
    step: int,
    opponent: str,
    model: str = "",
    watches: str = "",
    pairs: int | None = None,
) -> tuple[Evaluation, list[Comparison]]:
    """Judge recorded answers of both players to the same questions.

    On each prompt our k-th answer meets their k-th; a judge that scores texts compares every one of ours with every one
    of theirs. `pairs`: so many of them at most, spread evenly.
    """
    prompts = [task.prompt(q) for q in questions]
    crossed = evaluator.judge.scores_texts
    chosen = [pairings(len(our), len(their), crossed=crossed) for our, their in zip(ours, theirs, strict=True)]
    if pairs is not None:
        chosen = at_most(pairs, chosen, [q.subject for q in questions])
    met = evaluator.meetings(
        prompts,
        [[our[i] for i, _ in places] for our, places in zip(ours, chosen, strict=True)],
        [[their[j] for _, j in places] for their, places in zip(theirs, chosen, strict=True)],
    )
    flat, form = [c for row in ours for c in row], evaluator.task.format
    biases = np.array([position_bias(m.verdicts) for m in met])
    evaluation = Evaluation(
        step=step,
        judge=evaluator.judge.name,
        opponent=opponent,
        win_rate=win_rate([outcome(m) for m in met]),
        format_adherence=_share(strict_format, flat, form),
        format_adherence_soft=_share(soft_format, flat, form),
        opponent_format_adherence=_share(strict_format, [c for row in theirs for c in row], form),
        position_bias=float(np.nanmean(biases)) if np.isfinite(biases).any() else float("nan"),
        n_truncated=sum(c.finish_reason == "length" for c in flat),
        model=model,
        watches=watches,
    )
    return evaluation, met


def outcome(met: Comparison) -> PairOutcome:
    """A meeting as a win rate counts it."""
    return PairOutcome(prompt_id=met.prompt.id, subject=met.prompt.subject, p_win=met.p_win, forfeit=met.forfeit)


def recorded_answers(path: Path, player: Player, task: Task, questions: Sequence[Question]) -> list[list[Completion]]:
    """A player's texts: generated once, kept in a file such as `opponent.jsonl`, read ever after."""
    key = {
        "player": player.name,
        "n": player.sampling.n,
        "temperature": player.sampling.temperature,
        "max_tokens": player.sampling.max_tokens,
        "seed": player.sampling.seed,
        "weights": player.weights,
    }
    prompts = {
        q.id: digest(task.prompt(q, num_shots=player.num_shots).messages, player.sampling.prefill) for q in questions
    }
    lines = read_lines(path)
    known = {
        line["prompt_id"]: [from_kept(c) for c in line["completions"]]
        for line in lines
        if all(line.get(name) == value for name, value in key.items())
        and line.get("prompt") == prompts.get(line["prompt_id"])
    }
    missing = [q for q in questions if q.id not in known]

    def keep(answers: Sequence[Sequence[Completion]]) -> None:
        for question, row in zip(missing, answers, strict=False):
            if not any(c.finish_reason == FAILED for c in row):  # what was not delivered is asked for again next time
                kept = [as_kept(c) for c in row]
                lines.append({**key, "prompt_id": question.id, "prompt": prompts[question.id], "completions": kept})
        if missing:
            write_lines(path, lines)

    try:
        answers = player.answer(task, missing) if missing else []
    except APIStop as stop:
        keep(stop.completions)
        raise
    keep(answers)
    known |= {question.id: row for question, row in zip(missing, answers, strict=True)}
    return [known[q.id] for q in questions]


def write(folder: Path, evaluation: Evaluation, met: Sequence[Comparison]) -> Path:
    """`step_N.<judge>.json`, and every pair with its verdicts beside it."""
    path = path_of(folder, evaluation.step, evaluation.judge)
    write_lines(path.with_name(f"{path.stem}.pairs.jsonl"), _lines(met))
    write_json(path, evaluation.to_dict())
    return path


def path_of(folder: Path, step: int, judge: str) -> Path:
    """Where an evaluation's figures lie."""
    return folder / f"step_{step:06d}.{file_name(judge)}.json"


def answers_in(lines: Sequence[Mapping[str, Any]]) -> dict[str, list[Completion]]:
    """Our answers to each prompt, from the recorded pairs of an evaluation; each once, whomever it met."""
    by_prompt: dict[str, dict[int, Completion]] = {}
    for line in lines:
        known = by_prompt.setdefault(line["prompt_id"], {})
        kept = {"text": line["ours"], "finish_reason": line["ours_finish"], "neg_logprob": line.get("ours_neg_logprob")}
        known[line.get("ours_sample", len(known))] = from_kept(kept)
    return {prompt_id: [known[i] for i in sorted(known)] for prompt_id, known in by_prompt.items()}


def _share(rule: Callable[[str], float], completions: Sequence[Completion], form: str | None) -> float | None:
    return None if form is None else float(np.mean([rule(c.text) for c in completions]))


def _lines(met: Sequence[Comparison]) -> list[dict[str, Any]]:
    """The pairs as they are recorded. An answer that meets several has one number in all of them."""
    numbers: dict[tuple[str, str], dict[int, int]] = {}

    def number(whose: str, prompt_id: str, answer: Completion) -> int:
        of_prompt = numbers.setdefault((whose, prompt_id), {})
        return of_prompt.setdefault(id(answer), len(of_prompt))

    return [
        {
            "prompt_id": m.prompt.id,
            "subject": m.prompt.subject,
            "question": m.prompt.question,
            "ours": m.ours.text,
            "ours_finish": m.ours.finish_reason,
            "ours_sample": number("ours", m.prompt.id, m.ours),
            "ours_neg_logprob": neg_logprob(m.ours),
            "theirs": m.theirs.text,
            "theirs_sample": number("theirs", m.prompt.id, m.theirs),
            "p_win": m.p_win,
            "forfeit": m.forfeit,
            "verdicts": [verdict_line(v) for v in m.verdicts],
        }
        for m in met
    ]
