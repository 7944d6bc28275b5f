"""Layouts of training datasets: the folders and files that other programs read."""

from .folder import ExportFolder, FolderChanges, read_record
from .layout import LAYOUTS, Layout, find_layout
from .sample import Sample
from .settings import ExportSettings

__all__ = [
    "LAYOUTS",
    "ExportFolder",
    "ExportSettings",
    "FolderChanges",
    "Layout",
    "Sample",
    "find_layout",
    "read_record",
]
