"""`Scorer`: rewards for whole groups of completions, outside of any trainer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, Self, cast

from softgrpo.errors import UserError
from softgrpo.evaluator import Evaluator, contest_of
from softgrpo.judges.by_name import check_judge, load_judge
from softgrpo.judges.callable import CallableJudge, Compare
from softgrpo.judges.chat.judge import ChatJudge
from softgrpo.judges.local import LogOddsJudge
from softgrpo.model_interface import ModelPool
from softgrpo.models import names
from softgrpo.records import Contest, Group, Judge, Ledger, ScoredGroup
from softgrpo.scoring_task import OWN, scoring_task, weights_for
from softgrpo.spending.budget import NO_PRICES, Budget, Spent, load_prices
from softgrpo.spending.ledger import SqliteLedger
from softgrpo.streams import seed_for
from softgrpo.tasks import Task
from softgrpo.tasks.chats import PromptReader, as_completion
from softgrpo.tasks.task import ExtraReward
from softgrpo.tournament import schedule_and_rating
from softgrpo.tournament.rule import Rule
from softgrpo.tournament.schedule import Plan, next_round

THREADS = 64
"""groups that `score_async` scores at once"""


class Scorer:
    """Groups in, rewards out: a task's criteria, or free ones, under any judge. `with` closes what it has opened.

    A task, and a function as its judge. The prompt is given by the task's fields:

    >>> from softgrpo import Scorer
    >>> def longer(prompt, first, second):
    ...     return 0.9 if len(first) > len(second) else 0.1
    >>> speech = "<reasoning>\\n{}\\n</reasoning>\\n<answer>\\n{}\\n</answer>".format
    >>> scorer = Scorer(task="debate", judge=longer)
    >>> motion = {"motion": "Cities should ban cars", "side": "PRO"}
    >>> scored = scorer.score(motion, [speech("Air.", "Cars foul the air."), speech("Air.", "Cars."), "No tags."])
    >>> {name: part.round(2).tolist() for name, part in scored.reward_parts.items()}
    {'answer': [1.35, 0.15, -1.5], 'strict_format': [1.0, 1.0, 0.0], 'soft_format': [1.0, 1.0, 0.0],
     'tag_count': [0.5, 0.5, 0.0]}
    >>> scored.rewards.round(2).tolist()
    [2.85, 1.65, -1.5]

    Free criteria on plain texts, of which the whole is judged:

    >>> scorer = Scorer(criteria="The better answer gives a reason.", judge=longer)
    >>> scored = scorer.score("Why is it wet?", ["It rained all night.", "It rained.", None])
    >>> scored.rewards.round(2).tolist(), [failure for failure in scored.failures]
    ([1.2, -1.2, nan], ['a completion was not delivered', 'a completion was not delivered'])

    A judge that fails is no tie. Its two failures leave that pair without an outcome, and the texts are scored by the
    others; where too little is left there is no reward:

    >>> def fails_twice(prompt, first, second):
    ...     if {first, second} == {"a", "bb"}:
    ...         raise TimeoutError("no answer")
    ...     return longer(prompt, first, second)
    >>> scored = Scorer(criteria="Longer is better.", judge=fails_twice).score("Go.", ["a", "bb", "ccc"])
    >>> scored.failures, scored.standings["answer"].n_opponents.tolist(), scored.rewards.round(2).tolist()
    (('TimeoutError: no answer', 'TimeoutError: no answer'), [1, 1, 2], [-1.2, -1.2, 1.2])
    >>> Scorer(criteria="Longer is better.", judge=fails_twice).score("Go.", ["a", "bb"]).rewards.tolist()
    [nan, nan]
    """

    def __init__(
        self,
        *,
        task: str | Task | None = None,
        criteria: str | None = None,
        judge: str | Judge | Compare = "embedded",
        format: str | None = OWN,
        rewards: Mapping[str, ExtraReward] | None = None,
        weights: Mapping[str, float] | None = None,
        judge_calls_per_group: int | None = None,
        schedule: str | None = None,
        orders: str = "both",
        rating: str | None = None,
        votes: int = 1,
        min_judged: float = 0.5,
        canary_rate: float = 0.0,
        ledger: str | Path | Ledger | None = None,
        budget_calls: int | None = None,
        budget_tokens: int | None = None,
        budget_usd: float | None = None,
        prices: str | Path | None = None,
        max_concurrency: int = 32,
        seed: int = 0,
        dtype: str = "auto",
        device: str = "auto",
        models: ModelPool | None = None,
    ) -> None:
        """Raises `UserError` for whatever cannot be, before anything is asked or loaded.

        `task` (a name, a `.yaml` or `.py` file, a `Task`) or `criteria`: what makes a completion better. `judge`: a
        name, a `Judge`, or a function of (prompt, first, second) that gives the probability that the first is better.
        `format`: None judges whole replies, without format rewards and objectives over the reasoning; by default the
        task's own, and None for free criteria. `rewards`: further ones from code, by name, as functions of (prompt,
        completion). `weights` of reward parts win over the task's and the defaults of `softgrpo train`. `ledger`,
        `votes` and the budget are for judges by name; what is spent is kept in no file.
        `models`: a pool to share, which is then somebody else's to close; its own budget and precision hold.
        """
        self._made_of = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        self.task = scoring_task(task, criteria, format, rewards or {})
        self.seed = seed
        self._prompts = PromptReader(self.task)
        named = names.parse(judge) if isinstance(judge, str) else None
        budgets = {"budget_calls": budget_calls, "budget_tokens": budget_tokens, "budget_usd": budget_usd}
        if named is None:
            _refuse({**budgets, "ledger": ledger}, "a judge of your own is neither counted nor kept; name a model")
        if models is not None:
            _refuse(budgets, "the shared models have a budget of their own; set that")
        service = None if named is None or named.is_local else named
        known = load_prices(prices, dashes="") if service else NO_PRICES
        budget = Budget(calls=budget_calls, tokens=budget_tokens, usd=budget_usd, prices=known, dashes="")
        if service:
            budget.check(service)
        weighted = weights_for(self.task, weights or {}, judge_is_local=_is_local(judge, named))
        schedule, rating = schedule_and_rating(schedule, rating, calls=judge_calls_per_group)
        try:
            plan = Plan(kind=schedule, orders=orders, calls=judge_calls_per_group)
            rule = Rule(rating=rating, min_judged=min_judged)
        except ValueError as error:
            raise UserError(str(error)) from error
        pool = models or ModelPool(dtype=dtype, device=device, max_concurrency=max_concurrency, budget=budget)
        self.budget: Budget = pool.budget or budget
        with ExitStack() as opened:
            if models is None:
                opened.callback(pool.close)
            if isinstance(judge, str):
                check_judge(judge)
                names.check(judge)
                if isinstance(ledger, str | Path):
                    ledger = opened.enter_context(SqliteLedger(ledger, prices=known))
                secret = str(seed_for(seed, "fences")).encode()  # unforeseeable for a policy, the same another time
                asked = load_judge(judge, models=pool, votes=votes, ledger=ledger, secret=secret)
            else:
                asked = given_judge(judge)
            self._opened = opened.pop_all()
        gold = _gold() if canary_rate and task == "debate" else ()
        self.evaluator = Evaluator(self.task, asked, weighted, plan=plan, rule=rule, canary_rate=canary_rate, gold=gold)
        # ours bear it, a local model by giving turns; of a `Judge` of somebody's own nobody knows
        overlaps = isinstance(judge, str) or isinstance(asked, CallableJudge | ChatJudge | LogOddsJudge)
        self._turn: Any = nullcontext() if overlaps else threading.Lock()
        self._threads: ThreadPoolExecutor | None = None

    def score(self, prompt: Any, completions: Sequence[Any]) -> ScoredGroup:
        """One group: a prompt (what that may be: `PromptReader`) and two or more completions (`as_completion`).

        Raises `UserError` for what is neither, and `BudgetReached`, a kind of it, where the next call may cost too
        much: then nothing is scored, and the ledger keeps what was paid for.
        """
        return self.score_groups([(prompt, completions)])[0]

    async def score_async(self, prompt: Any, completions: Sequence[Any]) -> ScoredGroup:
        """The same for a running event loop; it works in a thread of its own, and several may be under way.

        What one has learned of the judge's bias when another begins is all by which they touch each other.
        """
        threads = ThreadPoolExecutor(THREADS, "softgrpo-scorer") if self._threads is None else self._threads
        self._threads = threads
        return await asyncio.get_running_loop().run_in_executor(threads, self.score, prompt, completions)

    def score_groups(
        self, groups: Sequence[tuple[Any, Sequence[Any]]], *, seeds: Sequence[int] | None = None
    ) -> list[ScoredGroup]:
        """Pairs of a prompt and its completions, whole groups together: each round of all of them is one call.

        Each group's matches follow from its own seed (default: from the scorer's and the prompt's id), so that it
        meets the same ones whatever stands beside it, and a ledger knows them again.
        """
        made = [self._group(prompt, completions) for prompt, completions in groups]
        self._check_plan(made)
        if seeds is None:
            seeds = [seed_for(self.seed, "schedule", group.prompt.id) for group in made]
        with self._turn:
            return self.evaluator.score_groups(made, seed=seeds)

    @property
    def spent(self) -> Spent:
        """Calls, tokens and USD so far; nothing for a judge that is no service."""
        return self.budget.spent

    def state(self) -> dict[str, Any]:
        """What later groups start from, as it can be saved: what was learned of the judge."""
        return self.evaluator.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self.evaluator.restore(state)

    def close(self) -> None:
        """Close what was opened here: connections, and a ledger given by its path."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)
        self._opened.close()

    def for_trl(self, *, num_generations: int | None = None, asynchronous: bool = False) -> Any:
        """The reward function for TRL's `GRPOTrainer`; see `integrations.trl`."""
        from softgrpo.integrations.trl import AsyncTournamentReward, TournamentReward

        return (AsyncTournamentReward if asynchronous else TournamentReward)(self, num_generations=num_generations)

    def for_slime(self) -> Any:
        """The function for slime's `--group-rm --custom-rm-path`; see `integrations.slime`."""
        from softgrpo.integrations.slime import group_reward

        return group_reward(self)

    def __reduce__(self) -> Any:
        """Another process makes its own, of the same arguments, with what was learned of the judge and a new budget."""
        if (shared := self._made_of["models"]) is not None:
            raise TypeError(f"a scorer on a shared {type(shared).__name__} stays in its process; leave models= out")
        if not isinstance(ledger := self._made_of["ledger"], str | Path | None):
            raise TypeError(f"a scorer with an open {type(ledger).__name__} stays in its process; give the file's path")
        return _again, (self._made_of, self.state())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _group(self, prompt: Any, completions: Sequence[Any]) -> Group:
        if isinstance(completions, str | Mapping) or not isinstance(completions, Sequence):
            what = "one text" if isinstance(completions, str) else f"a {type(completions).__name__}"
            raise UserError(f"completions is {what}; give a list of two or more")
        if len(completions) < 2:
            there = "is empty" if not completions else "holds one text, which has nobody to meet"
            raise UserError(f"completions {there}; give two or more")
        return Group(
            prompt=self._prompts.read(prompt), prompt_ids=(), completions=tuple(map(as_completion, completions))
        )

    def _check_plan(self, groups: Sequence[Group]) -> None:
        """So many calls can join all that have something to show; said before a call is made."""
        if self.evaluator.judge.scores_texts:
            return
        try:
            for contest in (contest_of(g, o, self.task.format) for g in groups for o in self.evaluator.objectives):
                shown = [i for i, text in enumerate(contest.texts) if text is not None]
                next_round(self.evaluator.plan, shown, (), seed=0)
        except ValueError as error:
            raise UserError(str(error)) from error


def given_judge(judge: Any) -> Judge:
    """A `Judge`, or a function as one. Raises `UserError` for what is neither."""
    if hasattr(judge, "judge"):
        return cast(Judge, judge)
    if callable(judge):
        return CallableJudge(judge)
    raise UserError(
        f"judge is a {type(judge).__name__}; give a name, a Judge, or a function of (prompt, first, second)"
    )


def _is_local(judge: str | Judge | Compare, named: names.ModelName | None) -> bool:
    """Judging costs nothing but time: a model on this machine."""
    if named is not None:
        return named.is_local
    return isinstance(judge, LogOddsJudge) or getattr(judge, "scores_texts", False)


def _again(made_of: Mapping[str, Any], state: Mapping[str, Any]) -> Scorer:
    scorer = Scorer(**made_of)
    scorer.restore(state)
    return scorer


def _refuse(given: Mapping[str, Any], why: str) -> None:
    for name, value in given.items():
        if value is not None:
            raise UserError(f"{name} {value}: {why}, or drop it")


def _gold() -> list[Contest]:
    """Pairs of speeches of which everybody knows the better one."""
    from softgrpo.auditing.gold import packaged

    return [pair.contest for pair in packaged("tune")]
