"""A run of TRL's trainer on a tiny random model, in however many processes; each writes down what TRL computed.

python -m torch.distributed.run --nproc_per_node 2 trl_run.py OUT '{"rows": 6, "fails": 0.2}'
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from softgrpo import Scorer

G = 4
CRITERIA = "The better text."


def share(*what: str) -> float:
    """In [0, 1), from texts alone, so that every process and every test has the same."""
    return int(hashlib.sha256("\0".join(what).encode()).hexdigest()[:12], 16) / 16**12


class Scripted:
    """A judge that any process can make again; a part of its judgements fail."""

    def __init__(self, fails: float = 0.0) -> None:
        self.fails = fails

    def __call__(self, prompt: str, first: str, second: str) -> float | None:
        if share("fails", prompt, first, second) < self.fails:
            return None
        return 1 / (1 + math.exp(3 * (share(second) - share(first))))


def brief(prompt, completion) -> float:
    return -0.01 * len(completion.text)


def scorer(fails: float) -> Scorer:
    return Scorer(criteria=CRITERIA, judge=Scripted(fails), rewards={"brief": brief})


class Watched(GRPOTrainer):
    """Keeps what TRL itself computed: rewards of all processes, advantages of this one."""

    seen: list[dict]

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        for i, row in enumerate(inputs):  # as TRL does with what a rollout function brings of each completion
            row["steps"] = i
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self.seen.append({"train": self.model.training, "prompts": prompts, "completions": completions,
                          "rewards": rewards[:, 0].tolist()})  # fmt: skip
        return rewards

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        self.seen[-1]["advantages"] = output["advantages"].tolist()
        return output


def prompts_of(shape: str) -> list:
    """Some of them twice, next to each other and apart."""
    words = [f"w{i}" for i in range(8)]
    words = [*words, words[0], words[7], words[7]]
    return words if shape == "text" else [[{"role": "user", "content": word}] for word in words]


def main(out: Path, rows: int, fails: float, shape: str = "text", given: bool = False, evaluate: bool = False) -> None:
    tokenizer = AutoTokenizer.from_pretrained(out.parent / "tiny")
    model = AutoModelForCausalLM.from_pretrained(out.parent / "tiny")
    data = Dataset.from_list([{"prompt": p, "number": i} for i, p in enumerate(prompts_of(shape))])
    args = GRPOConfig(
        output_dir=str(out / "trl"),
        use_cpu=True,
        bf16=False,
        per_device_train_batch_size=rows,
        per_device_eval_batch_size=rows,
        num_generations=G,
        num_generations_eval=2,
        max_completion_length=6,
        max_steps=3,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        learning_rate=1e-3,
        temperature=1.0,
        disable_tqdm=True,
        seed=7,
    )
    reward = scorer(fails).for_trl(num_generations=G if given else None)
    trainer = Watched(model=model, reward_funcs=reward, args=args, train_dataset=data,
                      eval_dataset=data.select(range(5)), processing_class=tokenizer)  # fmt: skip
    trainer.seen = []
    before = sum(p.detach().double().abs().sum() for p in model.parameters()).item()
    trainer.train()
    if evaluate:
        trainer.evaluate()
    trainer.save_model(str(out / "saved"))
    rank = trainer.accelerator.process_index
    record = {
        "seen": trainer.seen,
        "moved": sum(p.detach().double().abs().sum() for p in model.parameters()).item() - before,
        "history": trainer.state.log_history,
        "verdicts": list(trainer._logs["extra"]["verdicts"]),
        "names": trainer.reward_func_names,
    }
    (out / f"rank{rank}.json").write_text(json.dumps(record))
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


if __name__ == "__main__":
    main(Path(sys.argv[1]), **json.loads(sys.argv[2]))
    sys.stdout.flush()
    os._exit(0)  # gloo's threads, at the end of two processes, now and then wait for each other for ever
