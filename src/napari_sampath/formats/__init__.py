"""Label maps out to files that other programs read, and back in."""

from .labels import FORMATS, Labels
from .reading import import_labels
from .writing import export_labels

__all__ = ["FORMATS", "Labels", "export_labels", "import_labels"]
