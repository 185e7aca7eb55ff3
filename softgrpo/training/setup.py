"""From a configuration to the things a run works with. Everything that can be wrong is found here, cheapest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from softgrpo.auditing.gold import packaged
from softgrpo.budget import Budget
from softgrpo.config import TrainConfig
from softgrpo.errors import UserError
from softgrpo.estimate import judge_calls, plan
from softgrpo.evaluator import Evaluator
from softgrpo.flags import check_fields
from softgrpo.judging.judge import check_judge, load_judge
from softgrpo.judging.log_odds_judge import LogOddsJudge
from softgrpo.model_interface import check_model, forget_local, load_local, load_model, same_weights
from softgrpo.models import loading, names
from softgrpo.models.huggingface import encode_chat, too_long
from softgrpo.records import Ledger, Sampling
from softgrpo.reporting.console import Console
from softgrpo.streams import seed_for
from softgrpo.tasks import Question, Task, load_task
from softgrpo.tasks.task import fingerprint
from softgrpo.threads import said
from softgrpo.tournament.rule import Rule
from softgrpo.training import memory, policy
from softgrpo.training.heldout import Player, held_out
from softgrpo.training.learner import Learner, LearnerSettings
from softgrpo.training.reference import MixedReference, Reference
from softgrpo.training.services import Services, open_services, put_on_budget
from softgrpo.training.services import check as check_spending


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a run works with."""

    task: Task
    policy: policy.Policy
    learner: Learner
    evaluator: Evaluator
    opponent: Player
    questions: tuple[Question, ...]
    """the held-out ones"""
    services: Services


def check(config: TrainConfig) -> None:
    """What can be said before anything is loaded."""
    check_fields(config)  # it may have been made in Python
    task = load_task(config.task)
    load_task(config.scoring_task)
    check_shots(config, task)
    check_roles(config, ("model_name", "judge_model_name", "compare_model_name"))
    if not names.parse(config.model_name).is_local:
        raise UserError(f"--model_name {config.model_name}: an API model cannot be trained; name a local one")
    if config.update_ref_model and config.use_lora:
        raise UserError(
            "--update_ref_model moves a full copy of the weights, which --use_lora avoids; drop one of them"
        )
    if config.update_ref_model and not config.kl_weight_beta:
        raise UserError("--update_ref_model needs a reference, but --kl_weight_beta 0 has none; drop one of them")
    if config.max_staleness and names.parse(config.judge_model_name).is_local:
        raise UserError(
            f"--max_staleness {config.max_staleness} hides the time of a judge behind a service, and "
            f"{config.judge_model_name} computes on this machine; drop it"
        )
    fewest = config.num_chains - 1
    if config.judge_calls_per_group is not None and config.judge_calls_per_group < fewest:
        raise UserError(
            f"--judge_calls_per_group {config.judge_calls_per_group}: {config.num_chains} completions need at least "
            f"{fewest} matches to be compared at all; give {2 * config.num_chains} or more"
        )
    check_eval_prompts(config)
    if Path(config.output_dir).exists() and not Path(config.output_dir).is_dir():
        raise UserError(f"--output_dir {config.output_dir}: is a file; name a folder")
    check_services(config, check_spending(config))


def check_shots(config: TrainConfig, task: Task) -> None:
    """There are as many worked examples as are asked for."""
    there = len(task.examples)
    if (config.num_shots or 0) > there:
        raise UserError(f"--num_shots {config.num_shots}: {task.name} has {there} worked examples; ask for {there}")


def check_roles(config: TrainConfig, flags: Sequence[str]) -> None:
    """The models' names, the judge's part, the device."""
    check_judge(config.judge_model_name)
    for flag in flags:
        check_name(flag, getattr(config, flag))
    loading.pick_device(config.device)


def check_services(config: TrainConfig, budget: Budget | None = None) -> None:
    """Services are asked whether they serve the judge and the opponent, within the budget from the first word on."""
    put_on_budget(config, budget)
    for name in sorted({config.judge_model_name, config.compare_model_name}):
        for warning in check_model(name):
            print(f"warning: {warning}")


def check_name(flag: str, name: str) -> None:
    """A model's name is one, its folder exists, its key is there."""
    try:
        names.check(name)
    except UserError as error:
        raise UserError(f"--{flag}: {error}") from None


def check_eval_prompts(config: TrainConfig) -> None:
    """There are as many held-out prompts as are asked for."""
    there = len(load_task(config.task).test)
    if config.eval_prompts > there:
        raise UserError(
            f"--eval_prompts {config.eval_prompts}: {config.task} has {there} held-out prompts; "
            f"give --eval_prompts {there}"
        )


def task_record(config: TrainConfig) -> dict[str, Any]:
    """What is recorded of a run's task: by its fingerprint a resumed run knows that the task is the same."""
    parts = {"dataset": load_task(config.task), "evaluator": load_task(config.scoring_task)}
    return {
        **{what: {"name": task.name, "fingerprint": fingerprint(task)} for what, task in parts.items()},
        "n_train": len(parts["dataset"].train),
        "n_test": len(parts["dataset"].test),
        "objectives": {o.name: o.criteria for o in parts["evaluator"].objectives},
        "ties": [o.name for o in parts["evaluator"].objectives if o.ties],
        "weights": parts["evaluator"].weights | weights(config),
    }


def weights(config: TrainConfig) -> dict[str, float]:
    """The weights that the configuration gives."""
    return config.weights(judge_is_local=names.parse(config.judge_model_name).is_local)


def evaluator(config: TrainConfig, ledger: Ledger | None = None) -> Evaluator:
    """The judge with the criteria it is to judge by; what the ledger knows is not asked."""
    judge = load_judge(
        config.judge_model_name,
        dtype=config.dtype,
        device=config.device,
        votes=config.judge_votes,
        ledger=ledger,
        # fences follow from it: the policy cannot foresee them, and a run can be repeated
        secret=str(seed_for(config.seed, "fences")).encode(),
    )
    return Evaluator(
        load_task(config.scoring_task),
        judge,
        weights(config),
        plan=plan(config),
        rule=Rule(rating=config.tournament[1], min_judged=config.min_judged),
        canary_rate=config.canary_rate,
        gold=[p.contest for p in packaged("tune")] if config.scoring_task == "debate" else (),
    )


def build(config: TrainConfig, console: Console) -> Parts:
    """Tokenizer and prompt lengths, then the memory, then weights, judge and opponent."""
    task = load_task(config.task)
    questions = held_out(task, config.eval_prompts)
    location = loading.locate(names.parse(config.model_name))
    _check_lengths(config, task, (*task.train, *questions), config.model_name)
    if config.compare_model_name != config.model_name:
        _check_lengths(config, task, questions, config.compare_model_name)
    shared = _is_shared(config)
    _check_memory(config, location, shared, console)

    console.say(said())
    memory.keep_freed()
    base = load_local(config.model_name, dtype=config.dtype, device=config.device)
    services = open_services(config)
    scoring = evaluator(config, services.ledger)
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
            forget_local(config.model_name, dtype=config.dtype, device=config.device)
    if config.reasoning_weight is None and "reasoning" in scoring.task.weights:
        console.say(f"reasoning_weight is {scoring.weights['reasoning']:g} (a local judge is free, a paid one is not)")
    if scoring.judge.scores_texts and (config.judge_calls_per_group or config.schedule):
        console.say(f"{config.judge_model_name} scores each text once: every pair meets, whatever the schedule")
    if isinstance(scoring.judge, LogOddsJudge):
        longest = max((q.text for q in (*task.train, *questions)), key=len)
        room = scoring.judge.room(longest, max((o.criteria for o in scoring.objectives), key=len, default=""))
        if room < 2 * config.max_completion_length:
            console.say(
                f"warning: {config.judge_model_name} has room for {max(room, 0)} tokens of two texts, and "
                f"--max_completion_length {config.max_completion_length} allows {2 * config.max_completion_length}: "
                f"longer matches are not judged; lower it to {max(room // 2, 0)} or take a judge that reads more"
            )
    if not names.parse(config.judge_model_name).is_local:
        console.say(f"{config.judge_model_name} will be asked about {judge_calls(config)} times at most")
    settings = LearnerSettings(
        n_updates=config.n_updates,
        **{f.name: getattr(config, f.name) for f in fields(LearnerSettings) if f.name != "n_updates"},
    )
    learner = Learner(ours, _reference(config, ours), settings)
    if not learner.tree:
        console.say(f"{config.model_name} does not read a group as a tree; completions are padded instead (slower)")
    compare = opponent(config)
    if config.use_lora:  # the base now carries an adapter: whoever comes after this run loads its own
        forget_local(config.model_name, dtype=config.dtype, device=config.device)
    return Parts(
        task=task,
        policy=ours,
        learner=learner,
        evaluator=scoring,
        opponent=compare,
        questions=questions,
        services=services,
    )


def opponent(config: TrainConfig) -> Player:
    """The compare model as a player of the evaluations."""
    name = config.compare_model_name
    return Player(
        name=name,
        model=load_model(name, dtype=config.dtype, device=config.device),
        num_shots=config.shots_for(name),
        sampling=eval_sampling(config, name, "opponent"),
    )


def eval_sampling(config: TrainConfig, name: str, role: str) -> Sampling:
    """How a player answers at test time; its stream never touches the trainer's."""
    return Sampling(
        n=config.eval_samples,
        temperature=config.eval_temperature,
        max_tokens=config.max_completion_length,
        seed=seed_for(config.seed, "evaluation", role),
        prefill=config.opening_for(name),
    )


def _reference(config: TrainConfig, ours: policy.Policy) -> Reference | None:
    if not config.kl_weight_beta:
        return None
    if config.use_lora:  # the same module: its adapter is off at rest
        return Reference(ours.module)
    base = load_local(config.model_name, dtype=config.dtype, device=config.device)
    if config.update_ref_model:
        return MixedReference(base.copy(base.name).module, alpha=config.ref_model_mixup_alpha)
    return Reference(base.module)


def _is_shared(config: TrainConfig) -> bool:
    """Somebody beside the policy needs the base weights as they are."""
    roles = (config.judge_model_name, config.compare_model_name)
    return config.kl_weight_beta > 0 or any(same_weights(config.model_name, name) for name in roles)


def _check_lengths(config: TrainConfig, task: Task, questions: Sequence[Question], name: str) -> None:
    """The longest prompt is no longer than was said, and leaves room for a completion in what the model reads."""
    if not names.parse(name).is_local:
        return
    location = loading.locate(names.parse(name))
    tokenizer = loading.load_tokenizer(location)
    shots, opening = config.shots_for(name), config.opening_for(name)
    prompts = [task.prompt(q, num_shots=shots) for q in questions]
    lengths = [len(encode_chat(tokenizer, p.messages, opening)) for p in prompts]
    longest = max(range(len(lengths)), key=lengths.__getitem__)
    if name == config.model_name and lengths[longest] > config.max_prompt_length:
        raise UserError(
            f"--max_prompt_length {config.max_prompt_length}: prompt {prompts[longest].id!r} has {lengths[longest]} "
            f"tokens; raise it to {lengths[longest]} or use fewer --num_shots"
        )
    context = loading.context_length(loading.load_config(location))
    if context and lengths[longest] + config.max_completion_length > context:
        raise UserError(too_long(name, lengths[longest], config.max_completion_length, context))


def _check_memory(config: TrainConfig, location: str, shared: bool, console: Console) -> None:
    device = loading.pick_device(config.device)
    sizes = memory.Sizes.of(loading.load_config(location))
    options: dict[str, Any] = {
        "bytes_per_weight": loading.pick_dtype(config.dtype, device).itemsize,
        "shared_base": shared and not config.use_lora,
    }
    parts = memory.need(sizes, config, **options)
    total, room = sum(parts.values()), memory.available(device)
    words = ", ".join(f"{name} {size / memory.GIB:.1f}" for name, size in parts.items())
    console.say(f"memory: about {total / memory.GIB:.1f} GiB ({words}); {room / memory.GIB:.1f} GiB free on {device}")
    if total > room and not config.skip_memory_check:
        raise UserError(
            f"{config.model_name} needs about {total / memory.GIB:.1f} GiB on {device}, "
            f"{room / memory.GIB:.1f} are free; "
            f"{memory.remedies(sizes, config, room=room, **options)} (--skip_memory_check starts anyway)"
        )
