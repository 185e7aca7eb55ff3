"""Does everything work on this GPU, and how fast? `python benchmarks/gpu_smoke.py`: ten minutes, one GPU.

Writes `gpu_smoke.json` beside itself. Every path of the own engine, full and with LoRA, in bfloat16 on the device at
hand: what the model allows (`Capabilities`, each found by comparing with the plain way there), whether sampled
log-probabilities are those of a plain forward pass, whether the ways to learn agree, judging by shared prompts against
whole ones, save and restore, export; seconds and peak memory of a step, beside TRL's where it can be imported. A path
that fails is in the record with its error, and the script goes on. `--device cpu --dtype float32 --quick`
runs the same without a GPU.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

OUTPUT = Path(__file__).with_suffix(".json")
TEMPERATURE = 0.9


def attempt(record: dict[str, Any], name: str, work: Callable[[], Any]) -> None:
    """What the work returns, or how it failed, under its name."""
    began = time.perf_counter()
    try:
        found = {"ok": True, **(work() or {})}
    except Exception as error:
        traceback.print_exc()
        found = {"ok": False, "error": f"{type(error).__name__}: {error}"[:500]}
    record[name] = found | {"seconds": round(time.perf_counter() - began, 2)}
    print(name, json.dumps(record[name]), flush=True)


class Side:
    """An engine on the device, and prompts for it."""

    def __init__(self, args: argparse.Namespace, *, lora: bool, settings: dict[str, Any] | None = None) -> None:
        from softgrpo.engines.local import policy
        from softgrpo.engines.local.engine import LocalEngine
        from softgrpo.engines.local.learner import Learner, LearnerSettings
        from softgrpo.engines.local.reference import Reference
        from softgrpo.model_interface import ModelPool
        from softgrpo.records import Prompt, Sampling
        from softgrpo.tasks import load_task

        self.pool = ModelPool(dtype=args.dtype, device=args.device)
        self.base = self.pool.local(args.model)
        if lora:
            self.policy = policy.with_lora(self.base, rank=16, alpha=32, dropout=0.0, seed=0)
            reference = Reference(self.policy.module, self.policy.capabilities)
        else:
            self.policy = policy.full(self.base, shared=True)
            reference = Reference(self.base.module, self.policy.capabilities)
        how = LearnerSettings(temperature=TEMPERATURE, learning_rate=1e-5, **(settings or {}))
        self.engine = LocalEngine(self.policy, Learner(self.policy, reference, how))
        task = load_task("debate")
        self.prompts: list[Prompt] = [task.prompt(q, num_shots=1) for q in task.train[: args.prompts]]
        self.sampling = Sampling(n=args.group, temperature=TEMPERATURE, max_tokens=args.tokens, seed=1)

    def trained(self) -> list[Any]:
        """The parameters that learn."""
        return list(self.policy.trainable().values())

    def training_groups(self) -> list[Any]:
        """Sampled, with a free reward: distinct words."""
        import numpy as np

        from softgrpo.grpo.training_group import to_training_group
        from softgrpo.records import ScoredGroup

        groups = [group for _, group in self.engine.stream(self.prompts, self.sampling)]
        return [
            to_training_group(
                ScoredGroup(
                    group=g,
                    verdicts=(),
                    standings={},
                    reward_parts={},
                    rewards=np.array([float(len(set(c.text.split()))) for c in g.completions]),
                )
            )
            for g in groups
        ]


def synchronized(device: torch.device) -> float:
    """The clock, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def capabilities(side: Side) -> dict[str, Any]:
    """What was found on this device."""
    from dataclasses import asdict

    return {"model": asdict(side.policy.capabilities), "engine": asdict(side.engine.capabilities)}


def sampled_logprobs(side: Side) -> dict[str, Any]:
    """How far the sampler's log-probabilities lie from a plain forward pass over each whole sequence, per token."""
    differences: list[float] = []
    for _, group in side.engine.stream(side.prompts[:1], side.sampling):
        for c in group.completions:
            ids = torch.tensor([[*group.prompt_ids, *c.token_ids]], device=side.policy.device)
            with torch.no_grad(), side.policy.active():
                logits = side.policy.module(ids, use_cache=False).logits[0, len(group.prompt_ids) - 1 : -1].float()
            plain = (logits / TEMPERATURE).log_softmax(-1).gather(1, ids[0, len(group.prompt_ids) :, None])[:, 0]
            differences += (plain.cpu() - torch.tensor(c.sampling_logprobs)).abs().tolist()
    return {"mean_difference": statistics.fmean(differences), "largest": max(differences), "n": len(differences)}


def ways_to_learn(side: Side) -> dict[str, Any]:
    """Log-probabilities and gradient by attention, by mask and by padded rows, each against padded rows."""
    from softgrpo.engines.local.micro_batches import micro_batches
    from softgrpo.engines.local.policy_logprobs import backward, token_logprobs
    from softgrpo.grpo.training_group import unweighted
    from softgrpo.models.local.capabilities import Capabilities

    allowed = side.policy.capabilities
    head = dict(plain_head=allowed.plain_head)
    ways = {
        "padded": Capabilities(**head),
        "mask": Capabilities(tree_mask=True, **head),
        "attention": Capabilities(tree_attention=True, tree_mask=True, **head),
    }
    ways = {name: way for name, way in ways.items() if way.tree_attention <= allowed.tree_attention}
    rows = unweighted(side.training_groups()[:1])
    found = {}
    for name, way in ways.items():
        for p in side.trained():
            p.grad = None
        (batch,) = micro_batches(rows, 1 << 30, way, side.policy.tokenizer.pad_token_id)
        began = synchronized(side.policy.device)
        with side.policy.active():
            logprobs = token_logprobs(side.policy.module, way, batch.packed, temperature=TEMPERATURE)
            backward(logprobs.mean(), side.policy.module, way, batch.packed)
        seconds = synchronized(side.policy.device) - began
        gradient = torch.cat([p.grad.float().flatten() for p in side.trained() if p.grad is not None])
        found[name] = (logprobs.detach().float(), gradient, seconds)
    truth, truth_gradient, _ = found["padded"]
    return {
        name: {
            "mean_difference": float((logprobs - truth).abs().mean()),
            "gradient_difference": float((gradient - truth_gradient).norm() / truth_gradient.norm()),
            "seconds": seconds,
        }
        for name, (logprobs, gradient, seconds) in found.items()
    }


def steps(side: Side, n: int) -> dict[str, Any]:
    """Seconds of whole steps, and the most memory they held."""
    device = side.policy.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    sampling, learning = [], []
    report = None
    for k in range(n + 1):
        began = synchronized(device)
        groups = side.training_groups()
        sampled = synchronized(device)
        report = side.engine.update(groups, seed=k)
        ended = synchronized(device)
        if k:
            sampling.append(sampled - began)
            learning.append(ended - sampled)
    assert report is not None
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return {
        "sampling": statistics.median(sampling),
        "learning": statistics.median(learning),
        "peak_device_memory": peak,
        "grad_norm": report.grad_norm,
        "kl": report.kl,
        "mismatch_abs": report.mismatch_abs,
        "skipped": report.skipped,
    }


def judging(side: Side) -> dict[str, Any]:
    """The same log-odds whether matches share their beginnings or are whole."""
    from softgrpo.judges.local import LogOddsJudge
    from softgrpo.records import Contest
    from softgrpo.tasks import load_task
    from softgrpo.tournament.schedule import round_robin

    task = load_task("debate")
    texts = (*(e.reply for e in task.examples), "It is good.", "Nobody can know what it costs.")
    matches = round_robin(range(len(texts)))
    contest = Contest(
        prompt=task.prompt(task.test[0]), objective=task.objectives[0], texts=texts, matches=tuple(matches)
    )
    judge = LogOddsJudge("smoke", side.base)
    shared = torch.tensor([v.p_first or float("nan") for v in judge.judge([contest])[0]])
    side.base._last_logits = side.base._last_logits_apart
    whole = torch.tensor([v.p_first or float("nan") for v in judge.judge([contest])[0]])
    return {"largest_difference": float((shared.logit() - whole.logit()).abs().max())}


def saved(side: Side) -> dict[str, Any]:
    """What is restored learns the same; what is exported loads."""
    import transformers

    groups = side.training_groups()
    with tempfile.TemporaryDirectory() as folder:
        side.engine.save(Path(folder))
        first = side.engine.update(groups, seed=5)
        side.engine.restore(Path(folder))
        again = side.engine.update(groups, seed=5)
        side.engine.export(Path(folder) / "final")
        transformers.AutoModelForCausalLM.from_pretrained(Path(folder) / "final")
    same = {name: getattr(first, name) == getattr(again, name) for name in ("loss", "grad_norm", "kl")}
    return {"same": same}


def trl(args: argparse.Namespace) -> dict[str, Any]:
    """TRL's steps, the same sizes."""
    import step_sides

    asked = step_sides.chats(step_sides.model("bfloat16").tokenizer, 185, args.prompts)
    found = step_sides.trl_steps("trl_bf16", asked, group=args.group, tokens=args.tokens, warm=1, n=args.steps)
    return {part: statistics.median(s[part] for s in found) for part in ("step", "sample", "rest")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, cpu")
    parser.add_argument("--dtype", default="bfloat16", help="float32 for a processor without bfloat16 products")
    parser.add_argument("--model", default="embedded", help="a local model's name")
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small sizes, one step")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    if args.quick:
        args.group, args.prompts, args.tokens, args.steps = 4, 1, 16, 1
    record: dict[str, Any] = {"failed": []}
    for name, lora in (("full", False), ("lora", True)):
        parts: dict[str, Any] = {}
        record[name] = parts
        made: list[Side] = []
        attempt(parts, "open", lambda lora=lora, made=made: made.append(Side(args, lora=lora)))
        if not made:
            continue
        side = made.pop()
        works: dict[str, Callable[[], Any]] = {
            "capabilities": lambda side=side: capabilities(side),
            "sampled_logprobs": lambda side=side: sampled_logprobs(side),
            "ways_to_learn": lambda side=side: ways_to_learn(side),
            "judging": lambda side=side: judging(side),
            "steps": lambda side=side: steps(side, args.steps),
            "saved": lambda side=side: saved(side),
        }
        for what, work in works.items():
            attempt(parts, what, work)
        del side, works
    checkpointing = {"gradient_checkpointing": True}
    attempt(record, "gradient_checkpointing", lambda: steps(Side(args, lora=False, settings=checkpointing), 1))
    attempt(record, "trl", lambda: trl(args))
    flat = {**{f"{n} {w}": f for n in ("full", "lora") for w, f in record[n].items()}}
    flat |= {n: record[n] for n in ("gradient_checkpointing", "trl")}
    record["failed"] = [name for name, found in flat.items() if not found["ok"]]
    cuda = torch.device(args.device).type == "cuda"
    record |= {
        "device": torch.cuda.get_device_name(args.device) if cuda else platform.processor() or platform.machine(),
        "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
        "sizes": {name: getattr(args, name) for name in ("model", "group", "prompts", "tokens", "steps")},
    }
    args.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")
    print(f"wrote {args.output}; failed: {', '.join(record['failed']) or 'nothing'}")


if __name__ == "__main__":
    main()
