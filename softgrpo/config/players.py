"""Which models, and which task."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from softgrpo.config.groups import ANY_MODEL_HELP, DATA, MODEL_HELP, MODELS
from softgrpo.flags import flag
from softgrpo.models.names import EMBEDDED, ModelName, parse

NONE = "none"
"""as the sentinel's name: there is none"""
EMBEDDED_SENTINEL = "embedded:sentinel"
PAID_PAIRS = 64
"""of an evaluation, that a sentinel behind a service is asked about unless told otherwise"""
TASK_ALIASES = {"ld": "comedy", "chopped": "recipes"}


@dataclass(frozen=True, kw_only=True)
class ModelFlags:
    """Who learns, who judges, who is the opponent, who watches."""

    model_name: str = flag("Qwen/Qwen2.5-1.5B-Instruct", f"the policy: {MODEL_HELP}", group=MODELS)
    judge_model_name: str = flag(
        "Qwen/Qwen2.5-1.5B-Instruct", f"who compares the answers: {ANY_MODEL_HELP}", group=MODELS
    )
    compare_model_name: str = flag("gpt-4o-mini", f"the opponent at test time: {ANY_MODEL_HELP}", group=MODELS)
    sentinel_judge: str | None = flag(
        None,
        "a judge that rewards nothing, is told no criteria and looks at every evaluation (default: embedded:sentinel "
        "where the embedded model judges debates, else none); none switches it off",
        group=MODELS,
    )
    sentinel_pairs: int | None = flag(
        None,
        f"pairs of an evaluation that it looks at, at most (default: all; {PAID_PAIRS} where it is behind a service)",
        group=MODELS,
        low=1,
    )

    @cached_property
    def policy(self) -> ModelName:
        """The policy's name, taken apart."""
        return parse(self.model_name)

    @cached_property
    def judge(self) -> ModelName:
        """The judge's name, taken apart."""
        return parse(self.judge_model_name)

    @cached_property
    def opponent(self) -> ModelName:
        """The opponent's name, taken apart."""
        return parse(self.compare_model_name)

    @property
    def sentinel_name(self) -> str | None:
        """Who watches the judge; None where nobody does.

        >>> ModelFlags(judge_model_name="embedded").sentinel_name
        'embedded:sentinel'
        >>> ModelFlags(judge_model_name="gpt-4o").sentinel_name is None
        True
        """
        if self.sentinel_judge is not None:
            return None if self.sentinel_judge == NONE else self.sentinel_judge
        is_embedded = self.judge.provider == EMBEDDED and self.judge != parse(EMBEDDED_SENTINEL)
        return EMBEDDED_SENTINEL if is_embedded else None

    @cached_property
    def sentinel(self) -> ModelName | None:
        """The sentinel's name, taken apart."""
        return None if self.sentinel_name is None else parse(self.sentinel_name)

    @property
    def sentinel_limit(self) -> int | None:
        """Pairs of an evaluation that the sentinel looks at, at most; None: all.

        >>> ModelFlags(sentinel_judge="gpt-4o").sentinel_limit, ModelFlags(sentinel_judge="embedded").sentinel_limit
        (64, None)
        """
        is_paid = self.sentinel is not None and not self.sentinel.is_local
        return PAID_PAIRS if self.sentinel_pairs is None and is_paid else self.sentinel_pairs

    @property
    def services(self) -> tuple[str, ...]:
        """The names of those that are behind a service, each once."""
        named = {
            self.model_name: self.policy,
            self.judge_model_name: self.judge,
            self.compare_model_name: self.opponent,
        }
        if self.sentinel_name is not None and self.sentinel is not None:
            named[self.sentinel_name] = self.sentinel
        return tuple(sorted(name for name, model in named.items() if not model.is_local))


@dataclass(frozen=True, kw_only=True)
class TaskFlags:
    """What is asked, and how it is asked of a player."""

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
        "text that opens the policy's reply (default: '<reasoning>' for the embedded model, where the task asks for "
        "that form, else none)",
        group=DATA,
    )

    @property
    def task(self) -> str:
        """The name of the task that gives the prompts."""
        return TASK_ALIASES.get(self.dataset_name, self.dataset_name)

    @property
    def scoring_task(self) -> str:
        """The name of the task that scores the texts."""
        return TASK_ALIASES.get(self.evaluator, self.evaluator) if self.evaluator else self.task

    def shots_for(self, model_name: str) -> int:
        """Worked examples in the prompts of this player."""
        return int(model_name == "embedded") if self.num_shots is None else self.num_shots

    def prefill_for(self, model_name: str, form: str | None) -> str:
        """How this player's reply is opened, where the task asks for replies of that form.

        >>> TaskFlags().prefill_for("embedded", "reasoning_answer"), TaskFlags().prefill_for("embedded", None)
        ('<reasoning>\\n', '')
        """
        if self.prefill is not None:
            return self.prefill
        return "<reasoning>\n" if model_name == "embedded" and form else ""
