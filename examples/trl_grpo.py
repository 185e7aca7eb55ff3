"""TRL's `GRPOTrainer` with a tournament as its reward.

python examples/trl_grpo.py
accelerate launch examples/trl_grpo.py      # the same on several GPUs
"""

import argparse

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from softgrpo import Scorer

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="Qwen/Qwen2.5-0.5B-Instruct")
parser.add_argument("--judge", default="gpt-4o-mini", help="any judge: an API model, a model on this machine, a server")
parser.add_argument("--max_steps", type=int, default=200)
parser.add_argument("--cpu", action="store_true")
asked = parser.parse_args()

PRODUCTS = ["an umbrella", "a night train", "a dictionary", "a bicycle bell", "oat milk", "a public library"]
chat = [[{"role": "user", "content": f"Write one line that makes people want {product}."}] for product in PRODUCTS]
dataset = Dataset.from_list([{"prompt": prompt} for prompt in chat])


def brief(prompt, completion):
    """A reward from code rides inside the scorer: TRL would take a missing verdict beside it for a zero."""
    return -max(0, len(completion.text.split()) - 20) / 20


scorer = Scorer(
    criteria="The better line: concrete, true to the product, and one that makes people smile.",
    judge=asked.judge,
    rewards={"brief": brief},
    ledger="verdicts.sqlite",  # no verdict is paid for twice
    budget_calls=50_000,  # and never more than this
)
trainer = GRPOTrainer(
    model=asked.model,
    reward_funcs=scorer.for_trl(),
    args=GRPOConfig(
        output_dir="trl-lines",
        num_generations=8,
        max_steps=asked.max_steps,
        logging_steps=1,
        use_cpu=asked.cpu,
        bf16=not asked.cpu,
    ),
    train_dataset=dataset,
)
trainer.train()
trainer.save_model()
print(f"{scorer.spent.calls} calls to the judge")
