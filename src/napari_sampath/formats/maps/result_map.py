"""A map of the result of a slide as an image that is read at any step."""

from __future__ import annotations

from ...arrays import UInt8Array
from ...errors import ImageError, StorageError
from . import slide_result


class ResultMap:
    """A map of a result as an image that is read at any step, for display.

    Args:
        result: The result.
        name: "classes" or "confidence".
    """

    def __init__(self, result: slide_result.SlideResult, name: str) -> None:
        self._result = result
        self._name = name
        self.hw = self.shape = result.hw

    def read(self, box: slide_result.Box, step: int) -> UInt8Array:
        """Read every `step`-th pixel of a box; `step` is a power of two, and the box begins at a multiple of it.

        Raises:
            ImageError: If the result is gone.
        """
        level = min(slide_result.LEVELS - 1, step.bit_length() - 1)
        r0, c0, r1, c1 = box
        part = r0 >> level, c0 >> level, -(-r1 >> level), -(-c1 >> level)
        rest = step >> level
        try:
            return self._result.read(self._name, part, level)[::rest, ::rest]
        except StorageError as error:
            raise ImageError(str(error)) from error

    def close(self) -> None:
        """Do nothing: the result has no open files."""
