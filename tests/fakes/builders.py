"""Small builders of the records that most tests need."""

from __future__ import annotations

from collections.abc import Sequence

from softgrpo.records import Completion, Contest, Group, Match, Objective, Prompt, Verdict
from softgrpo.tasks.task import Question, Task
from softgrpo.tournament.schedule import round_robin

ANSWER = Objective(name="answer", criteria="Which is better?")
REASONING = Objective(name="reasoning", criteria="Which is sounder?", section="reasoning")


def reply(answer: str, reasoning: str = "because") -> str:
    """A reply in strict form."""
    return f"<reasoning>\n{reasoning}\n</reasoning>\n<answer>\n{answer}\n</answer>"


def prompt(id: str = "p", subject: str = "s") -> Prompt:
    """A prompt about a subject."""
    return Prompt(id=id, messages=({"role": "user", "content": "Go."},), subject=subject, question="Go.")


def completion(text: str, finish_reason: str = "stop", n_tokens: int = 3) -> Completion:
    """A completion of a few tokens."""
    ids = tuple(range(n_tokens))
    return Completion(
        text=text,
        token_ids=ids,
        sampling_logprobs=(-1.0,) * n_tokens,
        loss_mask=(True,) * n_tokens,
        finish_reason=finish_reason,
    )


def group(texts: Sequence[str | Completion], id: str = "p", subject: str = "s") -> Group:
    """The completions of one prompt; plain text becomes a completion as it is."""
    completions = tuple(t if isinstance(t, Completion) else completion(t) for t in texts)
    return Group(prompt=prompt(id, subject), prompt_ids=(7, 8), completions=completions)


def contest(*texts: str | None, matches: Sequence[Match] | None = None, objective: Objective = ANSWER) -> Contest:
    """Texts that meet, by default all of them in both orders."""
    if matches is None:
        matches = round_robin([i for i, t in enumerate(texts) if t is not None], objective=objective.name)
    return Contest(prompt=prompt(), objective=objective, texts=texts, matches=tuple(matches))


def verdict(first: int, second: int, p_first: float | None, how: str = "text") -> Verdict:
    """One verdict; without a probability it is a failed one."""
    failure = "no verdict" if p_first is None else ""
    return Verdict(match=Match(first=first, second=second), p_first=p_first, how=how, failure=failure)


def both_orders(i: int, j: int, p: float, how: str = "text") -> list[Verdict]:
    """i beats j with p, whoever is read first."""
    return [verdict(i, j, p, how), verdict(j, i, 1 - p, how)]


def task(n_subjects: int = 4, objectives: Sequence[Objective] = (ANSWER,)) -> Task:
    """A task with one training question and n test subjects, two questions each."""
    test = tuple(
        Question(id=f"{s}/{side}", subject=f"subject {s}", text=f"Write on {s}, {side}.")
        for s in range(n_subjects)
        for side in ("pro", "con")
    )
    train = (Question(id="t/pro", subject="elsewhere", text="Write."),)
    return Task(name="toy", system="You write.", train=train, test=test, objectives=tuple(objectives))
