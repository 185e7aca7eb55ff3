"""What requests and answers look like, as /docs shows them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr

Number = float | None
HUGE = 2**63
Whole = Annotated[int, Field(strict=True)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=86400, allow_inf_nan=False)]
Prompt = Annotated[
    Any,
    Field(
        description="A text, a list of messages, or an object of the task's fields or with `messages` or `prompt`.",
        examples=["Why is the street wet?"],
    ),
]
COMPLETION = "A text, a list of messages (the assistant's turns count), or null for one that was not delivered."
Completions = Annotated[
    list[Any], Field(description=COMPLETION, examples=[["It rained all night.", "It rained.", None]])
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CohortRequest(_Strict):
    """One sample of a group."""

    cohort: StrictStr = Field(min_length=1, max_length=512, description="Names the group.", examples=["run-1/7"])
    size: Whole = Field(ge=2, description="How many different members the group has.", examples=[2])
    member: Annotated[StrictStr, Field(min_length=1, max_length=512)] | Annotated[Whole, Field(ge=-HUGE, le=HUGE)] = (
        Field(description='Names the sample within its group, 1 as "1"; a retry bears the same.', examples=[0])
    )
    prompt: Prompt
    completion: Any = Field(description=COMPLETION, examples=["It rained all night."])
    attempt: Whole = Field(0, ge=0, le=2**31, description="A higher one begins the group anew.")
    rolling: StrictBool = Field(
        False, description="A new member that finds the group full or ended opens the next one of that name."
    )
    deadline_s: Seconds | None = Field(
        None, description="Seconds from the first member within which all must come; the server's is the most."
    )
    wait_s: Annotated[float, Field(strict=True, ge=0, le=86400, allow_inf_nan=False)] | None = Field(
        None, description="Answer 202 after so many seconds, if there is no reward yet; ask again with the same."
    )


class CohortAnswer(BaseModel):
    """A sample's reward."""

    cohort: str
    attempt: int
    member: str | int
    reward: Number = Field(description="null where there is none; `failure` says why.")
    neutral_reward: float = Field(description="The reward, or the mean of those its group has; always a number.")
    stderr: Number = Field(description="The judge's noise.")
    reward_parts: dict[str, Number]
    failure: str
    n_judged: int = Field(description="Members of the group that have a reward.")
    again: bool = Field(description="The judge failed the whole group, and the same sent again has it judged again.")


class Waiting(BaseModel):
    """No reward yet."""

    state: str = Field(description="`collecting` members, or `judging`.")


class ScoreRequest(_Strict):
    """A whole group."""

    prompt: Prompt
    completions: Completions
    seed: Annotated[int, Field(strict=True, ge=0, le=2**62)] | None = Field(
        None, description="From it follows who meets whom; by default the server's and the prompt's."
    )


class Spending(BaseModel):
    """What services were paid since the server began."""

    calls: int
    tokens: int
    usd: float


class ScoreAnswer(BaseModel):
    """The rewards of a group, in the order of its completions."""

    rewards: list[Number]
    neutral_rewards: list[float]
    stderrs: list[Number]
    reward_parts: dict[str, list[Number]]
    failures: list[str] = Field(description="Why there is no outcome, for each failed judgement.")
    n_unjudged: int = Field(description="Failed judgements.")
    n_forfeits: int = Field(description="Completions that had nothing to show.")
    position_bias: Number = Field(description="Log-odds that the judge gives to what it reads first.")
    spent: Spending


class RankRequest(_Strict):
    """Texts to be put in order."""

    prompt: Prompt
    completions: Completions
    criteria: StrictStr | None = Field(
        None,
        description="What makes a text better; by default the served task's.",
        examples=["The better answer gives a reason."],
    )


class RankAnswer(BaseModel):
    """The order, and what it stands on."""

    order: list[int] = Field(description="Places of the texts that have a score, best first.")
    scores: list[Number]
    stderrs: list[Number]
    reliability: Number = Field(description="Share of the scores' variance that is no noise of the judge.")
    position_bias: Number
    failures: list[str]


class CompareRequest(BaseModel):
    """A group in NeMo Gym's form; further fields are passed over."""

    conversation_history: list[Any] = Field(examples=[[{"role": "user", "content": "Why is the street wet?"}]])
    response_objs: list[dict[str, Any]] = Field(
        description="Objects of the Responses API, of which the output text is judged.",
        examples=[
            [
                {"output": [{"type": "message", "content": [{"type": "output_text", "text": text}]}]}
                for text in ("It rained all night.", "It rained.")
            ]
        ],
    )
    principle: StrictStr | None = Field(None, description="Criteria for this request; by default the served task's.")


class Comparison(BaseModel):
    """One verdict, in numbers from 1 to 5 for each, and from 1 (the first is far better) to 6."""

    response_i: int
    response_j: int
    judge_idx: int
    score_1: float
    score_2: float
    ranking: float


class CompareAnswer(BaseModel):
    """Rewards in NeMo Gym's form."""

    rewards: list[float]
    comparison_results: list[Comparison]
    metrics: dict[str, float]


class OpenRLHFRequest(BaseModel):
    """What OpenRLHF sends to `--reward.remote_url`; further fields are passed over."""

    query: list[StrictStr] = Field(description="Prompt and response together.", examples=[["Why?It rained.</s>"]])
    prompts: list[StrictStr] = Field(examples=[["Why?"]])


class OpenRLHFAnswer(BaseModel):
    """Numbers in the order of the queries; where `judged` is 0 a reward is its group's mean."""

    rewards: list[float]
    scores: list[float]
    extra_logs: dict[str, list[float]]


class Problem(BaseModel):
    """What went wrong, in one line."""

    detail: str


class Health(BaseModel):
    """The server is there."""

    status: str
    judge: str
    task: str
