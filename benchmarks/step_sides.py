"""The two sides of `step_speed.py` and `learning_memory.py`: one GRPO step here and in TRL, on the same prompts with
the same free reward (distinct words), group size and lengths; no end token is drawn, so that lengths agree.

TRL's loss is matched by `loss_type="grpo"` (mean over a completion's tokens, then over completions), `beta=0`,
advantages scaled by the group's standard deviation, one inner epoch, no clipping of what is on-policy.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from typing import Any

import torch

TEMPERATURE = 0.9
FILLER = "Weigh what it costs, whom it helps, who has to bear it, and what the other side would say to that. "
LARGEST_BATCH = 32
TRL_SIDES = {
    "trl_bf16": dict(dtype="bfloat16", attention="sdpa"),
    "trl_bf16_eager": dict(dtype="bfloat16", attention="eager"),
    "trl_autocast": dict(dtype="float32", attention="sdpa"),
    "trl_float32": dict(dtype="float32", attention="sdpa"),  # where the processor has no bfloat16 products
}


def chats(tokenizer: Any, length: int, n: int) -> list[list[dict[str, str]]]:
    """Debate prompts of about `length` tokens in the chat template."""
    from softgrpo.models.huggingface import encode_chat
    from softgrpo.tasks import load_task

    task = load_task("debate")
    found = []
    for question in itertools.islice(itertools.cycle(task.train), n):
        chat = [dict(m) for m in task.prompt(question, num_shots=0).messages]
        plain = chat[0]["content"]
        words: list[str] = []
        for word in itertools.cycle(FILLER.split()):
            if len(encode_chat(tokenizer, chat)) >= length:
                break
            words.append(word)
            chat[0]["content"] = f"{plain}\n{' '.join(words)}"
        found.append(chat)
    return found


def distinct(text: str) -> float:
    """The free reward."""
    return float(len(set(text.split())))


def model(dtype: str = "auto") -> Any:
    """The packaged small model."""
    from softgrpo.model_interface import load_local

    return load_local("embedded", dtype=dtype)


class Ours:
    """This project's step: sample, reward, update."""

    def __init__(self, *, dtype: str = "auto", settings: dict[str, Any] | None = None) -> None:
        from softgrpo.engines.local.engine import LocalEngine
        from softgrpo.engines.local.learner import Learner, LearnerSettings
        from softgrpo.engines.local.policy import Policy

        class Endless(Policy):
            end_ids = frozenset()

        base = model(dtype)
        self.policy = Endless(base.name, base.module, base.tokenizer)
        plain: dict[str, Any] = dict(kl_weight_beta=0.0, temperature=TEMPERATURE, loss="grpo", learning_rate=1e-6)
        self.learner = Learner(self.policy, None, LearnerSettings(**(plain | (settings or {}))))
        self.engine = LocalEngine(self.policy, self.learner)

    def groups(self, asked: list[Any], *, group: int, tokens: int, seed: int) -> list[Any]:
        from softgrpo.records import Prompt, Sampling

        prompts = [Prompt(id=str(i), messages=tuple(c), subject="", question="") for i, c in enumerate(asked)]
        sampling = Sampling(n=group, temperature=TEMPERATURE, max_tokens=tokens, seed=seed)
        found = dict(self.engine.stream(prompts, sampling))
        return [found[i] for i in range(len(prompts))]

    def training_groups(self, groups: list[Any]) -> list[Any]:
        import numpy as np

        from softgrpo.grpo.training_group import to_training_group
        from softgrpo.records import ScoredGroup

        scored = [
            ScoredGroup(
                group=g,
                verdicts=(),
                standings={},
                reward_parts={},
                rewards=np.array([distinct(c.text) for c in g.completions]),
            )
            for g in groups
        ]
        return [
            to_training_group(s, scale_advantages=True, shrink_advantages=False, mask_truncated=False) for s in scored
        ]

    def steps(self, asked: list[Any], *, group: int, tokens: int, warm: int, n: int) -> list[dict[str, float]]:
        """Seconds of each step after the warm-up."""
        out = []
        for k in range(warm + n):
            began = time.perf_counter()
            groups = self.groups(asked, group=group, tokens=tokens, seed=k)
            sampled = time.perf_counter()
            self.learner.update(self.training_groups(groups))
            ended = time.perf_counter()
            out.append({"step": ended - began, "sample": sampled - began, "rest": ended - sampled})
        return out[warm:]


def free_reward(completions: list[Any], **_: Any) -> list[float]:
    """`distinct` as TRL calls it."""
    return [distinct(c[0]["content"]) for c in completions]


def trl_trainer(
    side: str,
    asked: list[Any],
    *,
    group: int,
    tokens: int,
    max_steps: int,
    dtype: str = "",
    reward: Any = free_reward,
    least: int | None = None,
) -> Any:
    """A `GRPOTrainer` with the same model and reward. All completions of a step are drawn together and learned from in
    batches of up to 32, since 64 take more than 24 GiB; `least` tokens are drawn (by default as many as may be)."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    how = TRL_SIDES[side]
    dtype = dtype or how["dtype"]
    base = model(dtype)
    base.module.requires_grad_(True)
    base.module.set_attn_implementation(how["attention"])

    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=min(group * len(asked), LARGEST_BATCH),
        gradient_accumulation_steps=-(-group * len(asked) // LARGEST_BATCH),
        num_generations=group,
        max_completion_length=tokens,
        temperature=TEMPERATURE,
        loss_type="grpo",
        scale_rewards="group",
        beta=0.0,
        learning_rate=1e-6,
        bf16=side == "trl_autocast" and dtype == how["dtype"],
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=False,
        generation_kwargs={"min_new_tokens": tokens if least is None else least},
        max_steps=max_steps,
        logging_steps=10**6,
        save_strategy="no",
        report_to=[],
        shuffle_dataset=False,
        disable_tqdm=True,
    )
    return GRPOTrainer(
        model=base.module,
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_list([{"prompt": c} for c in asked]),
        processing_class=base.tokenizer,
    )


def trl_steps(side: str, asked: list[Any], *, group: int, tokens: int, warm: int, n: int) -> list[dict[str, float]]:
    """Seconds of each step after the warm-up: from one end of a step to the next, and of `generate` within."""
    from transformers import TrainerCallback

    trainer = trl_trainer(side, asked, group=group, tokens=tokens, max_steps=warm + n)
    generating = 0.0
    plain = trainer.model.generate

    def generate(*args: Any, **kwargs: Any) -> Any:
        nonlocal generating
        began = time.perf_counter()
        out = plain(*args, **kwargs)
        generating += time.perf_counter() - began
        made = out.shape[1] - kwargs["input_ids"].shape[1]
        if made != tokens:
            raise RuntimeError(f"TRL drew {made} tokens and not {tokens}")
        return out

    trainer.model.generate = generate
    out: list[dict[str, float]] = []

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.last, self.generated = time.perf_counter(), 0.0

        def on_step_end(self, *_: Any, **__: Any) -> None:
            now = time.perf_counter()
            step, sample = now - self.last, generating - self.generated
            out.append({"step": step, "sample": sample, "rest": step - sample})
            self.last, self.generated = now, generating

    trainer.add_callback(Clock())
    trainer.train()
    return out[warm:]


def made_up(
    tokenizer: Any, asked: list[Any], *, group: int, tokens: int
) -> tuple[list[list[int]], list[list[list[int]]], list[list[float]]]:
    """Prompts, completions of various lengths up to `tokens`, and advantages, the same in every process."""
    from softgrpo.models.huggingface import encode_chat

    generator = torch.Generator().manual_seed(0)
    prompts = [encode_chat(tokenizer, chat) for chat in asked]
    draw = lambda *shape: torch.randint(10, 20000, shape, generator=generator).tolist()  # noqa: E731
    completions = [[draw(tokens - i % 4) for i in range(group)] for _ in asked]
    return prompts, completions, torch.randn(len(asked), group, generator=generator).tolist()


def trl_batch(
    trainer: Any, prompts: list[list[int]], completions: list[list[list[int]]], advantages: list[list[float]]
) -> dict[str, Any]:
    """What TRL's loss is computed from: prompts padded on the left, completions on the right."""
    from softgrpo.models.local.padded_cache import left_padded

    pad = trainer.processing_class.pad_token_id
    trainer.current_gradient_accumulation_steps = 1
    rows = [(p, c) for p, group in zip(prompts, completions, strict=True) for c in group]
    width = max(len(c) for _, c in rows)
    prompt_ids, prompt_mask = left_padded([p for p, _ in rows], pad, torch.device("cpu"))
    return {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": torch.tensor([c + [pad] * (width - len(c)) for _, c in rows]),
        "completion_mask": torch.tensor([[1] * len(c) + [0] * (width - len(c)) for _, c in rows]),
        "advantages": torch.tensor([a for group in advantages for a in group]),
        "num_items_in_batch": torch.tensor(sum(len(c) for _, c in rows)),
    }


def our_training_groups(
    ours: Ours, prompts: list[list[int]], completions: list[list[list[int]]], advantages: list[list[float]]
) -> list[Any]:
    """The same batch here, on-policy: the recorded log-probabilities are the model's own."""
    import numpy as np

    from softgrpo.engines.local.policy_logprobs import token_logprobs
    from softgrpo.grpo.tree import pack_trees
    from softgrpo.records import Completion, Group, Prompt, ScoredGroup, TrainingGroup

    training_groups = []
    for prompt_ids, group, values in zip(prompts, completions, advantages, strict=True):
        with torch.no_grad():
            packed = pack_trees([(prompt_ids, group)])
            found = token_logprobs(ours.policy.module, ours.policy.capabilities, packed, temperature=TEMPERATURE)
        parts = found.split([len(c) for c in group])
        made = tuple(
            Completion(text="", token_ids=tuple(c), sampling_logprobs=tuple(p.tolist()), loss_mask=(True,) * len(c))
            for c, p in zip(group, parts, strict=True)
        )
        prompt = Prompt(id=str(len(training_groups)), messages=(), subject="", question="")
        scored = ScoredGroup(
            group=Group(prompt=prompt, prompt_ids=tuple(prompt_ids), completions=made),
            verdicts=(),
            standings={},
            reward_parts={},
            rewards=np.array(values),
        )
        trained = np.ones(len(values), dtype=bool)
        training_groups.append(TrainingGroup(scored=scored, advantages=np.array(values), trained=trained, flat=False))
    return training_groups


def same_gradient(asked: list[Any], *, group: int, tokens: int) -> dict[str, float]:
    """Both sides' gradients of one batch in float32: their cosine, and the norm of the difference over TRL's norm."""
    ours = Ours(dtype="float32")
    batch = made_up(ours.policy.tokenizer, asked, group=group, tokens=tokens)
    ours.learner.gradients(our_training_groups(ours, *batch))
    mine = {name: m.grad for name, m in ours.learner.masters.items()}
    trainer = trl_trainer("trl_bf16", asked, group=group, tokens=tokens, max_steps=1, dtype="float32")
    trainer.model.load_state_dict(ours.policy.module.state_dict())
    trainer.model.zero_grad()
    trainer.model.train()
    trainer.compute_loss(trainer.model, trl_batch(trainer, *batch)).backward()
    theirs = {name: p.grad for name, p in trainer.model.named_parameters()}
    a, b = (torch.cat([g[name].flatten() for name in sorted(mine)]).double() for g in (mine, theirs))
    return {"cosine": float(a @ b / (a.norm() * b.norm())), "relative_difference": float((a - b).norm() / b.norm())}
