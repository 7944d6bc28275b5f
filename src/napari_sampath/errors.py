"""The errors of this package; each is also a subclass of a matching built-in error."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

_UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]"
)
"""Control characters except tab and newline, characters that change the direction of text, and unpaired surrogates."""
_LINE_BREAKS = re.compile(r"\s*[\r\n\v\f\x85\u2028\u2029]+\s*")


def printable(text: str) -> str:
    """Escape characters that control a terminal or reorder text; tabs and newlines stay.

    Names of files, images and classes come from other people's files.
    """
    return _UNPRINTABLE.sub(
        lambda match: match[0].encode("unicode_escape", "surrogatepass").decode("ascii"), text
    )


_LONGEST = 1000
"""Maximum number of characters of a message that are shown."""


class SampathError(Exception):
    """Base class of all errors for the user: one sentence with the value, what is allowed and what to do."""

    def __str__(self) -> str:
        # KeyError.__str__ would add quotes.
        text = " ".join(str(part) for part in self.args)
        if len(text) > _LONGEST:  # A name in a damaged file may be as long as the file.
            text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
        return printable(_LINE_BREAKS.sub(" ", text))


class UnknownNameError(SampathError, KeyError):
    """A name (encoder, head, class, preset ...) that is not registered."""


class DuplicateNameError(SampathError, ValueError):
    """A name that is in use already."""


class ConfigError(SampathError, ValueError):
    """A value that is not allowed for a setting."""


class ImageError(SampathError, ValueError):
    """An image or label file that cannot be read, or has an unusable shape or type."""


class PromptError(SampathError, ValueError):
    """A prompt that is empty, malformed or outside the image."""


class WeightsError(SampathError, ValueError):
    """Weights that are unreadable, truncated, altered or made for another model."""


class WeightsMissingError(SampathError, FileNotFoundError):
    """Weights that are neither on this machine nor downloadable."""


class UnsafeFileError(WeightsError):
    """A file that would execute code when loaded."""


class DatasetError(SampathError, ValueError):
    """Training data that is inconsistent or damaged."""


class StorageError(SampathError, OSError):
    """A failed write, such as on a full disk; the earlier content is untouched."""


class CancelledError(SampathError):
    """A job that the user cancelled."""


class ClassListError(SampathError, ValueError):
    """An invalid change of the class list: an empty name, too many classes, or a class in use."""


class JournalError(SampathError, ValueError):
    """A journal that is open in another session, belongs to another image, or is not a journal."""


def attempt(call: Callable[[], object], say: Callable[[str], object]) -> bool:
    """Call a function; if it raises a `SampathError`, pass the message to `say` and return False."""
    try:
        call()
    except SampathError as error:
        say(str(error))
        return False
    return True


def refuse(path: Path, problem: str, advice: str) -> NoReturn:
    """Raise an `ImageError` about the content of a file."""
    raise ImageError(f"'{path}' {problem}; {advice}.")


def first_line(error: BaseException) -> str:
    """Return the reason of another package's error as part of a sentence."""
    text = str(getattr(error, "strerror", None) or error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")[:160]
