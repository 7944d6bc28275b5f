"""Export and import of annotations, and dataset folders."""

from .dataset.folder import DatasetFolder
from .dataset.maps import DatasetItem
from .format import ImportChoiceError, ReadOptions
from .labels import FORMATS, Labels, MapLike
from .objects import LabelledObject, Objects
from .reading import import_labels, import_objects
from .snapshot import Snapshot
from .writing import export_labels

__all__ = [
    "FORMATS",
    "DatasetFolder",
    "DatasetItem",
    "ImportChoiceError",
    "LabelledObject",
    "Labels",
    "MapLike",
    "Objects",
    "ReadOptions",
    "Snapshot",
    "export_labels",
    "import_labels",
    "import_objects",
]
