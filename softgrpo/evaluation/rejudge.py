"""The failed judgements of a recorded run, asked again; what is answered stands beside the record, which stays."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from softgrpo.errors import UserError
from softgrpo.evaluation.rescore import group_of, recorded_groups
from softgrpo.evaluator import contest_of
from softgrpo.files import read_lines, write_lines
from softgrpo.judges.chat.judge import ChatJudge
from softgrpo.records import Contest, Group, Judge, Match, Verdict
from softgrpo.reporting.measure import verdict_line
from softgrpo.tasks import Question, Tasks
from softgrpo.tasks.task import digest
from softgrpo.tournament.outcomes import UNASKED

REJUDGED = "rejudged.jsonl"
"""the file's name in a run's folder"""
MATCHES_AT_ONCE = 256
"""of whole tournaments, before what has come is written: a kill loses no more, and the ledger has even that"""
NEW = ("p_first", "how", "reply", "failure")
"""what a later verdict says otherwise than the recorded one"""

Where = tuple[int, int, str, int, int]
"""a judgement's place in the record: step, the group's place in it, objective, the text read first and second"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """What failed of one recorded tournament."""

    step: int
    place: int
    """of the group in the step"""
    line: Mapping[str, Any]
    """the group as it is recorded"""
    contest: Contest
    """its matches are those without a verdict"""


class Rejudged:
    """What has been asked again of a run: what was answered stays, what failed once more can be asked once more.

    A line counts for the two texts that it is about: where a run was taken back to a checkpoint and has sampled others
    since, it counts for nothing.
    """

    def __init__(self, folder: Path) -> None:
        """Reads the file, if there is one. Raises `UserError` when it holds something else."""
        self.folder = folder
        self.path = folder / REJUDGED
        self.lines: dict[Where, Mapping[str, Any]] = {}
        try:
            for line in read_lines(self.path):
                self.lines[_checked(line)] = line
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.path}: holds a line that is no verdict ({type(error).__name__}: {error}); delete the file and "
                "run `softgrpo rejudge` again: what was answered is in the ledger and not paid for twice"
            ) from error

    def completed(self, step: int, place: int, line: Mapping[str, Any]) -> Mapping[str, Any]:
        """A recorded group with the verdicts that came later."""
        verdicts = []
        for recorded in line["verdicts"]:
            new = self._of(step, place, line, recorded)
            verdicts.append(recorded if new is None else {**recorded, **{name: new[name] for name in NEW}})
        return {**line, "verdicts": verdicts}

    def counts(self) -> dict[str, int]:
        """How much of what failed has been asked again, and what came of it."""
        asked = [
            new
            for step, lines in recorded_groups(self.folder)
            for place, line in enumerate(lines)
            for recorded in line["verdicts"]
            if (new := self._of(step, place, line, recorded)) is not None
        ]
        answered = sum(new["p_first"] is not None for new in asked)
        return {"n_asked_again": len(asked), "n_answered": answered, "n_still_failed": len(asked) - answered}

    def failed(self, tasks: Tasks) -> list[Failed]:
        """What has failed in the record and has not been answered since."""
        questions = {q.id: q for q in (*tasks.dataset.train, *tasks.dataset.test)}
        objectives = {o.name: o for o in tasks.scoring.objectives}
        found = []
        for step, lines in recorded_groups(self.folder):
            for place, line in enumerate(lines):
                left: dict[str, list[Match]] = {}
                for v in filter(_has_failed, self.completed(step, place, line)["verdicts"]):
                    match = Match(first=v["first"], second=v["second"], objective=v["objective"])
                    left.setdefault(match.objective, []).append(match)
                for name, matches in left.items():
                    contest = contest_of(_asked(line, questions), objectives[name], tasks.scoring.format)
                    contest = replace(contest, matches=tuple(matches))
                    found.append(Failed(step=step, place=place, line=line, contest=contest))
        return found

    def ask(self, judge: Judge, failed: Sequence[Failed]) -> None:
        """Ask it all again, some tournaments at a time. However it ends, what was answered is written."""
        for batch in _batches(failed):
            contests = [f.contest for f in batch]
            try:
                self._keep(batch, judge.judge(contests))
            except (UserError, KeyboardInterrupt):  # a refusal, the budget, an interrupt: what came before it is paid
                if isinstance(judge, ChatJudge):
                    with contextlib.suppress(UserError):
                        self._keep(batch, judge.recall(contests))
                raise

    def _keep(self, batch: Sequence[Failed], verdicts: Sequence[Sequence[Verdict | None]]) -> None:
        """Write what came, with all that came before."""
        for f, came in zip(batch, verdicts, strict=True):
            for v in (v for v in came if v is not None):
                match = v.match
                self.lines[f.step, f.place, match.objective, match.first, match.second] = {
                    "step": f.step,
                    "place": f.place,
                    "prompt_id": f.line["prompt_id"],
                    **verdict_line(v),
                    "texts": _texts(f.line, match.first, match.second),
                }
        if self.lines:
            write_lines(self.path, [self.lines[where] for where in sorted(self.lines)])

    def _of(self, step: int, place: int, line: Mapping[str, Any], recorded: Mapping[str, Any]) -> Any:
        """The later verdict instead of a recorded one that failed; None where there is none."""
        first, second = recorded["first"], recorded["second"]
        new = self.lines.get((step, place, recorded["objective"], first, second))
        if new is None or not _has_failed(recorded):
            return None
        same = new["prompt_id"] == line["prompt_id"] and new["texts"] == _texts(line, first, second)
        return new if same else None


def _checked(line: Mapping[str, Any]) -> Where:
    """Where a line belongs, if it says all that it must."""
    step, place, first, second = (int(line[name]) for name in ("step", "place", "first", "second"))
    names = ("objective", "prompt_id", "how", "reply", "failure", "texts")
    p_first, words = line["p_first"], [line[name] for name in names]
    if not all(isinstance(word, str) for word in words) or not (p_first is None or 0 <= p_first <= 1):
        raise ValueError(f"p_first {p_first} of step {step}")
    return step, place, line["objective"], first, second


def _has_failed(recorded: Mapping[str, Any]) -> bool:
    """A judge was asked and there is no verdict. A completion that was never delivered is no failure of a judge's."""
    return recorded["p_first"] is None and recorded["how"] not in UNASKED


def _asked(line: Mapping[str, Any], questions: Mapping[str, Question]) -> Group:
    """A recorded group with what its prompt asked, which an earlier softgrpo did not record."""
    group, known = group_of(line), questions.get(line["prompt_id"])
    if known is None and "question" not in line:
        raise UserError(
            f"prompt {line['prompt_id']!r} is in the record without its question, and no prompt of the task has that "
            "id; put the task's prompts back as they were"
        )
    text = line["question"] if "question" in line or known is None else known.text
    return replace(group, prompt=replace(group.prompt, question=text, cue=known.cue if known else ""))


def _texts(line: Mapping[str, Any], first: int, second: int) -> str:
    """A short name of the two texts."""
    return digest(*(line["completions"][i]["text"] for i in (first, second)))


def _batches(failed: Sequence[Failed]) -> Iterator[list[Failed]]:
    batch: list[Failed] = []
    for f in failed:
        batch.append(f)
        if sum(len(b.contest.matches) for b in batch) >= MATCHES_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
