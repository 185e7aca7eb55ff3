"""Progress: one live line in a terminal, plain lines elsewhere. Model text never controls the terminal."""

from __future__ import annotations

import sys
import unicodedata
from typing import Any


def harmless(text: str) -> str:
    """Text without control characters, so that it cannot move the cursor or recolour the screen.

    >>> harmless("a\\x1b[31mb\\nc")
    'a[31mb\\nc'
    """
    return "".join(c for c in text if c == "\n" or unicodedata.category(c)[0] != "C")


class Console:
    """What a run says while it goes on."""

    def __init__(self, total: int, done: int = 0) -> None:
        self.total = total
        self.win_rate = ""
        self.live: Any = None
        self.task: Any = None
        if sys.stdout.isatty():
            self._open(done)

    def say(self, text: str) -> None:
        """One line that stays."""
        if self.live:
            self.live.console.print(harmless(text), markup=False, highlight=False)
        else:
            print(harmless(text), flush=True)

    def step(self, step: int, metrics: dict[str, Any], seconds_left: float) -> None:
        """An iteration has ended."""
        parts = " ".join(
            f"{label} {metrics[key]:.2f}"
            for label, key in (("reward", "reward_mean"), ("format", "strict_format_mean"), ("kl", "kl"))
            if metrics.get(key) is not None and metrics[key] == metrics[key]
        )
        text = f"{parts}{self.win_rate}{spending(metrics)}"
        if self.live:
            self.live.update(self.task, completed=step, text=text, left=duration(seconds_left))
        else:
            print(f"step {step}/{self.total}  {text}  {duration(seconds_left)} left", flush=True)

    def verbose(self, lines: list[dict[str, Any]]) -> None:
        """A step's first completion and its first verdicts, from what is recorded of its groups."""
        self.say(lines[0]["completions"][0]["text"])
        for verdict in lines[0]["verdicts"][:4]:
            self.say(str(verdict))

    def evaluated(self, evaluation: dict[str, Any]) -> None:
        """An evaluation has ended."""
        rate, low, high = (100 * evaluation[k] for k in ("win_rate", "low", "high"))
        self.win_rate = f"  win rate {rate:.0f}%"
        form = evaluation["format_adherence"]
        self.say(
            f"step {evaluation['step']}: win rate {rate:.1f}% [{low:.1f}, {high:.1f}] "
            f"against {evaluation['opponent']}, "
            f"{'' if form is None else f'format {100 * form:.0f}%, '}{evaluation['n_pairs']} pairs, "
            f"{evaluation['n_forfeits']} by forfeit, {evaluation['n_unjudged']} unjudged{sentinel(evaluation)}"
        )

    def close(self) -> None:
        """Give the terminal back."""
        if self.live:
            self.live.stop()
            self.live = None

    def _open(self, done: int) -> None:
        try:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        except ImportError:  # rich only makes it pretty
            return
        self.live = Progress(
            MofNCompleteColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}", markup=False),
            TextColumn("{task.fields[left]} left", markup=False),
        )
        self.live.start()
        self.task = self.live.add_task("", total=self.total, completed=done, text="", left="?")


def sentinel(evaluation: dict[str, Any]) -> str:
    """What a sentinel saw, where one looked on.

    >>> seen = {"sentinel_win_rate": 0.52, "sentinel_low": 0.44, "sentinel_high": 0.6}
    >>> sentinel({"sentinel": "embedded:sentinel", **seen}), sentinel({})
    ('; the sentinel embedded:sentinel sees 52.0% [44.0, 60.0]', '')
    """
    if not evaluation.get("sentinel"):
        return ""
    rate, low, high = (100 * evaluation[f"sentinel_{name}"] for name in ("win_rate", "low", "high"))
    return f"; the sentinel {evaluation['sentinel']} sees {rate:.1f}% [{low:.1f}, {high:.1f}]"


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(75), duration(7300)
    ('1m15s', '2h01m')
    """
    if seconds != seconds:
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"


def spending(metrics: dict[str, Any]) -> str:
    """What services have cost, and will.

    >>> spending({"spent_calls": 1200, "spent_usd": 0.5, "calls_to_come": 2400, "usd_to_come": 1.0})
    '  1,200 calls, 0.50 USD; about 2,400 calls, 1.00 USD to come'
    >>> spending({"spent_calls": 12, "spent_usd": float("nan"), "calls_to_come": 24, "usd_to_come": float("nan")})
    '  12 calls, cost unknown; about 24 calls to come'
    """
    if not metrics.get("spent_calls"):
        return ""
    usd, to_come = metrics["spent_usd"], metrics["usd_to_come"]
    known = usd == usd
    paid = f"{usd:.2f} USD" if known else "cost unknown"
    after = f", {to_come:.2f} USD" if known else ""
    return f"  {metrics['spent_calls']:,} calls, {paid}; about {metrics['calls_to_come']:,} calls{after} to come"
