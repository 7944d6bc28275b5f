"""The errors of this package; each is also a subclass of a matching built-in error."""

from __future__ import annotations


class SampathError(Exception):
    """Base class of all errors for the user: one sentence with the value, what is allowed and what to do."""

    def __str__(self) -> str:
        # KeyError.__str__ would add quotes.
        return " ".join(str(part) for part in self.args)


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
