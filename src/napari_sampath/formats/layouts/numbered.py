"""Base class of writers that number classes 1, 2, 3 ... without gaps."""

from __future__ import annotations

from ...arrays import ClassInfo
from .folder import ExportFolder
from .sample import consecutive


class NumberedWriter:
    """Writer of a layout with class numbers 1, 2, 3 ... in the order of the project's class numbers.

    Args:
        folder: The folder to write to.
        classes: The class list of the project.
        name: Name of the project.
        ignores: Whether unverified pixels are ignored instead of background.
    """

    root = ""

    def __init__(
        self, folder: ExportFolder, classes: tuple[ClassInfo, ...], name: str, ignores: bool
    ) -> None:
        self._folder, self._numbers = folder, consecutive(classes)
        self._classes = sorted(classes, key=lambda info: info.id)
