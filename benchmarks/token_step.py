"""Where does a token of every row go? `python benchmarks/token_step.py`.

Writes `token_step.json` beside itself: milliseconds of one token step of sampling with the packaged small model, from
its weights (`LeanStep`) and by the model as it is (`ModuleStep`), in turn, and of the step's parts alone: its products
with weights, its attention, and the draw. Medians over the last steps of several samplings.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import step_sides
import torch
from step_speed import about, add_common, spread

from softgrpo.models.huggingface import encode_chat
from softgrpo.models.local.generation import draw
from softgrpo.models.local.packed_weights import packed_weights
from softgrpo.models.local.shared_rows import SharedRows
from softgrpo.models.local.token_step import LeanStep, ModuleStep
from softgrpo.training.memory import keep_freed

OUTPUT = Path(__file__).with_suffix(".json")
LAST = 32
"""steps that count, at the end of a completion"""


def milliseconds(work: Any, times: int = 1) -> list[float]:
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append((time.perf_counter() - began) * 1e3)
    return found


def steps(args: argparse.Namespace, module: Any, prompts: list[list[int]], step: Any) -> dict[str, list[float]]:
    """One sampling: milliseconds of the last steps, and of their attention and draw alone."""
    n = args.group * len(prompts)
    rows = SharedRows(module, prompts, step)
    logits = rows.place(range(n), [p for p in range(len(prompts)) for _ in range(args.group)])
    running, uniform = torch.ones(n, dtype=torch.bool), torch.rand(n, args.tokens, dtype=torch.float64)
    found: dict[str, list[float]] = {"step": [], "attention": [], "draw": []}
    config = module.config
    shape = config.num_attention_heads, 2 * config.num_key_value_heads
    query, new = (torch.randn(n, heads, config.head_dim).to(module.dtype) for heads in shape)
    for t in range(args.tokens - 1):
        token, _ = draw(logits, uniform[:, t], step_sides.TEMPERATURE)
        began = time.perf_counter()
        logits = rows.step(token, running)
        if t >= args.tokens - 1 - LAST:
            found["step"].append((time.perf_counter() - began) * 1e3)
            found["draw"] += milliseconds(lambda logits=logits, t=t: draw(logits, uniform[:, t], 0.9))
    rows.lengths_B -= 1  # the last place again

    def attend() -> None:
        for layer in range(config.num_hidden_layers):
            rows.attend(layer, query, new, config.head_dim**-0.5)

    found["attention"] += milliseconds(attend, 5)
    return found


def products(step: LeanStep, rows: int) -> None:
    """Every product with weights of one step."""
    dtype = step.decoder.embed_tokens.weight.dtype
    wide = torch.zeros(rows, step.decoder.config.hidden_size, dtype=dtype)
    for layer in step.layers:
        layer.qkv(wide), layer.out.plus(wide, wide), layer.down.plus(layer.up.times(wide, layer.gate.silu(wide)), wide)
    step.head(wide)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common(parser)
    args = parser.parse_args()
    keep_freed()
    model = step_sides.model()
    module, n = model.module, args.group * args.prompts
    prompts = [encode_chat(model.tokenizer, c) for c in step_sides.chats(model.tokenizer, args.length, args.prompts)]
    found: dict[str, list[float]] = {name: [] for name in ("lean", "module", "products", "attention", "draw")}
    with torch.inference_mode():
        for round_ in range(args.rounds + 1):  # the first warms up
            lean = LeanStep(module, n)
            ours = steps(args, module, prompts, lean)
            with packed_weights(module, n, steps=args.tokens):
                plain = steps(args, module, prompts, ModuleStep(module))
            if round_:
                found["lean"] += ours["step"]
                found["module"] += plain["step"]
                found["attention"] += ours["attention"]
                found["draw"] += ours["draw"]
                found["products"] += milliseconds(lambda lean=lean: products(lean, n), 5)
    record = {"rows": n, "milliseconds": {name: spread(values) for name, values in found.items()}}
    record |= about(args, "token_step.py", trl=False)
    OUTPUT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")
    for name, value in record["milliseconds"].items():
        print(f"{name:10} {value['median']:6.1f} [{value['min']:.1f}, {value['max']:.1f}] ms")


if __name__ == "__main__":
    main()
