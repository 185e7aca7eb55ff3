"""What is gained by computing once what matches share? `python benchmarks/local_judging.py`.

Writes `local_judging.json` beside itself. The packaged small model judges a round robin of 8 debate answers of about 80
tokens in both orders by the log-odds of its labels: with shared beginnings (system, task, criteria, first text)
computed once; every prompt whole and unpadded by the same attention; every prompt whole in padded batches, as
`transformers` does it. In turn, over several rounds; the figure is matches per second.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import step_speed

OUTPUT = Path(__file__).with_suffix(".json")


def answers(model: Any, n: int, tokens: int) -> list[str]:
    """Held-out arguments about one motion, each continued by others to about `tokens` tokens."""
    from softgrpo.judges.embedded.convincing import DATA

    lines = [json.loads(line) for line in (DATA / "gold.jsonl").read_text(encoding="utf8").splitlines()]
    texts = sorted({text for line in lines for text in (line["better"], line["worse"]) if len(text) > 60})
    made = []
    for i in range(n):
        ids = model.tokenizer.encode(" ".join(texts[i * 7 : i * 7 + 7]), add_special_tokens=False)
        made.append(model.tokenizer.decode(ids[:tokens]))
    return made


def contest(model: Any, n: int, tokens: int) -> Any:
    """A round robin in both orders under the debate's own criteria."""
    from softgrpo.records import Contest
    from softgrpo.tasks import load_task
    from softgrpo.tournament.schedule import round_robin

    task = load_task("debate")
    prompt, objective = task.prompt(task.test[0]), task.objectives[0]
    matches = tuple(round_robin(list(range(n)), objective=objective.name))
    return Contest(prompt=prompt, objective=objective, texts=tuple(answers(model, n, tokens)), matches=matches)


def rooted(model: Any, sequences: Any) -> Any:
    """Every sequence whole, side by side in one row: nothing shared, nothing padded."""
    import torch

    from softgrpo.models.local.prefix_tree import PrefixTree
    from softgrpo.models.local.tree_attention import tree_logits

    for start in range(0, len(sequences), 24):
        rows = list(range(start, min(start + 24, len(sequences))))
        lengths = [len(sequences[i]) for i in rows]
        ids = torch.tensor([t for i in rows for t in sequences[i]])
        yield rows, tree_logits(model.module, ids, PrefixTree.roots(lengths), torch.tensor(lengths).cumsum(0) - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=8, help="answers of the round robin")
    parser.add_argument("--tokens", type=int, default=80, help="tokens of an answer")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the three ways in turn")
    parser.add_argument("--threads", type=int, default=0, help="threads (0: torch's own choice)")
    parser.add_argument("--dtype", default="auto", help="precision of the weights")
    args = parser.parse_args()
    import torch

    from softgrpo.judges.local import LogOddsJudge
    from softgrpo.model_interface import load_local
    from softgrpo.models.huggingface import SHARED_TOKENS_AT_ONCE
    from softgrpo.models.local.prefix_tree import prefix_trees
    from softgrpo.training.memory import keep_freed

    keep_freed()
    if args.threads:
        torch.set_num_threads(args.threads)
    model = load_local("embedded", dtype=args.dtype)
    met = contest(model, args.texts, args.tokens)
    judge = LogOddsJudge("embedded", model)
    ways = {
        "shared": model._last_logits,
        "whole": lambda sequences: rooted(model, sequences),
        "whole_padded": model._last_logits_apart,
    }
    sequences: list[list[int]] = []
    model._last_logits = lambda given: (sequences.extend(given), ways["shared"](given))[1]
    judge.judge([met])  # warms up
    shared_tokens = sum(len(packed.ids) for _, packed in prefix_trees(sequences, SHARED_TOKENS_AT_ONCE))
    rates: dict[str, list[float]] = {name: [] for name in ways}
    odds: dict[str, np.ndarray] = {}
    for _ in range(args.rounds):
        for name, way in ways.items():
            model._last_logits = way
            began = time.perf_counter()
            verdicts = judge.judge([met])[0]
            rates[name].append(len(met.matches) / (time.perf_counter() - began))
            p = np.array([v.p_first for v in verdicts])
            odds[name] = np.log(p / (1 - p))
            print(name, [round(r, 2) for r in rates[name]], flush=True)
    record = {
        "n_matches": len(met.matches),
        "tokens": {"whole": sum(len(s) for s in sequences), "shared": shared_tokens},
        "matches_per_second": {name: step_speed.spread(values) for name, values in rates.items()},
        "times_as_fast_as": {
            name: step_speed.spread([a / b for a, b in zip(rates["shared"], rates[name], strict=True)])
            for name in ("whole", "whole_padded")
        },
        "log_odds_differ_by": {
            name: {"mean": float(gap.mean()), "max": float(gap.max())}
            for name in ("whole", "whole_padded")
            for gap in [np.abs(odds["shared"] - odds[name])]
        },
        "log_odds_vary_by_sd": float(odds["shared"].std()),
        "same_winner": {name: float(((odds["shared"] > 0) == (odds[name] > 0)).mean()) for name in ways},
        "dtype": str(model.module.dtype),
        **step_speed.about(args, "local_judging.py", trl=False),
    }
    OUTPUT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
