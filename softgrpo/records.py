"""The frozen nouns that flow between the stages, and the protocols the stages speak.

Shape letters used in this project: `G` completions of a group, `M` matches, `P` prompts, `B` rows of a batch,
`T` tokens, `V` the vocabulary.
"""

from __future__ import annotations

import copyreg
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol, TypedDict

import numpy as np

NOTHING: Mapping[str, Any] = MappingProxyType({})
copyreg.pickle(MappingProxyType, lambda proxy: (MappingProxyType, (dict(proxy),)))  # records go to other processes
FAILED = "failed"
"""finish reason of a completion that an API model did not deliver: there is nothing to judge, and nobody's fault"""


class Message(TypedDict):
    """One turn of a chat, as every provider spells it."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What the policy is asked, and what a judge must know to compare the answers."""

    id: str
    """unique within its task, stable over runs"""
    messages: tuple[Message, ...]
    """the chat up to the assistant's turn"""
    subject: str
    """what the prompt is about; prompts of one subject are one unit of an interval (a motion, both sides)"""
    question: str
    """the user's turn alone, as a judge is told it"""
    cue: str = ""
    """what a likelihood judge writes between a text and the subject, e.g. `This argument is in favour of:`"""
    meta: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    """what the task knows beside, e.g. {"motion": "...", "side": "PRO"}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One answer of a model. API models fill in the text and the reason alone."""

    text: str
    """the whole assistant turn, prefill included"""
    token_ids: tuple[int, ...] = ()
    """[T] what was sampled, end token included, prefill excluded; never tokenised again"""
    sampling_logprobs: tuple[float, ...] = ()
    """[T] log-probability of each sampled token under the distribution it was drawn from"""
    loss_mask: tuple[bool, ...] = ()
    """[T] True where the policy chose the token: no other is trained, or counts in what is measured of the policy"""
    finish_reason: str = "stop"
    """`stop` (end token), `length` (cut off), or `failed`: an API model delivered nothing, which is nobody's forfeit"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The G completions of one prompt."""

    prompt: Prompt
    prompt_ids: tuple[int, ...]
    """the prompt's tokens as the policy saw them, prefill included"""
    completions: tuple[Completion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """One criterion with a tournament of its own."""

    name: str
    criteria: str
    """what makes a text better, in words for a judge"""
    section: str = "answer"
    """the tag whose content is shown to the judge"""
    weight: float = 1.0
    ties: bool = False
    """a judge that is asked may call two texts equal"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Two texts to compare, in the order in which the judge reads them."""

    first: int
    second: int
    objective: str = "answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one judgement or completion cost."""

    input_tokens: int = 0
    output_tokens: int = 0
    requests: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A judge's answer to one match; `p_first is None` says that there is none, and `failure` why."""

    match: Match
    p_first: float | None
    """probability that the first text wins"""
    how: str
    """`log_odds`, `text`, `votes`, `scores`, `forfeit`, `undelivered`, ..."""
    reply: str = ""
    failure: str = ""
    usage: Usage = Usage()
    """what was paid for it now; zero where the ledger knew it"""
    mass: float | None = None
    """probability that the judge gave to the labels together; None where it gave none"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One judgement as it is kept: what came back, what was read in it, what it cost."""

    text: str
    """the judge's own words; empty when nothing came"""
    logprobs: Mapping[str, float] | None = None
    """log-probabilities of the labels by what they meant, `first`, `second` and perhaps `tie`"""
    failure: str = ""
    finish_reason: str = "stop"
    usage: Usage = Usage()
    p_first: float | None = None
    judge: str = ""
    """who judged, as the judgement's key means it"""
    seconds: float = 0.0
    """from the call to the answer"""
    asked: Mapping[str, Any] | None = None
    """of a judgement that failed: what it takes to ask it again. A ledger may keep it until there is a verdict, and
    `get` does not give it"""


class Ledger(Protocol):
    """Every judgement once, by its key. Called from any thread."""

    def get(self, keys: Sequence[str]) -> dict[str, LedgerEntry]:
        """What is known of these keys."""
        ...

    def put(self, key: str, entry: LedgerEntry) -> None:
        """Keep a judgement; a failure under the same key is replaced, a verdict never."""
        ...

    def put_all(self, entries: Mapping[str, LedgerEntry]) -> None:
        """Keep all of them or, killed meanwhile, none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """What a judge is shown: texts that answer one prompt, and which of them to compare."""

    prompt: Prompt
    objective: Objective
    texts: tuple[str | None, ...]
    """[G] the section to be judged; None forfeits and is in no match"""
    matches: tuple[Match, ...]


class Judge(Protocol):
    """Anything that compares texts. A panel is a judge made of judges."""

    name: str
    """what stands in file names and reports"""
    scores_texts: bool
    """True when each text is scored once and every pair follows: schedules do not apply"""

    def judge(self, contests: Sequence[Contest]) -> list[tuple[Verdict, ...]]:
        """One verdict per match, in the order of the matches."""
        ...


class TextModel(Protocol):
    """A model that answers chats: local, or behind an API."""

    name: str

    def generate(self, chats: Sequence[Sequence[Message]], sampling: Sampling) -> list[list[Completion]]:
        """`sampling.n` completions for each chat, in the order of the chats."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How completions are drawn."""

    n: int = 1
    """completions per prompt"""
    temperature: float = 0.9
    max_tokens: int = 256
    seed: int = 0
    prefill: str = ""
    """opens the assistant's turn; local models only"""


@dataclass(frozen=True, slots=True)
class Standing:
    """The outcome of one tournament."""

    scores: np.ndarray
    """[G] 1.5 * (2 * mean p - 1); NaN where nothing was judged"""
    stderrs: np.ndarray
    """[G] standard error of the score, NaN where unknown"""
    n_opponents: np.ndarray
    """[G] opponents against which there is an outcome"""
    position_bias: float
    """log-odds for what is read first: the mean over pairs judged in both orders, or fitted; NaN when unknown"""
    n_unjudged: int
    """verdicts without a probability"""
    n_forfeits: int
    """texts that had nothing to show"""
    n_cyclic_triads: int = 0
    """triples of players that go a > b > c > a"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredGroup:
    """A group with everything that was said of it."""

    group: Group
    verdicts: tuple[Verdict, ...]
    standings: Mapping[str, Standing]
    """by objective"""
    reward_parts: Mapping[str, np.ndarray]
    """[G] each, unweighted, by name"""
    rewards: np.ndarray
    """[G] the weighted sum; NaN where an objective has no score"""
    stderrs: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """[G] what the tournaments leave uncertain of it; empty without a tournament"""

    @property
    def failures(self) -> tuple[str, ...]:
        """Why there is no outcome, for each verdict without one, in the order of the verdicts."""
        return tuple(v.failure for v in self.verdicts if v.p_first is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingGroup:
    """A scored group with what the policy is to learn from it."""

    scored: ScoredGroup
    advantages: np.ndarray
    """[G]; NaN where there is no reward"""
    trained: np.ndarray
    """[G] True where the completion is in the loss"""
    flat: bool
    """all rewards equal, or fewer than two: nothing to learn"""
    reliability: float = float("nan")
    """share of the rewards' variance that is no noise of the judge, as estimated: below 0 by chance where it guesses;
    NaN where it cannot be told"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """How the learner sees what was sampled, before an update. It computes otherwise than the sampler, may be ahead of
    it, and drops before an adapter if told to; means over tokens, NaN where there were none."""

    mismatch_abs: float
    """how far a log-probability lies from that at sampling (20 at most, as in the loss)"""
    mismatch_k3: float
    """the k3 estimate of KL(sampler, learner)"""
    bounded_share: float
    """share at which a bound beyond the usual clip was in force: on the log-ratio, on the ratio under a negative
    advantage, or on the KL penalty"""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateReport(Mismatch):
    """One optimizer update, over all the iterations since the one before. The mismatch is that of the first inner
    epoch, all else of the last."""

    update: int
    """updates so far, this one included"""
    learning_rate: float
    loss: float
    kl: float
    """mean over tokens of the k3 estimate of the divergence to the reference; NaN without a reference"""
    clip_share: float
    """of the tokens"""
    grad_norm: float
    """before clipping; NaN when nothing could be learned"""
    n_trained: int
    """completions in the loss"""
    n_tokens: int
    """tokens in the loss"""
    skipped: str = ""
    """why the weights stayed as they were"""
