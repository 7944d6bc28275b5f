"""Registries of named entries, with wildcards, checked arguments and "did you mean" errors."""

from __future__ import annotations

import difflib
import fnmatch
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Generic, TypeVar

from .errors import ConfigError, DuplicateNameError, UnknownNameError
from .settings import describe_type, has_type

T = TypeVar("T")


class Registry(Generic[T]):
    """Named entries of one kind, in order of registration.

    Args:
        kind: Name of the kind for error messages, such as "encoder" or "head".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}
        self._families: dict[str, Callable[[str], T]] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers its argument under a name.

        Raises:
            DuplicateNameError: If the name is taken.
        """

        def add(entry: T) -> T:
            if name in self._entries:
                raise DuplicateNameError(
                    f"The {self.kind} '{name}' is registered already; choose another name."
                )
            self._entries[name] = entry
            return entry

        return add

    def register_family(self, prefix: str) -> Callable[[Callable[[str], T]], Callable[[str], T]]:
        """Return a decorator for a function that creates the entry of any name that starts with `prefix`.

        The function receives the full name and raises `UnknownNameError` if there is no such entry. If several prefixes
        match a name, the longest is used. `names` does not list the members of a family.
        """

        def add(create: Callable[[str], T]) -> Callable[[str], T]:
            if prefix in self._families:
                raise DuplicateNameError(f"The {self.kind} family '{prefix}' is registered already.")
            self._families[prefix] = create
            return create

        return add

    def __getitem__(self, name: str) -> T:
        prefixes = [prefix for prefix in self._families if name.startswith(prefix)]
        if prefixes:
            return self._families[max(prefixes, key=len)](name)
        return lookup(self.kind, self._entries, name)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def names(self, pattern: str = "*") -> list[str]:
        """List the names that match a shell wildcard, in order of registration."""
        return [name for name in self._entries if fnmatch.fnmatchcase(name, pattern)]


def lookup(kind: str, entries: Mapping[str, T], name: str) -> T:
    """Return an entry by its name.

    Args:
        kind: Name of the kind for error messages, such as "encoder".
        entries: Name -> entry.
        name: The name.

    Raises:
        UnknownNameError: If there is no such entry.
    """
    if name not in entries:
        raise UnknownNameError(unknown_name(kind, name, list(entries)))
    return entries[name]


def unknown_name(kind: str, name: str, allowed: Iterator[str] | list[str] | dict[str, T]) -> str:
    """Format the error message for an unknown name, with the most similar name and the allowed ones.

    Args:
        kind: What the name belongs to, such as "head", also with its place: "image in 'glands'".
        name: The name.
        allowed: The allowed names.
    """
    names = list(allowed)
    noun, place = (kind, "") if " in " not in kind else kind.split(" in ", 1)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    where = f" in {place}" if place else ""
    return f"There is no {noun} '{name}'{where}.{hint} Available: {join_names(names) or 'none'}."


def join_names(names: list[str], limit: int = 20) -> str:
    """Join the first `limit` names with commas, and append the number of further names."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def check_arguments(
    owner: str, build: Callable[..., Any], arguments: Mapping[str, object], reserved: Collection[str]
) -> None:
    """Check a user's arguments against the signature of a builder.

    Args:
        owner: Owner of the arguments for error messages, such as "the head 'cnn'".
        build: A function whose parameters are annotated with int, float, bool or str.
        arguments: Name -> value.
        reserved: Parameters that the user cannot set.

    Raises:
        UnknownNameError: If there is no such argument.
        ConfigError: If a value has the wrong type, or a number is not finite.
    """
    parameters = inspect.signature(build, eval_str=True).parameters
    allowed = [name for name in parameters if name not in reserved]
    for name, value in arguments.items():
        if name not in allowed:
            raise UnknownNameError(unknown_name(f"argument of {owner}", name, allowed))
        kind = parameters[name].annotation
        if not has_type(value, kind):
            raise ConfigError(f"The argument '{name}' of {owner} is {value!r}; give {describe_type(kind)}.")
