"""One dataclass per command. A field is a flag; what follows from the fields is a property."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from softgrpo.flags import flag
from softgrpo.threads import WAITS

MODELS, DATA, RUN, SAMPLING, REWARD, LEARNING, EVALUATION, BUDGET, MACHINE = (
    "models",
    "task",
    "run",
    "sampling",
    "judge and reward",
    "learning",
    "evaluation",
    "budget",
    "machine",
)
SCHEDULES = ("round_robin", "random_regular", "adaptive", "swiss", "elimination", "chunks", "anchor")
DTYPES = ("auto", "bfloat16", "float32")
THREADS_HELP = "threads that compute; 0 is one for each core that this process may use"
TASK_ALIASES = {"ld": "comedy", "chopped": "recipes"}
MODEL_HELP = "`embedded`, a Hugging Face name, a folder or a .gguf file"
ANY_MODEL_HELP = MODEL_HELP + ", or an API model (gpt-..., claude-..., openai:NAME@http://host/v1)"


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """`softgrpo train`. Names and defaults of the first four groups' older flags are the seed's."""

    model_name: str = flag("Qwen/Qwen2.5-1.5B-Instruct", f"the policy: {MODEL_HELP}", group=MODELS)
    judge_model_name: str = flag(
        "Qwen/Qwen2.5-1.5B-Instruct", f"who compares the answers: {ANY_MODEL_HELP}", group=MODELS
    )
    compare_model_name: str = flag("gpt-4o-mini", f"the opponent at test time: {ANY_MODEL_HELP}", group=MODELS)

    dataset_name: str = flag(
        "debate",
        "the task that gives the prompts: debate, comedy (or ld), recipes (or chopped), or a .yaml or .py file",
        group=DATA,
    )
    evaluator: str | None = flag(
        None,
        "the task whose criteria and format rules score the texts (default: the same; a name or a file)",
        group=DATA,
    )
    num_shots: int | None = flag(
        None, "worked examples in the prompt (default: 1 for the embedded model, else 0)", group=DATA, low=0, high=2
    )
    prefill: str | None = flag(
        None,
        "text that opens the policy's reply (default: '<reasoning>' for the embedded model, else none)",
        group=DATA,
    )

    output_dir: str = flag("output", "the run's folder", group=RUN)
    resume: bool = flag(False, "go on from the run's last checkpoint, if there is one", group=RUN)
    verbose: bool = flag(False, "print a completion and its verdicts at every step", group=RUN)
    num_train_iters: int = flag(1000, "iterations; one samples and judges prompts_per_step groups", group=RUN, low=1)
    save_steps: int = flag(100, "iterations between checkpoints", group=RUN, low=1)
    save_total_limit: int = flag(2, "checkpoints to keep; 0 keeps all", group=RUN, low=0)
    seed: int = flag(7111994, "everything random follows from it", group=RUN, low=0, high=2**62)

    num_chains: int = flag(16, "completions per prompt, the group size G", group=SAMPLING, low=2, high=1024)
    prompts_per_step: int = flag(1, "prompts per iteration", group=SAMPLING, low=1)
    temperature: float = flag(0.9, "sampling temperature while training", group=SAMPLING, above=0, high=10)
    max_prompt_length: int = flag(256, "tokens a prompt may have; a longer one is an error", group=SAMPLING, low=1)
    max_completion_length: int = flag(786, "tokens a completion may have", group=SAMPLING, low=1)

    tournament_weight: float = flag(1.0, "weight of the tournament's standing", group=REWARD, low=0)
    reasoning_weight: float | None = flag(
        None,
        "weight of a second tournament, over the reasoning sections (default: 0.5 with a local judge, else 0)",
        group=REWARD,
        low=0,
    )
    strict_format_weight: float = flag(0.5, "reward of a reply that is the two sections and nothing else", group=REWARD)
    soft_format_weight: float = flag(0.5, "reward of a reply that has both sections in order", group=REWARD)
    tag_count_weight: float = flag(1.0, "weight of the tag count (0.125 per tag)", group=REWARD)
    judge_orders: str = flag(
        "both",
        "each pair judged in both orders, or once with the orders balanced",
        group=REWARD,
        choices=("both", "balanced"),
    )
    judge_votes: int = flag(
        1, "answers per match of a judge behind a service that gives no probabilities", group=REWARD, low=1, high=64
    )
    judge_calls_per_group: int | None = flag(
        None, "judge calls a group's tournament may take (default: every pair meets)", group=REWARD, low=1
    )
    schedule: str | None = flag(
        None,
        "who meets whom (default: round_robin, or random_regular where judge_calls_per_group is given)",
        group=REWARD,
        choices=SCHEDULES,
    )
    rating: str | None = flag(
        None,
        "from verdicts to scores (default: win_share for a round robin, else bradley_terry)",
        group=REWARD,
        choices=("win_share", "bradley_terry"),
    )
    shrink_advantages: bool = flag(
        False, "advantages are shrunk by their reliability: a judge that guesses moves nothing", group=REWARD
    )
    canary_rate: float = flag(
        0.02,
        "questions with a known answer among a judge's matches, per match; part of no reward",
        group=REWARD,
        low=0,
        high=0.5,
    )
    min_judged: float = flag(
        0.5, "a group with a smaller share of its matches judged is left out", group=REWARD, low=0, high=1
    )

    learning_rate: float = flag(5e-6, "AdamW's step after the warm-up", group=LEARNING, above=0)
    adam_beta1: float = flag(0.9, "AdamW's first moment", group=LEARNING, low=0, high=0.99999)
    adam_beta2: float = flag(0.99, "AdamW's second moment", group=LEARNING, low=0, high=0.99999)
    weight_decay: float = flag(0.1, "AdamW's decay of matrices", group=LEARNING, low=0)
    max_grad_norm: float = flag(0.1, "gradients are scaled down to this norm", group=LEARNING, above=0)
    max_staleness: int = flag(
        0,
        "1 samples the next iteration while a judge behind a service works on this one; 0 is strictly on-policy",
        group=LEARNING,
        low=0,
        high=1,
    )
    gradient_accumulation_steps: int = flag(4, "iterations per optimizer update", group=LEARNING, low=1)
    warmup_percent: float = flag(0.18, "share of updates with a rising learning rate", group=LEARNING, low=0, high=1)
    loss: str = flag("grpo", "the policy loss", group=LEARNING, choices=("grpo", "dr_grpo", "dapo", "gspo"))
    scale_advantages: bool | None = flag(
        None,
        "divide advantages by the group's standard deviation (default: yes, but not with --loss dr_grpo)",
        group=LEARNING,
    )
    clip_low: float = flag(0.2, "ratios are clipped below 1 - clip_low", group=LEARNING, above=0, high=1)
    clip_high: float = flag(0.2, "ratios are clipped above 1 + clip_high", group=LEARNING, above=0)
    clip_dual: float = flag(
        3.0,
        "where the advantage is negative a ratio counts at most this much (dual clip, Ye et al., 2020)",
        group=LEARNING,
        low=1,
    )
    num_inner_epochs: int = flag(1, "optimizer steps on the same completions", group=LEARNING, low=1)
    kl_weight_beta: float = flag(0.04, "weight of the KL penalty; 0 needs no reference", group=LEARNING, low=0)
    update_ref_model: bool = flag(False, "mix the policy into the reference as training goes", group=LEARNING)
    update_ref_model_freq: int = flag(200, "updates between two mixings", group=LEARNING, low=1)
    ref_model_mixup_alpha: float = flag(0.1, "share of the policy in a mixing", group=LEARNING, low=0, high=1)
    mask_truncated: bool = flag(False, "leave completions without an end out of the loss", group=LEARNING)
    use_lora: bool = flag(False, "train a low-rank adapter; the base serves as reference and judge", group=LEARNING)
    lora_rank: int = flag(16, "the adapter's rank", group=LEARNING, low=1)
    lora_alpha: int = flag(32, "the adapter's scale is alpha / rank", group=LEARNING, low=1)
    lora_dropout: float = flag(0.0, "dropout before the adapter", group=LEARNING, low=0, high=0.9)

    eval_iterations: int = flag(40, "iterations between evaluations", group=EVALUATION, low=1)
    eval_prompts: int = flag(32, "held-out prompts, both sides of a subject together", group=EVALUATION, low=1)
    eval_samples: int = flag(1, "answers of each player per prompt", group=EVALUATION, low=1)
    eval_temperature: float = flag(0.9, "sampling temperature of both players", group=EVALUATION, low=0, high=10)

    ledger: str | None = flag(
        None,
        "the file of all judgements, where none is paid for twice (default: verdicts.sqlite in output_dir); runs may "
        "share one",
        group=BUDGET,
    )
    budget_calls: int | None = flag(None, "API calls the run may make, repeated attempts included", group=BUDGET, low=0)
    budget_tokens: int | None = flag(None, "tokens that its API calls may read and write", group=BUDGET, low=0)
    budget_usd: float | None = flag(None, "what its API calls may cost, at known prices", group=BUDGET, low=0)
    max_concurrency: int = flag(
        32, "calls to a service at once; fewer while it limits their rate", group=BUDGET, low=1, high=1024
    )
    prices: str | None = flag(
        None, "a YAML file of prices in USD per million tokens (default: the packaged list; check it)", group=BUDGET
    )

    dtype: str = flag("auto", "precision of computation; weights are learned in float32", group=MACHINE, choices=DTYPES)
    device: str = flag("auto", "cpu, cuda, cuda:1, ...; auto takes CUDA where there is one", group=MACHINE)
    threads: int = flag(0, THREADS_HELP, group=MACHINE, low=0, high=4096)
    thread_wait: str = flag(
        WAITS[0],
        "how threads wait for each other: asleep, which leaves their cores to others, or spinning",
        group=MACHINE,
        choices=WAITS,
    )
    micro_batch_tokens: int = flag(
        4096, "tokens per forward and backward pass; less needs less memory", group=MACHINE, low=1
    )
    gradient_checkpointing: bool = flag(False, "compute activations twice to hold them never", group=MACHINE)
    skip_memory_check: bool = flag(False, "start although the estimate says that it does not fit", group=MACHINE)

    @property
    def task(self) -> str:
        return TASK_ALIASES.get(self.dataset_name, self.dataset_name)

    @property
    def scoring_task(self) -> str:
        return TASK_ALIASES.get(self.evaluator, self.evaluator) if self.evaluator else self.task

    @property
    def tournament(self) -> tuple[str, str]:
        """The schedule and the rating, where none is given by what goes well together."""
        schedule = self.schedule or ("round_robin" if self.judge_calls_per_group is None else "random_regular")
        return schedule, self.rating or ("win_share" if schedule == "round_robin" else "bradley_terry")

    @property
    def scales_advantages(self) -> bool:
        """Whether advantages are divided: Dr. GRPO does not (Liu et al., 2025), unless it is told to."""
        return self.loss != "dr_grpo" if self.scale_advantages is None else self.scale_advantages

    @property
    def settled(self) -> dict[str, Any]:
        """The flags with what is in force where one is left open that once had to be said."""
        return asdict(self) | {"scale_advantages": self.scales_advantages}

    def shots_for(self, model_name: str) -> int:
        """Worked examples in the prompts of this player."""
        return int(model_name == "embedded") if self.num_shots is None else self.num_shots

    def opening_for(self, model_name: str) -> str:
        """How this player's reply is opened."""
        return ("<reasoning>\n" if model_name == "embedded" else "") if self.prefill is None else self.prefill

    @property
    def n_updates(self) -> int:
        return -(-self.num_train_iters // self.gradient_accumulation_steps)

    def weights(self, *, judge_is_local: bool) -> dict[str, float]:
        """The weight of every reward part, by name."""
        reasoning = (0.5 if judge_is_local else 0.0) if self.reasoning_weight is None else self.reasoning_weight
        return {
            "answer": self.tournament_weight,
            "reasoning": reasoning,
            "strict_format": self.strict_format_weight,
            "soft_format": self.soft_format_weight,
            "tag_count": self.tag_count_weight,
        }


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """`softgrpo evaluate`: any model or checkpoint against any other, with any judge, on held-out or own prompts."""

    run: str | None = flag(None, "the run whose settings, prompts and opponent are used (default: output)", group=RUN)
    output_dir: str | None = flag(
        None, "where the results go (default: the run's evaluations, without a run `evaluations`)", group=RUN
    )
    checkpoint: str = flag("final", "of the run: final, base, or a checkpoint such as step-40", group=MODELS)
    model_name: str | None = flag(None, f"a plain model instead of a run's: {ANY_MODEL_HELP}", group=MODELS)
    judge_model_name: str | None = flag(None, "who compares (default: the run's judge)", group=MODELS)
    compare_model_name: str | None = flag(None, "the opponent (default: the run's)", group=MODELS)
    dataset_name: str | None = flag(
        None, "the task: debate, comedy, recipes, or a .yaml or .py file (default: the run's)", group=DATA
    )
    prompts: str | None = flag(
        None, "your own prompts for the task: a .jsonl, .csv, or .txt file of one topic per line", group=DATA
    )
    num_shots: int | None = flag(None, "worked examples in the prompts of a plain model", group=DATA, low=0, high=2)
    prefill: str | None = flag(None, "text that opens a plain model's reply", group=DATA)
    eval_prompts: int | None = flag(
        None,
        "how many prompts (default: the run's number, without a run 32, or all of --prompts)",
        group=EVALUATION,
        low=1,
    )
    eval_samples: int | None = flag(
        None, "answers of each player per prompt (default: the run's)", group=EVALUATION, low=1
    )
    eval_temperature: float | None = flag(
        None, "sampling temperature of plain models (default: 0.9)", group=EVALUATION, low=0, high=10
    )
    max_completion_length: int | None = flag(
        None, "tokens a plain model's reply may have (default: 786)", group=EVALUATION, low=1
    )
    seed: int | None = flag(None, "everything random follows from it", group=EVALUATION, low=0, high=2**62)
    ledger: str | None = flag(
        None, "the file of all judgements (default: verdicts.sqlite of the run, or beside the results)", group=BUDGET
    )
    dtype: str | None = flag(None, "precision of plain models (default: auto)", group=MACHINE, choices=DTYPES)
    device: str = flag("auto", "cpu, cuda, ...", group=MACHINE)
    threads: int = flag(0, THREADS_HELP, group=MACHINE, low=0, high=4096)


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """`softgrpo report`: figures and one page, from what was recorded."""

    run: str = flag("output", "the run's folder", group=RUN)


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """`softgrpo audit`: is this judge fit to train against?"""

    judge_model_name: str = flag("embedded", f"the judge: {ANY_MODEL_HELP}", group=MODELS)
    gold: str | None = flag(
        None,
        "your own pairs: a .csv or .jsonl file with prompt, better, worse and, by wish, criteria and kind "
        "(default: the packaged ones, on debate)",
        group=DATA,
    )
    pairs: int = flag(96, "gold pairs, each in both orders", group=DATA, low=1)
    groups: int = flag(8, "round robins among texts of one prompt, for cycles", group=DATA, low=0)
    group_size: int = flag(6, "texts of such a group, at most", group=DATA, low=3, high=64)
    seed: int = flag(0, "which pairs and groups are taken", group=DATA, low=0)
    output: str | None = flag(None, "the JSON file (default: audit_JUDGE.json)", group=RUN)
    ledger: str | None = flag(None, "a file of judgements, where none is paid for twice", group=BUDGET)
    dtype: str = flag("auto", "precision of a local judge", group=MACHINE, choices=DTYPES)
    device: str = flag("auto", "cpu, cuda, ...", group=MACHINE)
    threads: int = flag(0, THREADS_HELP, group=MACHINE, low=0, high=4096)


@dataclass(frozen=True, kw_only=True)
class RescoreConfig:
    """`softgrpo rescore`: the rewards of a recorded run under another rule, without a call."""

    run: str = flag("output", "the run's folder", group=RUN)
    rating: str | None = flag(
        None, "from verdicts to scores (default: the run's)", group=REWARD, choices=("win_share", "bradley_terry")
    )
    shrink_advantages: bool = flag(False, "advantages are shrunk by their reliability", group=REWARD)
    min_judged: float | None = flag(
        None,
        "a group with a smaller share of its matches judged has no rewards (default: the run's)",
        group=REWARD,
        low=0,
        high=1,
    )


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """`softgrpo sample`: base against trained, side by side, on a topic of the user's own."""

    run: str = flag("output", "the run's folder", group=RUN)
    checkpoint: str = flag("final", "of the run: final, or a checkpoint such as step-40", group=MODELS)
    topic: str = flag("", "what to write about", group=DATA)
    seed: int = flag(0, "another seed gives other texts", group=SAMPLING, low=0)
    temperature: float = flag(0.7, "sampling temperature", group=SAMPLING, low=0, high=10)
    device: str = flag("auto", "cpu, cuda, ...", group=MACHINE)
    threads: int = flag(0, THREADS_HELP, group=MACHINE, low=0, high=4096)
