"""What can go wrong, as one small tree; every leaf is also the builtin a caller would catch."""

from __future__ import annotations


class SampathError(Exception):
    """Base of all errors meant for the user: one sentence with the value, what is allowed and what to do."""

    def __str__(self) -> str:
        # KeyError.__str__ would put the sentence in quotes.
        return " ".join(str(part) for part in self.args)


class UnknownNameError(SampathError, KeyError):
    """A name (encoder, head, class, verb ...) that is not registered."""


class DuplicateNameError(SampathError, ValueError):
    """A name that is already taken."""


class ConfigError(SampathError, ValueError):
    """A setting with a value that is not allowed."""


class ImageError(SampathError, ValueError):
    """An image that cannot be used: shape, type, or unreadable file."""


class PromptError(SampathError, ValueError):
    """A prompt that cannot be answered: outside the image, empty, or malformed."""


class WeightsError(SampathError, ValueError):
    """Weights that are unreadable, truncated, altered or of another model."""


class WeightsMissingError(SampathError, FileNotFoundError):
    """Weights that are not on this machine and could not be downloaded."""


class UnsafeFileError(WeightsError):
    """A file that would run code when loaded."""


class DatasetError(SampathError, ValueError):
    """Training data that does not fit together."""


class StorageError(SampathError, OSError):
    """Writing failed: full disk, no permission. What was there before is still there."""


class CancelledError(SampathError):
    """The user cancelled a job."""


class ClassListError(SampathError, ValueError):
    """A class that cannot be had: no name, too many classes, or still in use."""


class JournalError(SampathError, ValueError):
    """A journal that cannot be used: open in another session, of another image, or no journal at all."""
