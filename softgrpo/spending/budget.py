"""What calls may cost: prices, and a budget that is reserved before each attempt and never exceeded."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from softgrpo.errors import UserError
from softgrpo.files import write_text
from softgrpo.models.api.errors import BudgetReached
from softgrpo.models.names import PROVIDERS, ModelName, parse
from softgrpo.records import Usage

PACKAGED = Path(__file__).with_name("data") / "prices.yaml"
MILLION = 1_000_000
FLAG = "--"
"""before a limit's name in an error, where it was given on the command line; in Python it has no dashes"""
FILE_SIZE = 512  # bytes of a `SpendingFile`, more than its numbers can take


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """USD per million tokens."""

    input: float
    output: float

    def cost(self, usage: Usage) -> float:
        """In USD.

        >>> Price(input=2.5, output=10.0).cost(Usage(input_tokens=1000, output_tokens=100))
        0.0035
        """
        return (usage.input_tokens * self.input + usage.output_tokens * self.output) / MILLION


FREE_OF_CHARGE = Price(input=0.0, output=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What is known of prices, by provider and name.

    >>> prices = Prices(known={("openai", "gpt-4o"): Price(input=2.5, output=10.0)})
    >>> prices.of(parse("openai:gpt-4o")), prices.of(parse("embedded")) == FREE_OF_CHARGE, prices.of(parse("gpt-9"))
    (Price(input=2.5, output=10.0), True, None)
    """

    known: Mapping[tuple[str, str], Price] = field(default_factory=dict)
    source: str = ""
    as_of: str = ""

    def of(self, model: ModelName) -> Price | None:
        """Nothing for a model on this machine, a server of one's own included; None when it is unknown."""
        if (model.provider, model.name) in self.known:
            return self.known[model.provider, model.name]
        return FREE_OF_CHARGE if model.is_local or PROVIDERS[model.provider].key_optional else None

    def cost(self, model: ModelName, usage: Usage) -> float | None:
        """In USD; None when the price is unknown."""
        price = self.of(model)
        return None if price is None else price.cost(usage)


NO_PRICES = Prices()


def load_prices(path: str | Path | None = None, *, dashes: str = FLAG) -> Prices:
    """From a YAML file with `prices: {NAME: {input: USD, output: USD}}`, per million tokens; else the packaged one.

    Raises `UserError`, which names the argument with its `dashes`, when a line cannot be read as that.
    """
    import yaml

    path = Path(path or PACKAGED)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        lines = dict(values["prices"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, KeyError, ValueError) as error:
        raise UserError(
            f"{dashes}prices {path}: cannot be read ({type(error).__name__}); give a YAML file with "
            "`prices: {gpt-4o: {input: 2.5, output: 10}}`, in USD per million tokens"
        ) from error
    known = {}
    for name, line in lines.items():
        model = parse(str(name))
        if model.is_local:
            raise UserError(f"{dashes}prices {path}: {name!r} is no API model; write it as on the command line")
        try:
            price = Price(input=float(line["input"]), output=float(line["output"]))
        except (TypeError, KeyError, ValueError):
            price = Price(input=-1, output=-1)
        if not (0 <= price.input < MILLION and 0 <= price.output < MILLION):
            raise UserError(f"{dashes}prices {path}: {name}: {line!r} is no price; write {{input: USD, output: USD}}")
        known[model.provider, model.name] = price
    return Prices(known=known, source=str(path), as_of=str(values.get("as_of", "")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Calls and what they used; an attempt of which nobody said what it used counts with the most it can have been."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0
    """of the calls whose price is known"""
    unpriced: int = 0
    """calls whose price is unknown"""

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def plus(self, other: Spent, sign: int = 1) -> Spent:
        """Both together, or with `sign` -1 what is left without the other.

        >>> Spent(calls=2, usd=0.5).plus(Spent(calls=1, usd=0.25), -1)
        Spent(calls=1, input_tokens=0, output_tokens=0, usd=0.25, unpriced=0)
        """
        return Spent(
            calls=self.calls + sign * other.calls,
            input_tokens=self.input_tokens + sign * other.input_tokens,
            output_tokens=self.output_tokens + sign * other.output_tokens,
            usd=self.usd + sign * other.usd,
            unpriced=self.unpriced + sign * other.unpriced,
        )


class SpendingFile:
    """What a run has spent, as JSON in its folder. There is none until something is reserved."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_ours = False

    def read(self) -> Spent | None:
        """None where there is no file. Raises `UserError` when it does not say what was spent."""
        try:
            values = json.loads(self.path.read_text(encoding="utf-8"))
            spent = Spent(**{f.name: values[f.name] for f in fields(Spent)})
            if not all(0 <= value < math.inf for value in asdict(spent).values()):
                raise ValueError
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{self.path}: does not say what the run has spent ({type(error).__name__}); put back what it held, or "
                f"write it anew: {json.dumps(asdict(Spent()))} with your own figures"
            ) from error
        return spent

    def write(self, spent: Spent) -> None:
        """Keep it, so that a kill forgets nothing."""
        text = json.dumps(asdict(spent)).ljust(FILE_SIZE - 1) + "\n"
        try:
            if not (self._is_ours and self.path.exists()):
                write_text(self.path, text)
                self._is_ours = True
                return
            # In place, as so many bytes as before, by one write: they are copied into one page of the system's cache,
            # which no kill interrupts. It takes microseconds and no lock that another process may hold.
            with open(self.path, "r+b", buffering=0) as file:
                file.write(text.encode())
        except OSError as error:
            raise UserError(
                f"{self.path}: what is spent cannot be kept ({error.strerror}); see that it can be written, then "
                "run again with --resume"
            ) from error


class Budget:
    """Limits on calls, tokens and USD over a run's life, resumes included. Thread-safe.

    >>> budget = Budget(calls=1)
    >>> model = parse("gpt-4o")
    >>> held = budget.reserve(model, Usage(input_tokens=50, output_tokens=16))
    >>> budget.reserve(model, Usage()) is None
    True
    >>> budget.settle(model, held, Usage(input_tokens=40, output_tokens=1))
    >>> budget.spent.calls, budget.spent.tokens
    (1, 41)
    """

    def __init__(
        self,
        *,
        calls: int | None = None,
        tokens: int | None = None,
        usd: float | None = None,
        prices: Prices = NO_PRICES,
        before: Spent = Spent(),
        keep: Callable[[Spent], None] = lambda spent: None,
        dashes: str = FLAG,
    ) -> None:
        """`before` was spent already. `keep` is given what is spent after every change, with all that is under way in
        full, and before an attempt is sent. `dashes` stand before the limits' names in errors."""
        self.limits = {"calls": calls, "tokens": tokens, "usd": usd}
        self.prices = prices
        self.spent = before
        """settled attempts"""
        self.held = Spent()
        """reserved for attempts that are under way"""
        self.dashes = dashes
        self._keep = keep
        self._lock = threading.Lock()

    def check(self, model: ModelName) -> None:
        """Raises `UserError` when a limit in USD cannot be kept because the model's price is unknown."""
        if self.limits["usd"] is not None and self.prices.of(model) is None:
            raise UserError(
                f"{self.dashes}budget_usd {self.limits['usd']:g}: the price of {model.label} is unknown; add it to a "
                f"file like {self.prices.source or PACKAGED} and give that with {self.dashes}prices, or limit calls or "
                "tokens instead"
            )

    def reserve(self, model: ModelName, most: Usage) -> Spent | None:
        """Hold back one call with the most tokens it can take; None when that exceeds what is left."""
        self.check(model)
        wanted = self._as_spent(model, most)
        with self._lock:
            held = self.held.plus(wanted)
            total = self.spent.plus(held)
            if any(limit is not None and getattr(total, name) > limit for name, limit in self.limits.items()):
                return None
            self._keep(total)  # where that fails nothing is held, and nothing is sent
            self.held = held
        return wanted

    def settle(self, model: ModelName, held: Spent, usage: Usage | None) -> None:
        """The attempt is over and took that; None where nobody says what it took: then all that was held back."""
        with self._lock:
            # nothing is nothing: fractions of USD do not add up to it
            self.held = self.held.plus(held, -1) if self.held.calls > held.calls else Spent()
            self.spent = self.spent.plus(held if usage is None else self._as_spent(model, usage))
            self._keep(self.spent.plus(self.held))

    @property
    def is_waiting(self) -> bool:
        """Attempts are under way, which may take less than is held back for them."""
        return self.held.calls > 0

    def reached(self) -> BudgetReached:
        """The error that says which limit ends the run."""
        limits = {name: limit for name, limit in self.limits.items() if limit is not None}
        name = max(limits, key=lambda n: getattr(self.spent, n) / limits[n] if limits[n] else 2.0)
        return BudgetReached(
            f"{self.dashes}budget_{name} {limits[name]:g} is reached ({getattr(self.spent, name):.10g} spent, the "
            "next call may exceed it); raise it to go on"
        )

    def _as_spent(self, model: ModelName, usage: Usage) -> Spent:
        cost = self.prices.cost(model, usage)
        return Spent(
            calls=1,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            usd=cost or 0.0,
            unpriced=int(cost is None),
        )
