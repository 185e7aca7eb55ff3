"""How a group is sampled and judged."""

from __future__ import annotations

from dataclasses import dataclass

from softgrpo.config.groups import REWARD, SAMPLING
from softgrpo.flags import flag
from softgrpo.tournament import RATINGS, SCHEDULES, schedule_and_rating


@dataclass(frozen=True, kw_only=True)
class SamplingFlags:
    """How the policy answers while it is trained."""

    num_chains: int = flag(16, "completions per prompt, the group size G", group=SAMPLING, low=2, high=1024)
    prompts_per_step: int = flag(1, "prompts per iteration", group=SAMPLING, low=1)
    temperature: float = flag(0.9, "sampling temperature while training", group=SAMPLING, above=0, high=10)
    max_prompt_length: int = flag(256, "tokens a prompt may have; a longer one is an error", group=SAMPLING, low=1)
    max_completion_length: int = flag(786, "tokens a completion may have", group=SAMPLING, low=1)


@dataclass(frozen=True, kw_only=True)
class JudgingFlags:
    """From answers to rewards."""

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
    sameness_weight: float = flag(
        0.0,
        "weight of what an answer has in common with answers to other prompts (0 to 1), which is taken off its reward",
        group=REWARD,
        low=0,
    )
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
        choices=tuple(SCHEDULES),
    )
    rating: str | None = flag(
        None,
        "from verdicts to scores (default: win_share for a round robin, else bradley_terry)",
        group=REWARD,
        choices=tuple(RATINGS),
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

    @property
    def tournament(self) -> tuple[str, str]:
        """The schedule and the rating, where none is given by what goes well together."""
        return schedule_and_rating(self.schedule, self.rating, calls=self.judge_calls_per_group)

    def weights(self, *, judge_is_local: bool) -> dict[str, float]:
        """The weight of every reward part, by name; sameness is one where it counts."""
        reasoning = (0.5 if judge_is_local else 0.0) if self.reasoning_weight is None else self.reasoning_weight
        return {
            "answer": self.tournament_weight,
            "reasoning": reasoning,
            "strict_format": self.strict_format_weight,
            "soft_format": self.soft_format_weight,
            "tag_count": self.tag_count_weight,
            **({"sameness": self.sameness_weight} if self.sameness_weight else {}),
        }
