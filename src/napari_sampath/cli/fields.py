"""Command line flags for the fields of a configuration dataclass, with the field docstrings as help texts."""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from collections.abc import Collection
from typing import Any, TypeVar

from ..settings import field_docs

T = TypeVar("T")


def add_fields(
    parser: argparse.ArgumentParser, config: type[Any], title: str, leave_out: Collection[str] = ()
) -> None:
    """Declare a flag `--field-name` for each field of type str, int, float or bool.

    Booleans become `--name` and `--no-name`. Fields of other types are ignored.
    """
    group = parser.add_argument_group(title)
    kinds, help_of = typing.get_type_hints(config), field_docs(config)
    for field in dataclasses.fields(config):
        kind = _plain(kinds[field.name])
        if kind is None or field.name in leave_out:
            continue
        text = " ".join(f"{help_of.get(field.name, '')} (default: {_default(field)})".split()).replace(
            "%", "%%"
        )
        flag = "--" + field.name.replace("_", "-")
        if kind is bool:
            action: Any = argparse.BooleanOptionalAction
            group.add_argument(flag, dest=field.name, default=None, action=action, help=text)
        else:
            group.add_argument(
                flag, dest=field.name, default=None, type=kind, metavar=kind.__name__.upper(), help=text
            )


def from_args(config: type[T], args: argparse.Namespace, base: T | None = None) -> T:
    """Create the dataclass from the flags given; the other fields have the values of `base` or the defaults."""
    names = [field.name for field in dataclasses.fields(config)]  # type: ignore[arg-type]
    values = {} if base is None else {name: getattr(base, name) for name in names}
    given = {name: getattr(args, name, None) for name in names}
    return config(**values | {name: value for name, value in given.items() if value is not None})


def _plain(kind: Any) -> type[Any] | None:
    """Return the type, without `| None`, if it is str, int, float or bool; otherwise return None."""
    if isinstance(kind, types.UnionType):
        kinds = [part for part in typing.get_args(kind) if part is not types.NoneType]
        kind = kinds[0] if len(kinds) == 1 else None
    return kind if kind in (str, int, float, bool) else None


def _default(field: dataclasses.Field[Any]) -> object:
    if field.default is not dataclasses.MISSING:
        return "none" if field.default is None else field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return "required"
