"""Dataclass fields as command-line flags: a field is a flag, its metadata is its help. Knows no particular command."""

from __future__ import annotations

import argparse
import dataclasses
import math
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from softgrpo.errors import UserError

T = TypeVar("T")


def flag(
    default: Any,
    help: str,
    *,
    group: str,
    choices: Sequence[str] = (),
    low: float = -math.inf,
    high: float = math.inf,
    above: float = -math.inf,
) -> Any:
    """A field with its help, its group in `--help`, and the values it may have (`above` is a strict bound)."""
    return dataclasses.field(
        default=default, metadata=dict(help=help, group=group, choices=tuple(choices), low=low, high=high, above=above)
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise UserError(f"{message}; see {self.prog} --help")


def parser_for(cls: type, prog: str, description: str) -> argparse.ArgumentParser:
    """A parser with every field of the dataclass as a flag, in groups, none with a default of its own."""
    parser = _Parser(prog=prog, description=description, allow_abbrev=False)
    parser.add_argument("--config", metavar="FILE", help="YAML file with any of these flags; flags win over it")
    parser.add_argument("--print_config", action="store_true", help="print the resulting configuration and exit")
    groups: dict[str, Any] = {}
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        meta = field.metadata
        group = groups.setdefault(meta["group"], None) or parser.add_argument_group(meta["group"])
        groups[meta["group"]] = group
        kind = _kind(hints[field.name])
        shown = "" if field.default in (None, "") else f" (default: {field.default})"
        options: dict[str, Any] = dict(default=argparse.SUPPRESS, help=(meta["help"] + shown).replace("%", "%%"))
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options |= dict(type=_number(kind, field.name), metavar="|".join(meta["choices"]) or kind.__name__.upper())
        group.add_argument(f"--{field.name}", **options)
    return parser


def parse(cls: type[T], parser: argparse.ArgumentParser, argv: Sequence[str]) -> tuple[T, bool]:
    """The configuration, and whether it is only to be printed. Flags win over the file, the file over defaults."""
    given = vars(parser.parse_args(argv))
    path, only_print = given.pop("config"), given.pop("print_config")
    values = _from_yaml(cls, Path(path)) if path else {}
    config = cls(**(values | given))
    check_fields(config)
    return config, only_print


def check_fields(config: Any) -> None:
    """See that every value has its type and lies in its range."""
    hints = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, meta = getattr(config, field.name), field.metadata
        if value is None:
            continue
        if meta["choices"] and value not in meta["choices"]:
            raise UserError(f"--{field.name} {value}: choose from {', '.join(meta['choices'])}")
        if _kind(hints[field.name]) in (int, float):
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"--{field.name} {value}: must be a finite number")
            if value < meta["low"] or value <= meta["above"]:
                bound = f"at least {meta['low']:g}" if value < meta["low"] else f"more than {meta['above']:g}"
                raise UserError(f"--{field.name} {value}: must be {bound}")
            if value > meta["high"]:
                raise UserError(f"--{field.name} {value}: must be at most {meta['high']:g}")


def to_yaml(config: Any) -> str:
    """The configuration as a YAML file that gives it back."""
    import yaml

    return yaml.safe_dump(dataclasses.asdict(config), sort_keys=False, allow_unicode=True)


def _from_yaml(cls: type, path: Path) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path}: cannot be read ({error.__class__.__name__}); give a YAML file") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or number that there is not
        raise UserError(f"--config {path}: is not YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"--config {path}: must hold lines of `flag: value`")
    hints = get_type_hints(cls)
    known = {field.name for field in dataclasses.fields(cls)}
    for name in values:
        if name not in known:
            raise UserError(f"--config {path}: unknown flag {name!r}; {_nearest(str(name), known)}")
    return {name: _typed(name, value, hints[name], path) for name, value in values.items()}


def _typed(name: str, value: Any, hint: Any, path: Path) -> Any:
    kind = _kind(hint)
    if value is None and type(None) in get_args(hint):
        return None
    if kind is bool and isinstance(value, bool):
        return value
    if kind is str and isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    if kind in (int, float) and not isinstance(value, bool):
        try:  # YAML reads 5e-6 as text
            return _number(kind, name)(str(value))
        except argparse.ArgumentTypeError:
            pass
    raise UserError(f"--config {path}: {name}: {value!r} is no {kind.__name__}")


def _nearest(name: str, known: set[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else "see --help"


def _kind(hint: Any) -> type:
    if get_origin(hint) in (Union, types.UnionType):
        return next(a for a in get_args(hint) if a is not type(None))
    return hint


def _number(kind: type, name: str) -> Any:
    def convert(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            noun = {int: "a whole number", float: "a number"}.get(kind, kind.__name__)
            raise argparse.ArgumentTypeError(f"{text!r} is not {noun}") from None

    convert.__name__ = kind.__name__
    return convert
