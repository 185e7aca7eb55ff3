"""From a checked configuration to the things a run works with: first what needs no weights, then the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from softgrpo import assembly
from softgrpo.config.train import TrainConfig
from softgrpo.engines.base import Engine
from softgrpo.engines.local import policy
from softgrpo.engines.local.engine import LocalEngine
from softgrpo.engines.local.learner import Learner, LearnerSettings
from softgrpo.engines.local.reference import MixedReference, Reference
from softgrpo.errors import UserError
from softgrpo.evaluation.head_to_head import Player, held_out
from softgrpo.evaluation.players import player
from softgrpo.evaluation.sentinel import Sentinel
from softgrpo.evaluator import Evaluator
from softgrpo.judges.local import LogOddsJudge
from softgrpo.model_interface import ModelPool, same_weights
from softgrpo.models import loading, names
from softgrpo.models.huggingface import encode_chat, too_long
from softgrpo.reporting.console import Console
from softgrpo.rollout.rollouts import Rollouts
from softgrpo.spending.estimate import judge_calls, sentinel_calls
from softgrpo.spending.services import Services, open_services
from softgrpo.streams import seed_for
from softgrpo.tasks import Question, Task, Tasks
from softgrpo.threads import said
from softgrpo.training import memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a run works with, and owns."""

    task: Task
    engine: Engine
    evaluator: Evaluator
    sentinel: Sentinel | None
    rollouts: Rollouts
    player: Player
    """the policy, as evaluations ask it"""
    opponent: Player
    questions: tuple[Question, ...]
    """the held-out ones"""
    services: Services


def build(config: TrainConfig, tasks: Tasks, pool: ModelPool, console: Console) -> Parts:
    """Prompt lengths, then the memory, then weights, judge and opponent."""
    task = tasks.dataset
    questions = held_out(task, config.eval_prompts)
    check_lengths(config, task, (*task.train, *questions), config.model_name)
    if config.compare_model_name != config.model_name:
        check_lengths(config, task, questions, config.compare_model_name)
    memory.check(config, loading.locate(config.policy), is_shared(config), console.say)

    console.say(said())
    memory.keep_freed()
    services = open_services(config, pool)
    engine = open_engine(config, pool)
    scoring = assembly.evaluator(config, tasks, pool, services.ledger)
    watching = assembly.sentinel(config, tasks, pool, services.ledger)
    _say_what_comes(config, tasks, scoring, console)
    if watching and config.sentinel_judge is None:
        console.say(f"{config.sentinel_name} looks on at every evaluation (--sentinel_judge none: nobody does)")
    if not engine.capabilities.shares_prompts:
        console.say(f"{config.model_name} does not read a group as a tree; completions are padded instead (slower)")
    name = config.compare_model_name
    opponent = player(config, name, "opponent", pool.get(name), form=task.format)
    if config.use_lora:  # the base now carries an adapter: whoever comes after this run loads its own
        pool.forget(config.model_name)
    return Parts(
        task=task,
        engine=engine,
        evaluator=scoring,
        sentinel=Sentinel.of(watching, config.sentinel_limit),
        rollouts=Rollouts(config, task, engine, scoring),
        player=player(config, config.model_name, "policy", engine, form=task.format),
        opponent=opponent,
        questions=questions,
        services=services,
    )


def open_engine(config: TrainConfig, pool: ModelPool) -> LocalEngine:
    """The policy with its learner; the base weights stay in the pool where others need them as they are."""
    base, shared = pool.local(config.model_name), is_shared(config)
    if config.use_lora:
        ours = policy.with_lora(
            base,
            rank=config.lora_rank,
            alpha=config.lora_alpha,
            dropout=config.lora_dropout,
            seed=seed_for(config.seed, "adapter"),
        )
    else:
        ours = policy.full(base, shared=shared)
        if not shared:
            pool.forget(config.model_name)
    settings = LearnerSettings(
        n_updates=config.n_updates,
        **{f.name: getattr(config, f.name) for f in fields(LearnerSettings) if f.name != "n_updates"},
    )
    learner = Learner(ours, _reference(config, ours, pool), settings)
    return LocalEngine(ours, learner, mix_every=config.update_ref_model_freq if config.update_ref_model else None)


def _reference(config: TrainConfig, ours: policy.Policy, pool: ModelPool) -> Reference | None:
    if not config.kl_weight_beta:
        return None
    if config.use_lora:  # the same module: its adapter is off at rest
        return Reference(ours.module, ours.capabilities)
    base = pool.local(config.model_name)
    if config.update_ref_model:
        moving = base.copy(base.name)
        return MixedReference(moving.module, ours.capabilities, alpha=config.ref_model_mixup_alpha)
    return Reference(base.module, ours.capabilities)


def is_shared(config: TrainConfig) -> bool:
    """Somebody beside the policy needs the base weights as they are."""
    roles = (config.judge_model_name, config.compare_model_name, config.sentinel_name)
    return config.kl_weight_beta > 0 or any(name and same_weights(config.model_name, name) for name in roles)


def _say_what_comes(config: TrainConfig, tasks: Tasks, scoring: Evaluator, console: Console) -> None:
    """What follows from the flags that is not plain from them."""
    judge: Any = scoring.judge
    if config.reasoning_weight is None and "reasoning" in scoring.task.weights:
        console.say(f"reasoning_weight is {scoring.weights['reasoning']:g} (a local judge is free, a paid one is not)")
    if judge.scores_texts and (config.judge_calls_per_group or config.schedule):
        console.say(f"{config.judge_model_name} scores each text once: every pair meets, whatever the schedule")
    if isinstance(judge, LogOddsJudge):
        questions = (*tasks.dataset.train, *held_out(tasks.dataset, config.eval_prompts))
        longest = max((q.text for q in questions), key=len)
        room = judge.room(longest, max((o.criteria for o in scoring.objectives), key=len, default=""))
        if room < 2 * config.max_completion_length:
            console.say(
                f"warning: {config.judge_model_name} has room for {max(room, 0)} tokens of two texts, and "
                f"--max_completion_length {config.max_completion_length} allows {2 * config.max_completion_length}: "
                f"longer matches are not judged; lower it to {max(room // 2, 0)} or take a judge that reads more"
            )
    if not config.judge.is_local:
        console.say(f"{config.judge_model_name} will be asked about {judge_calls(config, tasks)} times at most")
    if config.sentinel and not config.sentinel.is_local:
        calls = sentinel_calls(config)
        console.say(f"{config.sentinel_name} will be asked about {calls} times at most, as the sentinel")


def check_lengths(config: TrainConfig, task: Task, questions: Sequence[Question], name: str) -> None:
    """The longest prompt is no longer than was said, and leaves room for a completion in what the model reads."""
    model = names.parse(name)
    if not model.is_local:
        return
    location = loading.locate(model)
    tokenizer = loading.load_tokenizer(location)
    shots, prefill = config.shots_for(name), config.prefill_for(name, task.format)
    prompts = [task.prompt(q, num_shots=shots) for q in questions]
    lengths = [len(encode_chat(tokenizer, p.messages, prefill)) for p in prompts]
    longest = max(range(len(lengths)), key=lengths.__getitem__)
    if name == config.model_name and lengths[longest] > config.max_prompt_length:
        raise UserError(
            f"--max_prompt_length {config.max_prompt_length}: prompt {prompts[longest].id!r} has {lengths[longest]} "
            f"tokens; raise it to {lengths[longest]} or use fewer --num_shots"
        )
    context = loading.context_length(loading.load_config(location))
    if context and lengths[longest] + config.max_completion_length > context:
        raise UserError(too_long(name, lengths[longest], config.max_completion_length, context))
