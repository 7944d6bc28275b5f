"""Base class of the writers of layouts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ...arrays import ClassInfo
from .folder import ExportFolder
from .sample import Sample, consecutive


@dataclass
class LayoutWriter(ABC):
    """Writes the images and patches of one export.

    Args:
        folder: The folder to write to.
        classes: The class list of the project.
        name: Name of the project.
        ignores: Whether unverified pixels are ignored instead of background.
    """

    folder: ExportFolder
    classes: tuple[ClassInfo, ...]
    name: str
    ignores: bool

    @property
    def root(self) -> str:
        """Folder of the dataset inside the export; "" for the export itself."""
        return ""

    @cached_property
    def numbers(self) -> dict[int, int]:
        """Class id -> number 1, 2, 3 ... without gaps, for layouts that need such numbers."""
        return consecutive(self.classes)

    @cached_property
    def numbered(self) -> list[ClassInfo]:
        """The classes in the order of `numbers`."""
        return sorted(self.classes, key=lambda info: info.id)

    @abstractmethod
    def add(self, sample: Sample) -> None:
        """Write one image or patch."""

    @abstractmethod
    def finish(self) -> Sequence[str]:
        """Write the files that all images share; return sentences on how to use the dataset."""
