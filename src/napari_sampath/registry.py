"""Names to builders: register, create with checked arguments, list by wildcard, 'did you mean'."""

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
    """A catalogue of entries of one kind, in order of registration.

    Args:
        kind: What an entry is, in words, for error sentences ("encoder", "head").
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}
        self._families: dict[str, Callable[[str], T]] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that adds its argument under `name`.

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
        """Return a decorator for a function that makes the entry of any name that starts with `prefix`.

        The function gets the whole name and raises `UnknownNameError` if there is no such entry. Of two families that
        fit a name, that of the longer prefix makes it. Names of a family are too many to be listed.
        """

        def add(make: Callable[[str], T]) -> Callable[[str], T]:
            if prefix in self._families:
                raise DuplicateNameError(f"The {self.kind} family '{prefix}' is registered already.")
            self._families[prefix] = make
            return make

        return add

    def __getitem__(self, name: str) -> T:
        families = [prefix for prefix in self._families if name.startswith(prefix)]
        if families:
            return self._families[max(families, key=len)](name)
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
    """Return the entry of a table by its name.

    Args:
        kind: What an entry is, in words.
        entries: Name -> entry.
        name: The name asked for.

    Raises:
        UnknownNameError: If there is none.
    """
    if name not in entries:
        raise UnknownNameError(unknown_name(kind, name, list(entries)))
    return entries[name]


def unknown_name(kind: str, name: str, allowed: Iterator[str] | list[str] | dict[str, T]) -> str:
    """Write the sentence for a name that does not exist: the value, the nearest name, what is allowed."""
    names = list(allowed)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"There is no {kind} '{name}'.{hint} Available: {listed(names) or 'none'}."


def listed(names: list[str], most: int = 20) -> str:
    """Write names with commas, and of very many how many there are more."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def check_arguments(
    owner: str, build: Callable[..., Any], arguments: Mapping[str, object], others: Collection[str]
) -> None:
    """Make sure that a builder takes the arguments that a user gave, by its signature.

    Args:
        owner: Whose arguments they are, in words, such as "the head 'cnn'".
        build: Its parameters are annotated with int, float, bool or str.
        arguments: What was given.
        others: Parameters that are not the user's to give.

    Raises:
        UnknownNameError: If there is no such argument.
        ConfigError: If a value is of another type, or a number is not finite.
    """
    parameters = inspect.signature(build, eval_str=True).parameters
    allowed = [name for name in parameters if name not in others]
    for name, value in arguments.items():
        if name not in allowed:
            raise UnknownNameError(unknown_name(f"argument of {owner}", name, allowed))
        kind = parameters[name].annotation
        if not has_type(value, kind):
            raise ConfigError(f"The argument '{name}' of {owner} is {value!r}; give {describe_type(kind)}.")
