"""Label maps and datasets out to files that other programs read, and back in."""

from .dataset_folder import DatasetFolder, DatasetItem
from .labels import FORMATS, Labels
from .reading import import_labels
from .writing import export_labels

__all__ = ["FORMATS", "DatasetFolder", "DatasetItem", "Labels", "export_labels", "import_labels"]
