"""What a run will ask of services, and for how much, before the first call. Arithmetic; nothing is loaded or asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from softgrpo.config.judging import JudgingFlags
from softgrpo.config.train import TrainConfig
from softgrpo.judges.chat.elicitation import MAX_TOKENS
from softgrpo.judges.chat.keys import draw_nonce
from softgrpo.judges.chat.prompt import chat
from softgrpo.judges.neutral import NEUTRAL
from softgrpo.models import names
from softgrpo.records import Message, Usage
from softgrpo.spending.budget import Prices, load_prices
from softgrpo.tasks import Tasks
from softgrpo.tournament.schedule import Plan, size

CHARACTERS = 4
"""of English per token, roughly"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What one service will be asked, at most."""

    role: str
    model: str
    usage: Usage
    """`requests` are the calls, without repeated attempts"""
    usd: float | None
    """None where the price is unknown"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a run will ask of all services."""

    roles: tuple[Role, ...]
    prices: Prices

    @property
    def calls(self) -> int:
        return sum(role.usage.requests for role in self.roles)

    @property
    def tokens(self) -> int:
        return sum(role.usage.input_tokens + role.usage.output_tokens for role in self.roles)

    @property
    def usd(self) -> float | None:
        """None when the price of any part is unknown."""
        costs = [role.usd for role in self.roles if role.usd is not None]
        return math.fsum(costs) if len(costs) == len(self.roles) else None


def plan(config: JudgingFlags) -> Plan:
    """Who meets whom in a group."""
    return Plan(kind=config.tournament[0], orders=config.judge_orders, calls=config.judge_calls_per_group)


def judge_calls_per_tournament(config: TrainConfig) -> int:
    """The most matches of one group under one objective.

    >>> judge_calls_per_tournament(TrainConfig(num_chains=16))
    240
    >>> judge_calls_per_tournament(TrainConfig(num_chains=16, judge_calls_per_group=48))
    48
    """
    return size(plan(config), config.num_chains)


def judge_calls(config: TrainConfig, tasks: Tasks | None = None) -> int:
    """The most judgements of a run: no text forfeits, no two texts are the same.

    Canaries are counted as if chance drew the one more that it may draw in every iteration. The evaluations ask about
    every pair in both orders, at the start, every `eval_iterations` and at the end.
    """
    scoring = (tasks or _tasks(config)).scoring
    given = config.weights(judge_is_local=config.judge.is_local)
    objectives = sum(bool((scoring.weights | given)[o.name]) for o in scoring.objectives)
    matches = config.prompts_per_step * objectives * judge_calls_per_tournament(config)
    canaries = 2 * math.ceil(config.canary_rate * matches / 2)
    held_out = evaluations(config) * config.eval_prompts * config.eval_samples * 2
    return (config.num_train_iters * (matches + canaries) + held_out) * config.judge_votes


def sentinel_calls(config: TrainConfig) -> int:
    """The most judgements that a run asks of its sentinel: its sample of every evaluation, in both orders.

    >>> sentinel_calls(TrainConfig(sentinel_judge="gpt-4o", eval_prompts=96, num_train_iters=40, eval_iterations=40))
    256
    """
    if config.sentinel is None:
        return 0
    pairs = config.eval_prompts * config.eval_samples
    return evaluations(config) * min(pairs, config.sentinel_limit or pairs) * 2 * config.judge_votes


def evaluations(config: TrainConfig) -> int:
    """Of a run: at the start, every `eval_iterations` and at the end.

    >>> evaluations(TrainConfig(num_train_iters=10, eval_iterations=4))
    4
    """
    return 2 + (config.num_train_iters - 1) // config.eval_iterations


def estimate(config: TrainConfig, prices: Prices | None = None, tasks: Tasks | None = None) -> Estimate:
    """Calls, tokens and cost of a run, by role; models on this machine are asked nothing that is paid for.

    Texts count with `max_completion_length` tokens each, the judge's replies with the limit they are first given.
    """
    prices = load_prices(config.prices) if prices is None else prices
    tasks = tasks or _tasks(config)
    task = tasks.dataset
    roles = []
    if not config.judge.is_local:
        calls = judge_calls(config, tasks)
        read = _judge_prompt(tasks, tasks.scoring.objectives[0].criteria) + 2 * config.max_completion_length
        roles.append(_role("judge", config.judge_model_name, calls, read, MAX_TOKENS[0], prices))
    if config.sentinel and config.sentinel_name and not config.sentinel.is_local:
        read = _judge_prompt(tasks, NEUTRAL) + 2 * config.max_completion_length
        calls = sentinel_calls(config)
        roles.append(_role("sentinel", config.sentinel_name, calls, read, MAX_TOKENS[0], prices))
    if not config.opponent.is_local:
        shots = config.shots_for(config.compare_model_name)
        read = _mean_tokens([task.prompt(q, num_shots=shots).messages for q in task.test[: config.eval_prompts]])
        calls, written = config.eval_prompts * config.eval_samples, config.max_completion_length
        roles.append(_role("opponent", config.compare_model_name, calls, read, written, prices))
    return Estimate(roles=tuple(roles), prices=prices)


def show(config: TrainConfig) -> int:
    """`softgrpo estimate`: print the table; returns the exit status."""
    print("\n".join(lines(config, estimate(config))))
    return 0


def lines(config: TrainConfig, found: Estimate) -> list[str]:
    """The table, and what must be known to read it."""
    if not found.roles:
        return ["judge and opponent run on this machine: no calls, no cost"]
    rows: list[tuple[str, ...]] = [("role", "model", "calls", "input tokens", "output tokens", "USD")]
    rows += [_row(role.role, role.model, role.usage, role.usd) for role in found.roles]
    if len(found.roles) > 1:
        read, written = (sum(getattr(r.usage, n) for r in found.roles) for n in ("input_tokens", "output_tokens"))
        total = Usage(input_tokens=read, output_tokens=written, requests=found.calls)
        rows.append(_row("total", "", total, found.usd))
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    out = [_aligned(row, widths) for row in rows]
    as_of = f", as of {found.prices.as_of}" if found.prices.as_of else ""
    out += [
        "",
        "At most: forfeits and repeated questions are not asked, and texts are counted at their full length.",
        "Not in it: attempts that are repeated, and the thoughts of a model that thinks before it answers.",
        f"Prices: {config.prices or 'the packaged list'}{as_of}; check them, and give your own with --prices.",
    ]
    for name, planned in {"calls": found.calls, "tokens": found.tokens, "usd": found.usd}.items():
        limit = getattr(config, f"budget_{name}")
        if limit is not None and planned is None:
            out.append(f"--budget_{name} {limit:g}: cannot be kept, a price is unknown")
        elif limit is not None and planned:
            share = "is enough" if limit >= planned else f"is enough for {limit / planned:.0%} of it"
            out.append(f"--budget_{name} {limit:g}: {share}")
    return out


def _role(role: str, model: str, calls: int, read: int, written: int, prices: Prices) -> Role:
    usage = Usage(input_tokens=calls * read, output_tokens=calls * written, requests=calls)
    return Role(role=role, model=model, usage=usage, usd=prices.cost(names.parse(model), usage))


def _row(role: str, model: str, usage: Usage, usd: float | None) -> tuple[str, ...]:
    counts = (usage.requests, usage.input_tokens, usage.output_tokens)
    return (role, model, *(f"{n:,}" for n in counts), "unknown" if usd is None else f"{usd:,.2f}")


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    """Words to the left, numbers to the right."""
    cells = zip(row, widths, strict=True)
    return "  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(cells)).rstrip()


def _tasks(config: TrainConfig) -> Tasks:
    return Tasks.load(config.task, config.scoring_task)


def _judge_prompt(tasks: Tasks, criteria: str) -> int:
    """Tokens of a judge's prompt without the two texts."""
    drawn = draw_nonce(b"", "", ())
    return _mean_tokens([chat(q.text, criteria, "", "", drawn) for q in tasks.dataset.train])


def _mean_tokens(chats: Sequence[Sequence[Message]]) -> int:
    return math.ceil(mean(sum(len(m["content"]) for m in c) for c in chats) / CHARACTERS)
