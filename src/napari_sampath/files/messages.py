"""Texts that several packages use: counts with their nouns, and the error about a failed write."""

from __future__ import annotations

import errno
from pathlib import Path

from ..errors import StorageError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_PERMISSION = (errno.EACCES, errno.EPERM, errno.EROFS)


def plural(number: int, noun: str) -> str:
    """Format a number with its noun: "1 image", "2 images", "3 patches"."""
    ending = "es" if noun.endswith(("ch", "s", "x")) else "s"
    return f"{number:,} {noun}{'' if number == 1 else ending}"


def plural_of(number: int, nouns: str) -> str:
    """Format a number with a phrase that begins with a plural: "1 box without an outline" from "boxes without ..."."""
    if number != 1:
        return f"{number:,} {nouns}"
    first, *others = nouns.split(" ")
    for plural, singular in (("ies", "y"), ("xes", "x"), ("s", "")):
        if first.endswith(plural):
            first = first.removesuffix(plural) + singular
            break
    return " ".join(["1", first, *others])


def storage_error(path: Path, error: OSError) -> StorageError:
    """Return the error for a file or folder that could not be written; its earlier content is untouched."""
    if error.errno in _NO_SPACE:
        advice = "free some space or choose another folder"
    elif error.errno in _NO_PERMISSION:
        advice = "choose a folder in which you may write"
    else:
        advice = "check the folder or choose another one"
    failure = StorageError(
        f"Could not write '{path}' ({error.strerror or error}); the earlier content is untouched: {advice}."
    )
    failure.errno = error.errno
    return failure
