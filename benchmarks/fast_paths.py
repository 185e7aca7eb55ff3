"""What did each of four faster ways earn? `python benchmarks/fast_paths.py --house CHECKOUT`.

Writes `fast_paths.json` beside itself. Once there was a second decoder of our own: `token_step` (a token of each row
from the weights), `packed_weights` (weights laid out for the processor's bfloat16 product, part of it), `lean_states`
(a tree from the weights, forward and backward) and `forest_kernel` (attention of a tree in batches of triangles). A
second hand-written decoder stays where it earns a fifth of the whole step. CHECKOUT is a checkout of commit c6daf06,
the last that has them; each is left out in turn within one process, and the steps of all variants alternate.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from step_speed import about, commit_of, spread

OUTPUT = Path(__file__).with_suffix(".json")
VARIANTS: dict[str, dict[str, bool]] = {
    "all": {},
    "without token_step and packed_weights": dict(token=False),
    "without lean_states": dict(lean=False),
    "without lean_states and forest_kernel": dict(lean=False, kernel=False),
    "without any": dict(token=False, lean=False, kernel=False),
}
EARNED = {
    "token_step with packed_weights": ("without token_step and packed_weights", "all"),
    "lean_states": ("without lean_states", "all"),
    "forest_kernel": ("without lean_states and forest_kernel", "without lean_states"),
    "all of them": ("without any", "all"),
}
"""by which two variants a way is measured: without it, and with it"""


def switches() -> Any:
    """A function that switches the ways of the old house on and off."""
    from softgrpo.models.local import forest, lean_states, token_step

    worth_it, applies, part_by_part = token_step.WORTH_IT, lean_states.applies, forest._PartByPart

    def by_kernel(query: Any, key: Any, value: Any, tree: Any, scale: float) -> Any:
        return forest._by_kernel(query[None], key[None], value[None], tree, scale, 0.0)[0].transpose(0, 1)

    def switch(*, token: bool = True, lean: bool = True, kernel: bool = True) -> None:
        token_step.WORTH_IT = worth_it if token else 10**9
        lean_states.applies = applies if lean else (lambda module: False)
        forest._PartByPart = part_by_part if kernel else type("ByKernel", (), {"apply": staticmethod(by_kernel)})

    return switch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--house", type=Path, required=True, help="a checkout of commit c6daf06")
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--length", type=int, default=185)
    parser.add_argument("--rounds", type=int, default=3, help="steps of each variant, after one that does not count")
    args = parser.parse_args()
    args.threads, args.worker, args.trl_python = 0, None, sys.executable
    house = args.house.resolve()
    sys.path[:0] = [str(house), str(house / "benchmarks")]
    sys.modules.pop("step_sides", None)
    import step_sides

    from softgrpo.training.memory import keep_freed

    keep_freed()
    ours, switch = step_sides.Ours(), switches()
    asked = step_sides.chats(ours.policy.tokenizer, args.length, args.prompts)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    for round_ in range(args.rounds + 1):
        for name, how in VARIANTS.items():
            switch(**how)
            (step,) = ours.steps(asked, group=args.group, tokens=args.tokens, warm=0, n=1)
            print(round_, name, {part: round(value, 1) for part, value in step.items()}, flush=True)
            if round_:
                found[name].append(step)
    record = {
        "seconds": {name: {p: spread([s[p] for s in steps]) for p in steps[0]} for name, steps in found.items()},
        "share_of_the_step_earned": {
            name: spread([1 - b["step"] / a["step"] for a, b in zip(found[without], found[with_], strict=True)])
            for name, (without, with_) in EARNED.items()
        },
        "dtype": str(ours.policy.module.dtype),
        "house": commit_of(house),
    }
    args.house = Path(record["house"])
    record |= about(args, "fast_paths.py", trl=False)
    OUTPUT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")
    for name, share in record["share_of_the_step_earned"].items():
        print(f"{name:32} {share['median']:.0%} [{share['min']:.0%}, {share['max']:.0%}]")


if __name__ == "__main__":
    main()
