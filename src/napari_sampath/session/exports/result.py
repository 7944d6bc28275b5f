"""Result of the export of a project as a dataset."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ...arrays import ClassInfo
from ...formats.layouts.folder import FolderChanges
from ...formats.layouts.patches import CutCounts


@dataclass(slots=True)
class DatasetExport:
    """Content of the export of a project."""

    layout: str
    folder: Path
    classes: tuple[ClassInfo, ...] = ()
    """The exported classes: those of the project, and those that only images have."""
    images: dict[str, str] = field(default_factory=dict)
    """Name of each exported image of the project -> its split."""
    files: dict[str, int] = field(default_factory=dict)
    """Split -> number of exported images or patches."""
    objects: dict[str, int] = field(default_factory=dict)
    """Name of a class -> number of objects; an object in several patches is counted once."""
    unreviewed: int = 0
    """Number of exported objects that no person made, changed or reviewed."""
    unsure: int = 0
    """Number of objects that are marked as unsure and left out."""
    unknown_share: float = 0.0
    """Share of the exported pixels that have no class and that nobody verified."""
    cut: CutCounts = field(default_factory=CutCounts)
    skipped: dict[str, str] = field(default_factory=dict)
    """Name of each image that was not exported -> reason, one sentence."""
    splits: dict[str, str] = field(default_factory=dict)
    """Slide or case -> split."""
    changes: FolderChanges = field(default_factory=FolderChanges)
    remarks: list[str] = field(default_factory=list)
    """Sentences on how to use the dataset."""
    check: str = ""
    """Result of the check of the exported dataset."""
