"""What stands beside a judge's win rate in every evaluation: a sentinel's, measures of drift, alarms."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from softgrpo.evaluation import head_to_head
from softgrpo.evaluation.alarms import Seen, alarms, key
from softgrpo.evaluation.drift import Measure, drift
from softgrpo.evaluation.head_to_head import Evaluation
from softgrpo.evaluation.sentinel import Answers, Sentinel, answers
from softgrpo.evaluator import Comparison, Evaluator
from softgrpo.reporting.recorder import evaluations_in, judged_alone
from softgrpo.tasks import Question, Task

Record = Mapping[str, Any]
"""an evaluation as it is written: flat, null where there is no number"""
TOLD_BY_SENTINEL = frozenset({"side_accuracy", "off_topic"})
BASE = "_base"
"""ends the name under which a measure's value at the start stands"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """An evaluation with all that stands beside it."""

    evaluation: Evaluation
    met: list[Comparison]
    by_sentinel: tuple[Evaluation, list[Comparison]] | None = None

    def write(self, folder: Path) -> Path:
        """The sentinel's files first: where the judge's are, the evaluation is whole."""
        if self.by_sentinel:
            head_to_head.write(folder, *self.by_sentinel)
        return head_to_head.write(folder, self.evaluation, self.met)


def evaluate(
    task: Task,
    questions: Sequence[Question],
    ours: Answers,
    theirs: Answers,
    *,
    evaluator: Evaluator,
    sentinel: Sentinel | None,
    step: int,
    opponent: str,
    model: str = "",
    earlier: Sequence[Record] = (),
) -> Watched:
    """Judge recorded answers, and watch the judge. `earlier`: the evaluations before this one, in order of their steps;
    the first is the start, if it is of step 0, with which all others are compared."""
    judged, met = head_to_head.evaluate(
        task, questions, ours, theirs, evaluator=evaluator, step=step, opponent=opponent, model=model
    )
    by_sentinel = sentinel.evaluate(task, questions, ours, theirs, judged=judged) if sentinel else None
    beside: dict[str, Any] = {}
    if by_sentinel:
        rate = by_sentinel[0].win_rate
        beside |= {"sentinel": by_sentinel[0].judge, "sentinel_win_rate": rate.win_rate}
        beside |= {"sentinel_low": rate.low, "sentinel_high": rate.high}
    prompts, looked_at = [task.prompt(q) for q in questions], by_sentinel[1] if by_sentinel else ()
    measured = drift(answers(prompts, ours, evaluator, sentinel=sentinel, seen=looked_at))
    known = {**judged.to_dict(), **beside}
    now = replace(seen(known, like=known), drift=measured)
    before = [seen(e, like=known) for e in earlier if e["step"] < step]
    start = now if step == 0 else before[0] if before and before[0].step == 0 else None
    for name, measure in measured.items():
        base = start.drift[name].value if start and name in start.drift else None
        beside |= {name: measure.value, f"{name}_low": measure.low, f"{name}_high": measure.high, f"{name}{BASE}": base}
    found = alarms(start, now, before[1:]) if start and step else ()
    said = {key(alarm) for e in earlier if e["step"] < step for alarm in e.get("alarms", ())}
    beside |= {"alarms": list(found), "new_alarms": [alarm for alarm in found if key(alarm) not in said]}
    return Watched(evaluation=replace(judged, beside=beside), met=met, by_sentinel=by_sentinel)


def seen(record: Record, *, like: Record) -> Seen:
    """A recorded evaluation as the alarms see it. What was seen by another judge or sentinel than `like`, or against
    another opponent, is not there; nor is what an earlier softgrpo did not record.

    >>> record = {"step": 4, "judge": "j", "opponent": "o", "win_rate": 0.6, "low": 0.5, "high": 0.7}
    >>> record |= {"mean_words": 20.0, "mean_words_low": 18.0, "mean_words_high": None, "mean_words_base": 30.0}
    >>> found = seen(record, like={"judge": "j", "opponent": "o"})
    >>> found.judge.high, found.sentinel, list(found.drift), found.drift["mean_words"].low
    (0.7, None, ['mean_words'], 18.0)
    >>> seen(record, like={"judge": "another", "opponent": "o"}).judge is None
    True
    """
    names = [name.removesuffix(BASE) for name in record if name.endswith(BASE)]
    measures = {name: _measure(record, name, f"{name}_low", f"{name}_high") for name in names}
    met, watcher = record["opponent"] == like["opponent"], record.get("sentinel") == like.get("sentinel")
    same = {who: met and record.get(who) == like.get(who) for who in ("judge", "sentinel")}
    return Seen(
        step=record["step"],
        judge=_measure(record, "win_rate", "low", "high") if same["judge"] else None,
        sentinel=_measure(record, "sentinel_win_rate", "sentinel_low", "sentinel_high") if same["sentinel"] else None,
        drift={
            name: measure
            for name, measure in measures.items()
            if measure is not None and (watcher or name not in TOLD_BY_SENTINEL)
        },
    )


def _measure(record: Record, *names: str) -> Measure | None:
    value, low, high = (math.nan if record.get(name) is None else float(record[name]) for name in names)
    return None if math.isnan(value) else Measure(value=value, low=low, high=high)


def recorded(folder: Path, judge: str = "", opponent: str = "") -> list[Record]:
    """The evaluations of a folder in order of their steps, without those of sentinels; where names are given, those by
    that judge and against that opponent."""
    found = judged_alone(evaluations_in(folder))
    return [e for e in found if judge in ("", e["judge"]) and opponent in ("", e["opponent"])]


def alarmed_at(records: Sequence[Record]) -> int | None:
    """The step of the first alarm; None where there was none.

    >>> alarmed_at([{"step": 0}, {"step": 4, "alarms": []}, {"step": 8, "alarms": ["markup: ..."]}])
    8
    """
    return next((e["step"] for e in records if e.get("alarms")), None)


def best(records: Sequence[Record], among: Collection[int] | None = None) -> int | None:
    """The step before any alarm at which the sentinel saw the highest win rate, or the judge where no sentinel saw any
    of them; of equal ones the earliest. `among`: these steps alone.

    >>> rates = [(0, 0.5, 0.5), (4, 0.7, 0.6), (8, 0.9, 0.6)]
    >>> records = [{"step": step, "win_rate": p, "sentinel_win_rate": s} for step, p, s in rates]
    >>> records.append({"step": 12, "win_rate": 1.0, "sentinel_win_rate": 1.0, "alarms": ["markup: ..."]})
    >>> best(records), best([{**e, "sentinel_win_rate": None} for e in records])
    (4, 8)
    """
    clean = [e for e in takewhile(lambda e: not e.get("alarms"), records) if among is None or e["step"] in among]
    by = "sentinel_win_rate" if any(e.get("sentinel_win_rate") is not None for e in clean) else "win_rate"
    rates = [(e[by], -e["step"]) for e in clean if e.get(by) is not None]
    return -max(rates)[1] if rates else None
